"An exported module stands on its own: it needs no notebook, no other chapter's star import, no working directory."
import builtins,dis,json,types

import pytest

from conftest import chapters,python,run


def unknown_names(source, known):
    "Global names that the source reads and nobody defines."
    def walk(code):
        here = set()
        for o in dis.get_instructions(code):
            if o.opname.startswith('STORE'): here.add(o.argval)
            if 'LOAD_GLOBAL' in o.opname or 'LOAD_NAME' in o.opname:
                if o.argval not in known and o.argval not in here and not hasattr(builtins, o.argval): yield o.argval
        for c in code.co_consts:
            if isinstance(c, types.CodeType): yield from walk(c)
    return sorted(set(walk(compile(source, '<module>', 'exec'))))

@pytest.mark.parametrize('chapter', chapters, ids=str)
def test_a_module_imports_alone_and_all_its_names_exist(chapter, tmp_path):
    look = (f'import digits_fastai.{chapter.name} as m, json; '
            'print(json.dumps([list(vars(m)), [o for o in m.__all__ if not hasattr(m, o)], m.__file__]))')
    known,missing,file = json.loads(run(python, '-c', look, cwd=tmp_path).stdout)
    assert file==str(chapter.py)
    assert not missing, f'__all__ has names that are not there: {missing}'
    unknown = unknown_names(chapter.py.read_text(encoding='utf-8'), known)
    assert not unknown, f'these are globals of the notebook: {unknown}'

@pytest.mark.parametrize('source,found', [
    ('def f(x): return np.array(x)', ['np']), ('class A:\n    y = 1\n    def f(self): return y', ['y']),
    ('x = [a for a in b]', ['b']), ('def f(a: Missing): pass', ['Missing']), ('class A:\n    n = 2\n    m = n', []),
    ('import os\ndef f(): return os.sep', []), ('def f():\n    n = 1\n    def g(): return n\n    return g', []),
    ('f = lambda: print(len([]))', [])])
def test_a_made_up_module_with_a_global_of_the_notebook_is_reported(source, found):
    assert unknown_names(source, {'os','A','f','x'})==found
