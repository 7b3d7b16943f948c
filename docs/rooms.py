"The rooms of the house, from the ground up: which notebooks there are, in which order, and on which floor."
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

root = Path(__file__).resolve().parent.parent


@dataclass
class Room:
    "A folder below nbs/, and the folder of the same name in the library and in tests/."
    name:str # '' for the chapter itself, which has no folder of its own
    floor:int # what is on a lower floor may be imported
    title:str # over its notebooks, in the site's contents


# As one reads them. Imports go down: to a lower floor, or within a room to a lower number.
rooms = [Room('', 2, 'The chapter'),
         Room('training', 3, 'training: what hangs on the loop'),
         Room('nets', 4, 'nets: what is trained'),
         Room('data', 5, 'data: other forms'),
         Room('scale', 5, 'scale: many processes'),
         Room('grading', 5, 'grading: is yours right?'),
         Room('files', 1, 'Behind the scenes: files'),
         Room('app', 6, 'Behind the scenes: app')]
last_floor = 7 # of `all`, which imports from everywhere


@dataclass
class Chapter:
    "One notebook, and the module that it exports."
    nb:Path # its file

    def __repr__(self): return self.name

    @property
    def name(self): return self.nb.relative_to(root/'nbs').with_suffix('').as_posix() # training/02_schedules

    @property
    def room(self): return self.name.rpartition('/')[0]

    @property
    def number(self): return int(self.nb.name.split('_')[0])

    @property
    def cited(self): return f'{self.room} {self.number:02d}'.strip() # as the text names it: 'training 02', '04'

    @cached_property
    def text(self): return self.nb.read_text(encoding='utf-8')

    @property
    def title(self): return re.search(r'"# ([^"\\]*)', self.text)[1]

    @property
    def module(self): return re.search(r'#\|\s*default_exp ([\w.]+)', self.text)[1] # training.schedules

    @property
    def py(self): return root/'digits_fastai'/f'{self.module.replace(".", "/")}.py'

    @property
    def floor(self):
        if self.module=='all': return last_floor
        return next(o.floor for o in rooms if o.name==self.room)

    def is_above(self, other):
        "May this chapter import the other one?"
        if self.floor!=other.floor: return self.floor>other.floor
        return self.room==other.room and self.number>other.number


def chapters():
    "All chapters, as one reads them: room by room, by number. ValueError for a notebook in a folder that is no room."
    order = [o.name for o in rooms]
    files = [o for o in (root/'nbs').rglob('*.ipynb') if not any(part[0] in '._' for part in o.relative_to(root).parts)]
    found = [Chapter(o) for o in files] # what begins with . or _ is nobody's chapter, to nbdev, too
    for o in found:
        if o.room not in order: raise ValueError(f'{o.nb} lies in no room: docs/rooms.py has them')
    return sorted(found, key=lambda o: (order.index(o.room), o.number))
