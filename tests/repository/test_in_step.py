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

@pytest.fixture(scope='module')
def readme(tmp_path_factory):
    "README.md and its pictures as index.ipynb's saved outputs give them."
    out = tmp_path_factory.mktemp('readme')
    run(python, 'docs/readme.py', '--out', out, cwd=root)
    return tree(out)

def readme_differences(copy, readme):
    "README.md and its pictures against what index.ipynb gives."
    pictures = {f'{o.name}/{k}': v for o in sorted(copy.glob('*_files')) for k,v in tree(o).items()}
    kept = {'README.md': (copy/'README.md').read_bytes(), **pictures}
    return differences(kept, readme)

def edit(file, old, new):
    text = file.read_text(encoding='utf-8')
    assert old in text, f'{file.name} has no {old!r} to change'
    file.write_text(text.replace(old, new, 1), encoding='utf-8')


def test_the_library_is_what_the_notebooks_export(copy):
    assert not (d := export_differences(copy)), f'run nbdev_export: {d}'

def test_the_notebooks_are_clean(copy):
    assert not (d := after('nbdev_clean', copy)), f'run nbdev_clean: {d}'

def test_readme_is_what_index_gives(copy, readme):
    assert not (d := readme_differences(copy, readme)), f'run python docs/readme.py: {d}'


# Each of these checks must be able to fail.

def test_an_edited_module_one_left_over_and_a_notebook_not_exported_are_reported(copy):
    edit(copy/'digits_fastai'/'losses.py', 'def mse(', 'def mse2(')
    (copy/'digits_fastai'/'left_over.py').write_text('x = 1\n')
    edit(copy/'nbs'/'06_metrics.ipynb', '"class ', '"class Other')
    found = set(export_differences(copy))
    assert found-{'digits_fastai/_modidx.py'}=={f'digits_fastai/{o}.py' for o in ('losses','left_over','metrics')}

def soil(nb, dirt):
    d = json.loads(nb.read_text(encoding='utf-8'))
    next(c for c in d['cells'] if c['cell_type']=='code').update(dirt)
    nb.write_text(json.dumps(d, indent=1, ensure_ascii=False)+'\n', encoding='utf-8')

def test_dirt_in_a_notebook_is_reported(copy):
    soil(copy/'nbs'/'05_losses.ipynb', dict(execution_count=3))
    soil(copy/'nbs'/'06_metrics.ipynb', dict(metadata={'scrolled': True}))
    assert after('nbdev_clean', copy)==['nbs/05_losses.ipynb','nbs/06_metrics.ipynb']

def test_a_changed_word_or_picture_in_the_readme_is_reported(copy, readme):
    edit(copy/'README.md', ' the ', ' teh ')
    changed = ['README.md']
    if pictures := sorted(copy.glob('*_files/*')):
        pictures[0].write_bytes(pictures[0].read_bytes()+b'0')
        changed.append(pictures[0].relative_to(copy).as_posix())
    assert readme_differences(copy, readme)==sorted(changed)

def test_the_copy_is_a_copy(copy):
    assert (copy/'settings.ini').read_bytes()==(root/'settings.ini').read_bytes()
    assert not any((copy/o).exists() for o in ('.git', '.venv'))
