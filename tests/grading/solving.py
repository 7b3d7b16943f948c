"""Solve the exercises of chapters: `python tests/grading/solving.py OUT CHAPTER…` writes OUT, JSON with what is wrong, by chapter.

PyTorch and fastai are loaded once; each chapter then runs in a fork, with the setup that its exercises are said to need,
and tries every exercise as it stands, with wrong answers, and with the chapter's solution."""
import contextlib,io,json,os,re,sys,traceback,warnings
from pathlib import Path

root = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(root))


def wrong_answers(stub):
    "The stub with its raise replaced by what a learner might hand in who hasn't understood."
    m = re.search(r'(?m)^( +|def .*: )raise NotImplementedError\(.*\)$', stub)
    head = stub[:m.end()]
    first = re.search(r'def \w+\((?:self(?:, ?)?)?(\w*)', head[head.rindex('def '):])[1]
    for value in ('None', '0', '[]', *([first] if first else [])):
        yield f'return {value}',f'{stub[:m.start()]}{m[1]}return {value}{stub[m.end():]}'

def tried(world, *codes):
    "What some code prints, what it writes to standard error, and what it raises."
    said,complaints = io.StringIO(),io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaints):
        try:
            for o in codes: exec(o, world)
        except Exception as e: return said.getvalue(),complaints.getvalue(),f'{type(e).__name__}: {e}'[:300]
    return said.getvalue(),complaints.getvalue(),''

def faults(nb):
    "What is wrong with a chapter's exercises: a list of sentences."
    from digits_fastai.grading.exercises import read_exercises,setup_of
    world,found = {'__name__': '__main__'},[]
    setup = [re.sub(r'(?m)^(\s*)[!%].*$', r'\1pass', o) for o in setup_of(nb)] # for Jupyter only
    if raised := tried(world, *setup)[2]: return [f'the setup is not enough: {raised}']
    for o in read_exercises(nb):
        said,_,raised = tried(world, o.stub, o.check)
        if raised or said!=f'exercise {o.number}: to do\n':
            found.append(f'{o.number}: the stub is not to do: {raised or said}')
        for name,code in wrong_answers(o.stub):
            said,_,raised = tried(world, code, o.check)
            if raised or f'exercise {o.number}: not yet. ' not in said: found.append(f'{o.number}: {name} passes')
        said,complaints,raised = tried(world, o.solution, o.check)
        if raised or f'exercise {o.number}: right' not in said: found.append(f'{o.number}: the solution fails: {raised or said}')
        if complaints: found.append(f'{o.number}: for nbgrader it fails, since it writes to standard error: {complaints[:200]}')
    return found

def main(out, *nbs):
    os.environ['MPLBACKEND'] = 'agg'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import fastai.vision.all,matplotlib.pyplot,sklearn.linear_model,torch # noqa: F401, once for all forks
    found = {}
    for nb in map(Path, nbs):
        end,start = os.pipe()
        if pid := os.fork():
            os.close(start)
            with open(end) as f: found[nb.stem] = json.loads(f.read() or '["it ended the whole program"]')
            os.waitpid(pid, 0)
            continue
        os.chdir(nb.parent)
        try: said = faults(nb)
        except BaseException: said = [traceback.format_exc()[-600:]]
        with open(start, 'w') as f: json.dump(said, f)
        os._exit(0)
    Path(out).write_text(json.dumps(found))

if __name__=='__main__': main(*sys.argv[1:])
