"""Processes that die at a chosen moment, and what they leave behind.

Run as a script it is a nursery: a process that has imported what the tests need, and that forks a child for each task.
A child may be told to kill itself (SIGKILL: no `finally`, no `atexit`, nothing flushed) right before its n-th change of
a file.
"""
import gc,json,os,signal,sys,threading
from pathlib import Path

changes = {'os.rename','os.mkdir','os.remove','os.rmdir','os.link','os.symlink','os.truncate','os.chmod','os.utime',
           'fcntl.flock'}
writes = {'write','writelines','tofile','encode_to_file','truncate','ftruncate','sendfile','pwrite','copy_file_range'}
creates = os.O_WRONLY|os.O_RDWR|os.O_CREAT


def count_changes(base, die_at=None):
    "From now on, list the changes of files below `base`; die right before number `die_at`. Returns the list."
    import io
    base,seen,stdio = os.path.realpath(base),[],('<stdin>','<stdout>','<stderr>')

    def saw(what):
        seen.append(what)
        if len(seen)==die_at: os.kill(os.getpid(), signal.SIGKILL)

    def below(o):
        if not isinstance(o, (str,bytes,os.PathLike)): return False
        o = os.fsdecode(o)
        if not os.path.isabs(o): return True # by a folder's handle, as shutil.rmtree does it
        return os.path.realpath(os.path.dirname(o)).startswith(base)

    def audit(event, args):
        if event=='open':
            if (args[2] or 0) & creates and below(args[0]): saw(f'open {args[0]}')
        elif event in changes and (event=='fcntl.flock' or any(map(below, args))): saw(f'{event} {args[0]}')

    def profile(frame, event, f):
        if event!='c_call' or f.__name__ not in writes: return
        o = getattr(f, '__self__', None)
        name = getattr(o, 'name', None) # an int if it was opened by number
        if isinstance(o, io.IOBase) and not isinstance(name, int) and (name in stdio or not below(name)): return
        saw(f'{f.__name__} {name or ""}')

    sys.addaudithook(audit)
    threading.setprofile(profile)
    sys.setprofile(profile)
    return seen


class Nursery:
    "Starts the nursery and asks it for children. `imports` is run once, before the first is born."
    def __init__(self, imports, env):
        import subprocess
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.proc = subprocess.Popen([sys.executable, __file__], env=env, **pipes)
        self._ask(imports=imports)

    def close(self):
        self.proc.stdin.close()
        self.proc.wait(30)

    def _ask(self, **kwargs):
        self.proc.stdin.write(json.dumps(kwargs) + '\n')
        self.proc.stdin.flush()
        return json.loads(self.proc.stdout.readline())

    def start(self, code, watch=None, die_at=None, **names):
        "A child runs `code` with `names` as variables. Returns its process id."
        names = {k: str(v) if isinstance(v, Path) else v for k,v in names.items()}
        return self._ask(code=code, names=names, watch=watch and str(watch), die_at=die_at)['pid']

    def wait(self, pid):
        "How a child ended: {killed, out, error, seen}; `out` is what its variable of that name was."
        return self._ask(wait=pid)

    def run(self, code, **kwargs): return self.wait(self.start(code, **kwargs))


def child(space, task):
    "What one child does; its report."
    space.update(task['names'])
    seen = count_changes(task['watch'], task['die_at']) if task['watch'] else []
    try: exec(task['code'], space)
    except BaseException as e: error = f'{type(e).__name__}: {e}'
    else: error = None
    sys.setprofile(None)
    out = space.get('out')
    if not isinstance(out, (int,float,list,dict,type(None))): out = str(out)
    return dict(out=out, error=error, seen=list(seen))

def nursery():
    space,pipes = {},{}
    say,hear = os.fdopen(os.dup(1), 'w'),sys.stdin
    os.dup2(2, 1) # what the children print is not ours to read
    for line in hear:
        task = json.loads(line)
        if 'imports' in task:
            exec(task['imports'], space)
            gc.freeze() # a child that collects would have to copy everything first
            reply = {}
        elif 'wait' in task:
            with os.fdopen(pipes.pop(task['wait'])) as f: text = f.read() # all of it: the child is done, or dead
            _,status = os.waitpid(task['wait'], 0)
            reply = json.loads(text) if text else dict(out=None, error=None, seen=[])
            reply['killed'] = os.WIFSIGNALED(status) and os.WTERMSIG(status)==signal.SIGKILL
            if not text and not reply['killed']: reply['error'] = f'the child said nothing; its status is {status}'
        else:
            r,w = os.pipe()
            pid = os.fork()
            if pid==0:
                try:
                    os.close(r)
                    for o in pipes.values(): os.close(o)
                    signal.alarm(60) # no test waits for ever
                    text = json.dumps(child(space, task)).encode()
                    while text: text = text[os.write(w, text):]
                finally: os._exit(0)
            os.close(w)
            pipes[pid] = r
            reply = dict(pid=pid)
        print(json.dumps(reply), file=say, flush=True)


if __name__=='__main__': nursery()
