"""A zoo of wrong pieces: each is what somebody once wrote, and each must be found out, at the property that names its mistake.

A case is a class or a function with a mistake, under a decorator that says what it is (`optimizer`, `loss`, …), which
property it lacks, and a few words that the finding must contain. `right` marks a piece that must pass, `book` one that
must pass with something "as in the book"; the words are then those of a property that is. To add a case:

    @wrong('optimizer', 'zero_grad forgets', 'go along the sum')
    class ForgetsToForget(Sgd):
        "zero_grad was written, and left empty."
        def zero_grad(self): pass
"""
from collections import namedtuple
from importlib import import_module

Case = namedtuple('Case', 'piece kind like verdict property says')
cases = []

def _marker(verdict):
    def mark(kind, property='', says='', like=None):
        def note(piece):
            cases.append(Case(piece, kind, like, verdict, property, says))
            return piece
        return note
    return mark

wrong,right,book = map(_marker, ('wrong','right','as in the book'))

for o in ('datasets','loaders','losses','metrics','optimizers','learners','functions'): import_module(f'zoo.{o}')
