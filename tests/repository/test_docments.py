"Everything public says what it is, and what each of its parameters is."
import importlib,inspect,types
from dataclasses import is_dataclass

import pytest
from fastcore.docments import docments

from conftest import chapters


def public(m):
    "(name, function or class, its class or None) for what `__all__` promises, and for the methods of its classes."
    for name in vars(m).get('__all__', []):
        o = getattr(m, name)
        if getattr(o, '__module__', None)!=m.__name__: continue # taken over from another library: its own business
        if inspect.isfunction(o): yield name,o,None
        if not isinstance(o, type): continue
        yield name,o,None
        for k,f in vars(o).items():
            f = f.__func__ if isinstance(f, (classmethod,staticmethod)) else f
            if isinstance(f, types.FunctionType) and (k=='__init__' or not k.startswith('_')): yield f'{name}.{k}',f,o

def inherited(f, cls):
    "Does a method only fill in what a base class has, and says already?"
    return any(f.__name__ in vars(b) and vars(b)[f.__name__].__doc__ for b in cls.__mro__[1:])

def undocumented(m, events=()):
    "What is missing, in words."
    for name,o,cls in public(m):
        method = name.split('.')[-1]
        if method in events or cls and method!='__init__' and inherited(o, cls): continue
        if method!='__init__' and not (o.__doc__ or '').strip(): yield f'{name} has no docstring'
        if isinstance(o, type): continue
        params = inspect.signature(o).parameters.values()
        several = inspect.Parameter.VAR_POSITIONAL,inspect.Parameter.VAR_KEYWORD # *args, **kwargs
        named = [p.name for p in params if p.name not in ('self','cls') and p.kind not in several]
        written_out = cls if method=='__init__' and is_dataclass(cls) else o # a dataclass's fields are its parameters
        docs = docments(written_out) if named else {}
        yield from (f'{name} does not say what {p} is' for p in named if not docs.get(p))


@pytest.mark.parametrize('chapter', chapters, ids=str)
def test_everything_public_is_documented(chapter):
    from digits_fastai.events import events
    missing = list(undocumented(importlib.import_module(f'digits_fastai.{chapter.module}'), events))
    assert not missing, '\n'.join(missing)


made_up = '''
from dataclasses import dataclass
__all__ = ['good', 'Good', 'no_doc', 'no_comment', 'Fields', 'Bad']
class Base:
    def update(self,
        p, # a parameter
    ): "Change it."
def good(
    x, # a number
    *args, **kwargs,
): "Gives it back."
class Good(Base):
    "A good one."
    def __init__(self,
        n:int=3, # how many
    ): self.n = n
    def update(self, p): return p
    def before_fit(self): pass
    def _private(self, x): pass
def no_doc(
    x, # a number
): return x
def no_comment(x): "Gives it back."
@dataclass
class Fields:
    "A row."
    a:int # a number
    b:int=1
class Bad:
    def __init__(self, n): self.n = n
    def method(self, a,
        b=1, # a number
    ): "Does it."
    @classmethod
    def make(cls, c): "One of them."
'''

def test_missing_documentation_is_reported(tmp_path, monkeypatch):
    (tmp_path/'made_up.py').write_text(made_up)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(undocumented(importlib.import_module('made_up'), ['before_fit']))==[
        'no_doc has no docstring', 'no_comment does not say what x is', 'Fields.__init__ does not say what b is',
        'Bad has no docstring', 'Bad.__init__ does not say what n is', 'Bad.method does not say what a is',
        'Bad.make does not say what c is']
