"Imports go down: to a lower floor, or within a room to a lower number. And importing the library stays quick."
import ast,json
from pathlib import Path

import pytest

import rooms
from conftest import chapters,python,root,run

heavy = {'fastai','fastbook','torchvision','matplotlib','pandas','sklearn'}
by_module = {o.module: o for o in chapters}


def imports(source, package='digits_fastai'):
    "Every module that a source of `package` imports, anywhere, with its line; relative names are written out."
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import): yield from ((o.name, node.lineno) for o in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split('.')[:len(package.split('.'))-node.level+1] if node.level else []
            base = '.'.join([*above, *filter(None, [node.module])])
            yield base,node.lineno
            yield from ((f'{base}.{o.name}', node.lineno) for o in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split('.')[-1] in ('import_module','__import__'):
            if node.args and isinstance(node.args[0], ast.Constant):
                name = str(node.args[0].value)
                yield 'digits_fastai'+name if name.startswith('.') else name,node.lineno

def upward(chapter, source, known, itself=False):
    "What a chapter imports of ours that isn't below it, in words. `known` has the chapters by their modules."
    package = 'digits_fastai.'+chapter.room if chapter.room else 'digits_fastai'
    folders = {o.room for o in known.values()}
    found = []
    for name,line in imports(source, package):
        top,_,module = name.partition('.')
        if top!='digits_fastai' or not module or module in folders or module in ('__version__','*'): continue
        if module not in known: # the name of something in a module, or a module that doesn't exist
            if module.rpartition('.')[0] in known: continue
            found.append(f'{chapter}, line {line}, imports {module}, which is no module')
        elif not (chapter.is_above(known[module]) or itself and known[module] is chapter):
            found.append(f'{chapter}, line {line}, imports {module}, which is not below it')
    return found

def code(nb):
    "The code of a notebook, without the lines that aren't Python."
    cells = json.loads(nb.read_text(encoding='utf-8'))['cells']
    lines = '\n'.join(''.join(c['source']) for c in cells if c['cell_type']=='code').split('\n')
    return '\n'.join('    pass' if o.startswith(('    !','    %')) else '' if o[:1] in ('!','%') else o for o in lines)

def at_the_top(source):
    "Top names of the modules that are imported as soon as the source itself is: not those inside functions."
    def walk(nodes):
        for n in nodes:
            if isinstance(n, (ast.Import,ast.ImportFrom)): yield ast.unparse(n)
            elif not isinstance(n, (ast.FunctionDef,ast.AsyncFunctionDef,ast.Lambda)):
                yield from walk(ast.iter_child_nodes(n))
    return {name.split('.')[0] for line in walk(ast.parse(source).body) for name,_ in imports(line)}


def test_every_notebook_that_nbdev_sees_is_a_chapter():
    nbdev = pytest.importorskip('nbdev.doclinks')
    seen = {Path(o).resolve() for o in nbdev.nbglob(root/'nbs')}
    assert seen=={o.nb.resolve() for o in chapters} and len(seen)>40

def test_numbers_restart_in_each_room_and_none_comes_twice():
    for room in rooms.rooms:
        numbers = [o.number for o in chapters if o.room==room.name]
        assert numbers==list(range(len(numbers))) and numbers, f'{room.name or "the chapter"}: {numbers}'

def test_the_library_and_the_tests_have_the_same_rooms():
    names = {o.name for o in rooms.rooms if o.name}
    def folders(place): return {o.name for o in (root/place).iterdir() if o.is_dir() and o.name[0] not in '._'}
    assert folders('nbs')==folders('digits_fastai')==names
    assert folders('tests')==names|{'repository'}
    for o in chapters: assert o.py.is_file() and o.module.rpartition('.')[0]==o.room

def test_who_opens_the_library_sees_the_chapter():
    listed = {o.stem for o in (root/'digits_fastai').glob('*.py')} - {'__init__','_modidx'}
    assert listed=={o.module for o in chapters if not o.room} and len(listed)<=16

def test_names_of_test_files_are_unique():
    names = [o.name for o in (root/'tests').rglob('*.py') if o.name!='__init__.py' and 'zoo' not in o.parts]
    assert len(names)==len(set(names))

@pytest.mark.parametrize('chapter', chapters, ids=str)
def test_a_module_imports_only_what_is_below(chapter):
    assert not upward(chapter, chapter.py.read_text(encoding='utf-8'), by_module)

@pytest.mark.parametrize('chapter', chapters, ids=str)
def test_a_notebook_uses_only_its_own_module_and_those_below(chapter):
    assert not upward(chapter, code(chapter.nb), by_module, itself=True)

@pytest.mark.parametrize('chapter', chapters, ids=str)
def test_a_module_loads_nothing_heavy_when_it_is_imported(chapter):
    assert not at_the_top(chapter.py.read_text(encoding='utf-8'))&heavy


class MadeUp(rooms.Chapter):
    module = '' # what its notebook would say, if there were one
    def __init__(self, module, number):
        super().__init__(root/'nbs'/f'{module.replace(".", "/")}.ipynb')
        self.module,self.made_number = module,number

    @property
    def number(self): return self.made_number

modules = dict([('low', 1), ('mid', 7), ('high', 8), ('files.f', 0), ('training.one', 1), ('training.two', 2),
                ('data.d', 0), ('scale.s', 0)])
made_up = {module: MadeUp(module, number) for module,number in modules.items()}

@pytest.mark.parametrize('me,line,found', [
    ('mid', 'from .low import f', []), ('mid', 'from digits_fastai.low import f', []), ('mid', 'import torch', []),
    ('mid', 'from .files.f import x', []), ('mid', 'from .high import f', ['high']),
    ('mid', 'from digits_fastai.high import *', ['high']), ('mid', 'from .training.one import f', ['training.one']),
    ('mid', 'from digits_fastai.training import one', ['training.one']), ('mid', 'from . import low,high', ['high']),
    ('mid', 'from digits_fastai import high', ['high']), ('mid', 'from .gone import f', ['gone', 'gone.f']),
    ('mid', 'def f():\n    from .high import g', ['high']), ('mid', 'import digits_fastai.high as h', ['high']),
    ('mid', "m = importlib.import_module('digits_fastai.high')", ['high']),
    ('mid', "m = import_module('.high', 'digits_fastai')", ['high']),
    ('training.one', 'from ..high import f', []), ('training.one', 'from .two import f', ['training.two']),
    ('training.two', 'from .one import f', []), ('training.one', 'from digits_fastai.training.two import *', ['training.two']),
    ('files.f', 'from ..low import f', ['low']), ('scale.s', 'from ..data.d import x', ['data.d']),
    ('scale.s', 'from ..training.two import x', [])])
def test_a_made_up_module_that_imports_upward_is_reported(me, line, found):
    said = upward(made_up[me], line, made_up)
    assert [o.split(' imports ')[1].split(',')[0] for o in said]==found

@pytest.mark.parametrize('source,found', [
    ('import fastai.vision.all', {'fastai'}), ('from sklearn.datasets import load_digits', {'sklearn'}),
    ('try: import pandas as pd\nexcept E: pass', {'pandas'}), ('class A:\n    import matplotlib', {'matplotlib'}),
    ('def f():\n    import fastai', set()), ('import torch', set())])
def test_a_made_up_module_that_loads_something_heavy_is_reported(source, found):
    assert at_the_top(source)&heavy==found

def test_a_notebook_in_no_room_is_refused(tmp_path, monkeypatch):
    (tmp_path/'nbs'/'attic').mkdir(parents=True)
    (tmp_path/'nbs'/'attic'/'00_old.ipynb').write_text('"#| default_exp attic.old"')
    monkeypatch.setattr(rooms, 'root', tmp_path)
    with pytest.raises(ValueError, match='lies in no room'): rooms.chapters()

def test_importing_everything_loads_torch_but_nothing_heavier(tmp_path):
    look = 'import digits_fastai.all,sys; print(*{o.split(".")[0] for o in sys.modules})'
    loaded = run(python, '-c', look, cwd=tmp_path).stdout.split()
    assert 'torch' in loaded and not heavy&set(loaded)
