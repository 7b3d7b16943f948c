"The library and README.md are what the notebooks give, and the notebooks are clean. All of it is tried on a copy."
import json,shutil
from pathlib import Path

import pytest

from conftest import copy_of_repository,python,root,run


@pytest.fixture
def copy(tmp_path): return copy_of_repository(tmp_path/'copy')


def tree(folder):
    "Every file under a folder, by its relative name."
    files = (o for o in sorted(folder.rglob('*')) if o.is_file() and '__pycache__' not in o.parts)
    return {o.relative_to(folder).as_posix(): o.read_bytes() for o in files}

def differences(a, b): return sorted(k for k in a.keys()|b.keys() if a.get(k)!=b.get(k))

def command(name): return shutil.which(name, path=str(Path(python).parent)) or name

def after(name, copy):
    "The files that a command of nbdev's changes."
    before = tree(copy)
    run(command(name), cwd=copy)
    return differences(before, tree(copy))

def export_differences(copy):
    "Modules that aren't what the notebooks give, those included that no notebook gives any more."
    before = tree(copy)
    for o in (copy/'digits_fastai').rglob('*.py'): o.unlink()
    run(command('nbdev_export'), cwd=copy)
    return differences(before, tree(copy))

def readme_differences(copy, out):
    "README.md and its pictures against what index.ipynb's saved outputs give."
    run(python, 'docs/readme.py', '--out', out, cwd=copy)
    pictures = {f'{o.name}/{k}': v for o in sorted(copy.glob('*_files')) for k,v in tree(o).items()}
    kept = {'README.md': (copy/'README.md').read_bytes(), **pictures}
    return differences(kept, tree(out))

def edit(file, old, new):
    text = file.read_text(encoding='utf-8')
    assert old in text, f'{file.name} has no {old!r} to change'
    file.write_text(text.replace(old, new, 1), encoding='utf-8')


def test_the_library_is_what_the_notebooks_export(copy):
    assert not (d := export_differences(copy)), f'run nbdev_export: {d}'

def test_the_notebooks_are_clean(copy):
    assert not (d := after('nbdev_clean', copy)), f'run nbdev_clean: {d}'

def test_readme_is_what_index_gives(copy, tmp_path):
    assert not (d := readme_differences(copy, tmp_path/'out')), f'run python docs/readme.py: {d}'


# Each of these checks must be able to fail.

def test_an_edited_module_is_reported(copy):
    edit(copy/'digits_fastai'/'losses.py', 'def mse(', 'def mse2(')
    assert export_differences(copy)==['digits_fastai/losses.py']

def test_a_module_without_a_notebook_is_reported(copy):
    (copy/'digits_fastai'/'left_over.py').write_text('x = 1\n')
    assert export_differences(copy)==['digits_fastai/left_over.py']

def test_a_notebook_that_was_not_exported_is_reported(copy):
    edit(copy/'nbs'/'05_losses.ipynb', 'def mse(', 'def mse2(')
    assert 'digits_fastai/losses.py' in export_differences(copy)

@pytest.mark.parametrize('dirt', [dict(execution_count=3), dict(metadata={'scrolled': True})])
def test_dirt_in_a_notebook_is_reported(copy, dirt):
    nb = copy/'nbs'/'05_losses.ipynb'
    d = json.loads(nb.read_text(encoding='utf-8'))
    next(c for c in d['cells'] if c['cell_type']=='code').update(dirt)
    nb.write_text(json.dumps(d, indent=1, ensure_ascii=False)+'\n', encoding='utf-8')
    assert after('nbdev_clean', copy)==['nbs/05_losses.ipynb']

def test_a_changed_word_or_picture_in_the_readme_is_reported(copy, tmp_path):
    edit(copy/'README.md', ' the ', ' teh ')
    changed = ['README.md']
    if pictures := sorted(copy.glob('*_files/*')):
        pictures[0].write_bytes(pictures[0].read_bytes()+b'0')
        changed.append(pictures[0].relative_to(copy).as_posix())
    assert readme_differences(copy, tmp_path/'out')==sorted(changed)

def test_the_copy_is_a_copy(copy):
    assert (copy/'settings.ini').read_bytes()==(root/'settings.ini').read_bytes()
    assert not any((copy/o).exists() for o in ('.git', '.venv'))
