"""Mutants: a chapter's module with one piece of its code replaced, to see that a comparison notices it."""
import ast,re,sys,textwrap
from contextlib import contextmanager
from types import ModuleType,SimpleNamespace

from conftest import chapters

course = {o.module.split('.')[-1]: o for o in chapters} # by the module's own name: no two rooms have the same
sources = {name: o.py.read_text(encoding='utf-8') for name,o in course.items()}


_token = re.compile(r"""[rbf]*'(?:[^'\\]|\\.)*' | [rbf]*"(?:[^"\\]|\\.)*" | [\d.]*\d[\w.]* | \w+ | [^\w\s]""", re.X)

def _plainly(text):
    "A piece of code as `ast.unparse` writes it, if it is whole; half an expression stays as it is."
    try: return ast.unparse(ast.parse(textwrap.dedent(text)))
    except SyntaxError: return text

def _tokens(text):
    "What Python reads: no spaces, lines or comments; quotes of either kind and .5 and 0.5 are the same."
    for m in _token.finditer(text):
        token = m.group()
        if token[-1] in '"\'': token = repr(token.strip('"\''))
        elif token[0] in '.0123456789': token = token.lstrip('0') or '0'
        yield token,m.start(),m.end()

def replaced(where, old, new):
    """The source of a chapter's module with one piece of code replaced, which must be there exactly once.

    The source is written anew from its syntax tree before, and the piece is looked for by its tokens: a module may be
    formatted in any way. `where`: the module, or a class or function in it (`optimizer.SGD.step`)."""
    name,*path = where.split('.')
    source = ast.unparse(ast.parse(sources[name]))
    scope = ast.parse(source)
    for o in path: scope = next(n for n in scope.body if getattr(n, 'name', None)==o)
    lines = source.splitlines(keepends=True)
    first,last = (scope.lineno,scope.end_lineno) if path else (1,len(lines))
    first,last = sum(map(len, lines[:first-1])),sum(map(len, lines[:last]))
    here = [o for o in _tokens(source) if first<=o[1]<last]
    piece = [o[0] for o in _tokens(_plainly(old))]
    found = [i for i in range(len(here)) if [o[0] for o in here[i:i+len(piece)]]==piece]
    assert len(found)==1, f'{where} has {old!r} {len(found)} times: bring the mutant up to date'
    return source[:here[found[0]][1]] + new + source[here[found[0]+len(piece)-1][2]:]


def fresh(name, source, known=False):
    "A new module of the package, made of a source. `known`: may others import it, from now on?"
    m = ModuleType(f'digits_fastai.{course[name].module}')
    m.__dict__.update(__package__=m.__name__.rpartition('.')[0], __file__=f'<{name}>')
    if known: sys.modules[m.__name__] = m
    exec(compile(source, m.__file__, 'exec'), vars(m))
    return m


@contextmanager
def mutant(where, old, new):
    "A mutant, and what it hangs on Learner and Recorder: within a `with` block they are the mutant's."
    from digits_fastai.events import Recorder
    from digits_fastai.learner import Learner
    kept = [(c, k, v) for c in (Learner,Recorder) for k,v in vars(c).items() if callable(v)]
    try: yield fresh(where.split('.')[0], replaced(where, old, new))
    finally:
        for c,k,v in kept:
            if vars(c)[k] is not v: setattr(c, k, v)


def up_to_the_learner():
    "The names of its module and of all that are below it, from the ground up."
    learner = course['learner']
    below = [o for o in chapters if learner.is_above(o) or o is learner]
    return [o.module.split('.')[-1] for o in sorted(below, key=lambda o: (o.floor, o.number))]


def world(where=None, old='', new=''):
    "The library up to the Learner, every chapter a fresh module, with one piece of one of them replaced."
    changed = {where.split('.')[0]: replaced(where, old, new)} if where else {}
    ours = {k: sys.modules.pop(k) for k in list(sys.modules) if k.startswith('digits_fastai.')}
    w = SimpleNamespace(modules={})
    try:
        for name in up_to_the_learner():
            m = w.modules[name] = fresh(name, changed.get(name, sources[name]), known=True)
            vars(w).update({k: vars(m)[k] for k in m.__all__})
    finally:
        for k in [k for k in sys.modules if k.startswith('digits_fastai.')]: del sys.modules[k]
        sys.modules.update(ours)
    return w
