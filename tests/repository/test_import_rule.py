"Chapter N imports only chapters below N, and importing the library stays quick."
import ast,json

import pytest

from conftest import Chapter,chapters,python,run

numbers = {o.name: o.number for o in chapters}
heavy = {'fastai','fastbook','torchvision','matplotlib','pandas','sklearn'}


def imports(source):
    "Every module that a source imports, anywhere, with its line; relative names are written out."
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import): yield from ((o.name, node.lineno) for o in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(filter(None, ['digits_fastai' if node.level else '', node.module or '']))
            yield base,node.lineno
            if base=='digits_fastai': yield from ((f'{base}.{o.name}', node.lineno) for o in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split('.')[-1] in ('import_module','__import__'):
            if node.args and isinstance(node.args[0], ast.Constant):
                name = str(node.args[0].value)
                yield 'digits_fastai'+name if name.startswith('.') else name,node.lineno

def ours(source):
    "The chapters' modules among them."
    for name,line in imports(source):
        top,_,rest = name.partition('.')
        if top=='digits_fastai' and rest: yield rest.split('.')[0],line

def upward(name, source, numbers, itself=False):
    "What chapter `name` imports that isn't below it, in words."
    def below(o): return o in numbers and (numbers[o]<numbers[name] or itself and o==name)
    return [f'{name}, line {line}, imports {o}, which is not below it' for o,line in ours(source) if not below(o)]

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
            elif isinstance(n, ast.If) and ast.unparse(n.test)=='TYPE_CHECKING': continue # never run
            elif not isinstance(n, (ast.FunctionDef,ast.AsyncFunctionDef,ast.Lambda)):
                yield from walk(ast.iter_child_nodes(n))
    return {name.split('.')[0] for line in walk(ast.parse(source).body) for name,_ in imports(line)}


def test_all_chapters_are_known_and_their_numbers_differ():
    assert len(chapters)>=12 and len(set(numbers.values()))==len(chapters)
    assert [c.name for c in chapters][-1]=='all' and {'download','learner','cli'}<=set(numbers)

@pytest.mark.parametrize('chapter', chapters, ids=str)
def test_a_chapter_imports_only_chapters_below(chapter):
    assert not upward(chapter.name, chapter.py.read_text(encoding='utf-8'), numbers)

@pytest.mark.parametrize('chapter', chapters, ids=str)
def test_a_notebook_uses_only_its_own_chapter_and_those_below(chapter):
    assert not upward(chapter.name, code(chapter.nb), numbers, itself=True)

@pytest.mark.parametrize('chapter', chapters, ids=str)
def test_a_chapter_loads_nothing_heavy_when_it_is_imported(chapter):
    assert not at_the_top(chapter.py.read_text(encoding='utf-8'))&heavy


made_up = {'low':(1,''), 'mid':(7,''), 'midb':(7,'b'), 'high':(8,'')}

@pytest.mark.parametrize('line,found', [
    ('from .low import f', []), ('from digits_fastai.low import f', []), ('from .mid import f', []),
    ('import torch', []), ('from .high import f', ['high']), ('from digits_fastai.high import *', ['high']),
    ('from .midb import f', ['midb']), ('import digits_fastai.high as h', ['high']),
    ('from . import low,high', ['high']), ('from digits_fastai import high', ['high']),
    ('from .gone import f', ['gone']), ('def f():\n    from .high import g', ['high']),
    ('if True:\n    class A:\n        def f(self): import digits_fastai.high', ['high']),
    ("m = importlib.import_module('digits_fastai.high')", ['high']),
    ("m = import_module('.high', 'digits_fastai')", ['high'])])
def test_a_made_up_module_that_imports_upward_is_reported(line, found):
    assert [o.split(' imports ')[1].split(',')[0] for o in upward('midb', line, made_up)]==found

@pytest.mark.parametrize('source,found', [
    ('import fastai.vision.all', {'fastai'}), ('from sklearn.datasets import load_digits', {'sklearn'}),
    ('try: import pandas as pd\nexcept E: pass', {'pandas'}), ('class A:\n    import matplotlib', {'matplotlib'}),
    ('def f():\n    import fastai', set()), ('import torch', set())])
def test_a_made_up_module_that_loads_something_heavy_is_reported(source, found):
    assert at_the_top(source)&heavy==found

def test_chapter_numbers_are_read_from_the_file_names(tmp_path):
    for name in ('07_b','07b_c','10_d'): (tmp_path/f'{name}.ipynb').write_text('"#| default_exp x"')
    assert [Chapter(o).number[:2] for o in sorted(tmp_path.iterdir())]==[(7,''),(7,'b'),(10,'')]

def test_importing_everything_loads_torch_but_nothing_heavier(tmp_path):
    look = 'import digits_fastai.all,sys; print(*{o.split(".")[0] for o in sys.modules})'
    loaded = run(python, '-c', look, cwd=tmp_path).stdout.split()
    assert 'torch' in loaded and not heavy&set(loaded)
