"""Mutants: a chapter's module with one text in it replaced by another, to see that a comparison notices it."""
import sys
from contextlib import contextmanager
from types import ModuleType,SimpleNamespace

from conftest import chapters

course = {o.module.split('.')[-1]: o for o in chapters} # by the module's own name: no two rooms have the same
sources = {name: o.py.read_text(encoding='utf-8') for name,o in course.items()}


def replaced(name, old, new):
    "The source of a chapter's module with one text replaced, which must be there exactly once."
    n = sources[name].count(old)
    assert n==1, f'{name}.py has {old!r} {n} times: bring the mutant up to date'
    assert old!=new
    return sources[name].replace(old, new)


def fresh(name, source, known=False):
    "A new module of the package, made of a source. `known`: may others import it, from now on?"
    m = ModuleType(f'digits_fastai.{course[name].module}')
    m.__dict__.update(__package__=m.__name__.rpartition('.')[0], __file__=f'<{name}>')
    if known: sys.modules[m.__name__] = m
    exec(compile(source, m.__file__, 'exec'), vars(m))
    return m


@contextmanager
def mutant(name, old, new):
    "A mutant, and what it hangs on Learner and Recorder: within a `with` block they are the mutant's."
    from digits_fastai.events import Recorder
    from digits_fastai.learner import Learner
    kept = [(c, k, v) for c in (Learner,Recorder) for k,v in vars(c).items() if callable(v)]
    try: yield fresh(name, replaced(name, old, new))
    finally:
        for c,k,v in kept:
            if vars(c)[k] is not v: setattr(c, k, v)


def up_to_the_learner():
    "The names of its module and of all that are below it, from the ground up."
    learner = course['learner']
    below = [o for o in chapters if learner.is_above(o) or o is learner]
    return [o.module.split('.')[-1] for o in sorted(below, key=lambda o: (o.floor, o.number))]


def world(module=None, old='', new=''):
    "The library up to the Learner, every chapter a fresh module, with one text in one of them replaced by another."
    changed = {module: replaced(module, old, new)} if module else {}
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
