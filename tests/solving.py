"""Solve the exercises of chapters: `python tests/solving.py OUT CHAPTER…` writes a JSON file for each chapter into OUT.

PyTorch and fastai are loaded once; each chapter then runs in a fork, with the setup that its exercises are said to need,
and tries every exercise as it stands, with wrong answers, and with the chapter's solution."""
import contextlib,io,json,os,re,sys,time,traceback,warnings
from pathlib import Path

root = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(root))


def wrong_answers(o):
    "The stub with its raise replaced by what a learner might hand in who hasn't understood."
    m = re.search(r'(?m)^( +|def .*: )raise NotImplementedError\(.*\)$', o.stub)
    head = o.stub[:m.end()]
    first = re.search(r'def \w+\((?:self(?:, ?)?)?(\w*)', head[head.rindex('def '):])[1]
    for value in ('None', '0', '[]', *([first] if first else [])):
        yield f'return {value}',f'{o.stub[:m.start()]}{m[1]}return {value}{o.stub[m.end():]}'

def tried(world, *codes):
    "What some code prints and raises."
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            for o in codes: exec(o, world)
        except Exception as e: return said.getvalue(),f'{type(e).__name__}: {e}'[:300]
    return said.getvalue(),''

def solve(nb):
    "All that the tests ask of a chapter's exercises."
    from digits_fastai.slices import read_exercises,setup_of
    began,world = time.time(),{'__name__': '__main__'}
    found = dict(setup=tried(world, setup_of(nb))[1], exercises={}, passes_anything=[])
    for o in [] if found['setup'] else read_exercises(nb):
        to_do,failed = tried(world, o.stub, o.check)
        r = found['exercises'][o.number] = dict(to_do=to_do, failed=failed)
        r['wrong'] = [name for name,code in wrong_answers(o) if not tried(world, code, o.check)[1]]
        said,r['solution'] = tried(world, o.solution, o.check)
        r['still_to_do'] = ': to do' in said
    return {**found, 'seconds': round(time.time()-began, 1)}

def main(out, *nbs):
    os.environ['MPLBACKEND'] = 'agg'
    warnings.simplefilter('ignore')
    import fastai.vision.all,matplotlib.pyplot,torch # noqa: F401, once for all forks
    for nb in map(Path, nbs):
        os.chdir(nb.parent)
        if hasattr(os, 'fork') and (pid := os.fork()):
            os.waitpid(pid, 0)
            continue
        try: found = solve(nb)
        except BaseException: found = dict(setup=traceback.format_exc()[-600:], exercises={}, seconds=0)
        (Path(out)/f'{nb.stem}.json').write_text(json.dumps(found))
        if hasattr(os, 'fork'): os._exit(0)

if __name__=='__main__': main(*sys.argv[1:])
