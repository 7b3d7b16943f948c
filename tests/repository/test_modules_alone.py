"An exported module stands on its own: it needs no notebook, no other chapter's star import, no working directory."
import json

from conftest import chapters,python,run

# Each module is imported in a process of its own, a fork of one that has what takes seconds: torch, for our modules.
look = """
import importlib,json,os,sys
importlib.import_module(sys.argv[1])
for name in sys.argv[2:]:
    if os.fork():
        os.wait()
        continue
    try:
        m = importlib.import_module(f'digits_fastai.{name}')
        found = dict(file=m.__file__, lost=[o for o in vars(m).get('__all__', []) if not hasattr(m, o)])
    except BaseException as e: found = dict(error=repr(e))
    print(json.dumps([name, found]), flush=True)
    os._exit(0)
"""

def looked_at(names, cwd, first='torch', **env):
    "What came of importing each module alone."
    return dict(json.loads(o) for o in run(python, '-c', look, first, *names, cwd=cwd, **env).stdout.splitlines())

def test_a_module_imports_alone_and_all_its_names_exist(tmp_path):
    found = looked_at([o.module for o in chapters], tmp_path)
    for o in chapters: assert found[o.module]==dict(file=str(o.py), lost=[])

def test_a_made_up_module_that_needs_more_is_reported(tmp_path):
    package = tmp_path/'digits_fastai'
    package.mkdir()
    (package/'__init__.py').touch()
    for name,code in dict(good='x = 1', lost="__all__ = ['y']", wrong='x = not_there').items():
        (package/f'{name}.py').write_text(code)
    found = looked_at(['good','lost','wrong'], tmp_path, 'json', PYTHONPATH=tmp_path)
    assert not found['good']['lost'] and found['lost']['lost']==['y'] and 'not_there' in found['wrong']['error']
