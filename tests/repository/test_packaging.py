"""The wheel: built from a copy, looked into, and installed into a clean environment without the dev extras.

A full install would fetch gigabytes. Instead the clean environment sees the packages of this one *after* its own,
refuses those that only the dev extras bring, and each import of the library is checked against settings.ini."""
import re,site,sys,tarfile,zipfile
from email import message_from_bytes
from functools import cache
from importlib.metadata import PackageNotFoundError,packages_distributions,requires
from pathlib import Path

import pytest
import yaml

from conftest import chapters,copy_of_repository,python,root,run,settings
from test_import_rule import imports
from test_offline import cut_off

s = settings()

def plain(name): return re.sub(r'[-_.]+', '-', re.split(r'[\s<>=!~;\[(]', name.strip())[0]).lower()
def listed(key): return {plain(o) for o in s[key].split()}

extras = {key.removesuffix('_requirements') for key in s if key.endswith('_requirements')}

@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "A folder with the source distribution, and the wheel that was built from it."
    tmp = tmp_path_factory.mktemp('wheel')
    copy = copy_of_repository(tmp/'copy')
    if not (copy/'README.md').exists(): (copy/'README.md').write_text('# not exported yet\n')
    run(python, '-m', 'build', '--no-isolation', '--outdir', tmp/'dist', copy, cwd=tmp, PYTHONPATH=None)
    return tmp/'dist'

@pytest.fixture(scope='module')
def wheel(built):
    found, = built.glob('*.whl')
    return found

@pytest.fixture(scope='module')
def inside(wheel):
    with zipfile.ZipFile(wheel) as z: return {o: z.read(o) for o in z.namelist()}

@pytest.fixture(scope='module')
def metadata(inside): return message_from_bytes(next(v for k,v in inside.items() if k.endswith('.dist-info/METADATA')))

@pytest.fixture(scope='module')
def clean(wheel, tmp_path_factory):
    "Python of an environment with the wheel in it, and nothing that only the dev extras bring."
    env = tmp_path_factory.mktemp('clean')/'venv'
    run(python, '-m', 'venv', env, PYTHONPATH=None)
    bin = env/('Scripts' if sys.platform=='win32' else 'bin')
    its_python = bin/('python.exe' if sys.platform=='win32' else 'python')
    run(its_python, '-m', 'pip', 'install', '--no-deps', '--no-index', '--quiet', wheel, PYTHONPATH=None)
    where = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    own = Path(run(its_python, '-c', where, PYTHONPATH=None).stdout.strip())
    others = [o for o in dict.fromkeys([*site.getsitepackages(), *sys.path]) if o.endswith('-packages')]
    (own/'others.pth').write_text('\n'.join(others)) # not site.addsitedir: an editable install in there is not followed
    (own/'sitecustomize.py').write_text(refuse.format(names=sorted(dev_only())))
    return its_python

refuse = '''
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {names}: raise ModuleNotFoundError(f'no {{name}} without the dev extras', name=name)
sys.meta_path.insert(0, Refuse())
'''

def needed(names):
    "Distributions that come with these, directly or not, extras left out."
    seen,todo = set(),set(map(plain, names))
    while todo:
        seen.add(name := todo.pop())
        try: more = requires(name) or []
        except PackageNotFoundError: more = []
        todo |= {plain(o) for o in more if 'extra ==' not in o}-seen
    return seen

def dev_only():
    "Modules that are here because of the dev extras only."
    dev = needed(listed('dev_requirements'))-needed(listed('requirements'))
    return {module for module,dists in packages_distributions().items() if {plain(o) for o in dists}<=dev}

def in_clean(clean, code, tmp_path): return run(clean, '-c', code, cwd=tmp_path, PYTHONPATH=None).stdout.strip()


def test_the_source_distribution_holds_what_the_wheel_is_built_from_and_no_more(built):
    found, = built.glob('*.tar.gz')
    with tarfile.open(found) as t: names = {o.name.split('/', 1)[1] for o in t if o.isfile()}
    assert {'settings.ini','setup.py','README.md','LICENSE','digits_fastai/py.typed','digits_fastai/app/static/draw.js'}<=names
    assert not [o for o in names if o.startswith(('nbs/','tests/','bench/','docs/','.')) or o.endswith(('.ipynb','.csv'))]

def test_the_wheel_holds_every_module_and_nothing_else(inside):
    modules = {k for k in inside if not re.match(r'[^/]+\.dist-info/', k)}
    lib = root/'digits_fastai'
    files = [*lib.rglob('*.py'), lib/'all.pyi', lib/'py.typed', *(lib/'app'/'static').iterdir()]
    assert modules=={o.relative_to(root).as_posix() for o in files}
    assert {c.py.relative_to(root).as_posix() for c in chapters}<=modules
    extra = {k.split('/', 1)[1] for k in inside}-{k.split('/', 1)[1] for k in modules}
    assert extra<={'METADATA','WHEEL','RECORD','top_level.txt','entry_points.txt','licenses/LICENSE','LICENSE'}

def test_the_wheel_holds_the_modules_as_they_are(inside):
    for o in (root/'digits_fastai').rglob('*.py'): assert inside[o.relative_to(root).as_posix()]==o.read_bytes()

def test_the_metadata_are_those_of_settings(metadata):
    assert plain(metadata['Name'])==plain(s['lib_name']) and metadata['Version']==s['version']
    assert metadata['Requires-Python']==f'>={s["min_python"]}'
    assert metadata['Summary']==s['description']
    assert any(s['git_url'] in o for o in [metadata.get('Home-page', ''), *metadata.get_all('Project-URL', [])])
    assert set(metadata.get_all('Provides-Extra'))==extras>={'dev','learn','track','scale'}
    kinds = metadata.get_all('Classifier')
    assert {'Typing :: Typed', *(f'Programming Language :: Python :: 3.{n}' for n in (10,11,12,13))}<={*kinds}
    assert 'Apache-2.0' in (metadata['License'], metadata['License-Expression'])
    assert not [o for o in kinds if o.startswith('License')], 'said by License already'

def parts(requirement): # 'a>=1,<2' and 'a<2,>=1' are the same
    return frozenset(o for o in re.split(r'(?=[<>!~]|(?<![<>!~=])=)|,', requirement) if o)

def test_requirements_and_extras_are_those_of_settings(metadata):
    wanted = {None: s['requirements'], **{o: s[f'{o}_requirements'] for o in extras}}
    given = {extra: set() for extra in wanted}
    for o in metadata.get_all('Requires-Dist'):
        what,_,marker = o.partition(';')
        extra = re.search(r'extra\s*==\s*[\'"](\w+)', marker)
        given[extra and extra.group(1)].add(parts(what.replace(' ', '')))
    assert given=={extra: {parts(o) for o in line.split()} for extra,line in wanted.items()}

def test_the_library_pins_nothing_and_nobody_downward():
    assert not [o for o in s['requirements'].split() if '<' in o or '==' in o], 'only the dev extra pins'

def test_the_command_is_an_entry_point(inside):
    entry = next(v for k,v in inside.items() if k.endswith('entry_points.txt')).decode()
    name,_,target = s['console_scripts'].partition('=')
    assert name=='digits' and re.search(rf'\[console_scripts\]\s+{name}\s*=\s*{re.escape(target)}', entry)

distributions = cache(packages_distributions) # it reads every file that is installed

def undeclared(source, *keys, package='digits_fastai'):
    "Imports, also those inside functions, that a user without the dev extras might miss."
    tops = {name.split('.')[0] for name,_ in imports(source, package)}-{'digits_fastai',*sys.stdlib_module_names}
    dists = distributions()
    return sorted(o for o in tops if not {plain(d) for d in dists.get(o, [o])}&set().union(*map(listed, keys)))

@pytest.mark.parametrize('chapter', chapters, ids=str)
def test_what_a_module_imports_is_declared(chapter):
    extra = {'grading.exercises': ['learn_requirements'], 'training.tracking': ['track_requirements'], 'scale.processes': ['scale_requirements']} # they say so where it is missing
    package = f'digits_fastai.{chapter.room}'.rstrip('.')
    missing = undeclared(chapter.py.read_text(encoding='utf-8'), 'requirements', *extra.get(chapter.module, []), package=package)
    assert not missing, f'{chapter} imports {missing}: add them to requirements in settings.ini'

@pytest.mark.parametrize('source,found', [
    ('import nbdev', ['nbdev']), ('def f():\n    from no_such_package.x import y', ['no_such_package']),
    ('import os,re\nimport torch.nn as nn\nfrom PIL import Image\nfrom .losses import mse', [])])
def test_an_import_that_is_not_declared_is_reported(source, found): assert undeclared(source, 'requirements')==found

def test_the_modules_of_the_dev_extras_are_known():
    dev = dev_only()
    assert {'nbdev','pytest','hypothesis','fastbook'}<=dev and not {'torch','fastai','fastcore','typer'}&dev

def test_in_a_clean_environment_the_wheel_is_what_is_imported(clean, tmp_path):
    look = 'import digits_fastai as d; print(d.__file__); print(d.__version__)'
    file,version = in_clean(clean, look, tmp_path).split('\n')
    assert Path(file).resolve().is_relative_to(clean.parents[1].resolve()) and version==s['version']

def test_in_a_clean_environment_the_dev_extras_are_missing(clean, tmp_path):
    look = 'try: import nbdev\nexcept ModuleNotFoundError as e: print(e)'
    assert 'without the dev extras' in in_clean(clean, look, tmp_path)

@pytest.mark.slow
def test_in_a_clean_environment_everything_imports_and_a_learner_fits(clean, tmp_path):
    fit = '''
import sys, digits_fastai.all as d
before = sorted({'fastai','torchvision','matplotlib','pandas','sklearn'}&set(sys.modules))
import torch
from digits_fastai.all import *
x = torch.randn(64,5)
dls = DataLoaders.from_tensors((x,(x[:,:1]>0).float()), (x,(x[:,:1]>0).float()), batch_size=16)
learn = Learner(dls, nn.Linear(5,1), mnist_loss, opt_func=SGD, metrics=batch_accuracy)
learn.fit(1, 1.)
print(before, len(learn.recorder.values), Path, ImageDataLoaders.__module__)
'''
    out = in_clean(clean, fit, tmp_path).splitlines()
    assert out[0].split()==['epoch','train_loss','valid_loss','batch_accuracy','time'] and len(out)==3
    assert out[2].startswith('[] 1 ') and out[2].endswith('fastai.vision.data')

def test_in_a_clean_environment_the_command_is_there(clean, tmp_path):
    script = clean.parent/('digits.exe' if sys.platform=='win32' else 'digits')
    assert 'ladder' in run(script, '--help', cwd=tmp_path, PYTHONPATH=None).stdout

def test_in_a_clean_environment_the_stand_in_can_be_made(clean, tmp_path):
    make = 'from digits_fastai.download import standin_path; print(len(list(standin_path(base=".").rglob("*.png"))))'
    assert in_clean(clean, make, tmp_path)=='362'

@pytest.mark.slow
def test_in_a_clean_environment_the_quick_ladder_is_climbed_without_a_network(clean, tmp_path):
    script = clean.parent/('digits.exe' if sys.platform=='win32' else 'digits')
    nowhere = dict.fromkeys(('http_proxy','https_proxy','HTTP_PROXY','HTTPS_PROXY'), 'http://127.0.0.1:9')
    res = run(*cut_off, script, 'ladder', '--quick', cwd=tmp_path, PYTHONPATH=None, HOME=str(tmp_path),
              FASTAI_HOME=str(tmp_path/'fa'), DIGITS_FASTAI_STRICT=None, no_proxy=None, **nowhere)
    rows = dict(re.findall(r'^(\S.*?)  +(\d\.\d+) ', res.stdout, re.M))
    assert 'stand in' in res.stderr and float(rows['simple_net'])>.9>float(rows['guessing'])


# What a type checker tells somebody who uses the library. It believes our annotations, and there are some to believe.
typed = '''
from pathlib import Path
import torch
from torch import nn
from digits_fastai.dataloaders import DataLoader, DataLoaders, Dataset
from digits_fastai.download import digits_path
from digits_fastai.images import load_folder
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy, cross_entropy
from digits_fastai.optimizer import SGD, Adam, BasicOptim
import digits_fastai.training.schedules

path: Path = digits_path()
x, y, names = load_folder(path/'train')
dl = DataLoader(Dataset(x, y), batch_size=64, shuffle=True)
for xb, yb in dl: print(xb.shape, yb.shape)
dls = DataLoaders.from_folder(path, flatten=True, batch_size=256)
learn = Learner(dls, nn.Linear(784, 2), cross_entropy, opt_func=SGD, lr=.1, metrics=[accuracy])
learn.fit(2, lr=.1)
learn.fit_one_cycle(1, .1)
loss: float = learn.validate()[0]
preds, targets = learn.get_preds()
label, index, probabilities = learn.predict(x[0])
for opt in (SGD(learn.model.parameters(), lr=.1, mom=.9), Adam(learn.model.parameters(), lr=.1)): opt.step()
BasicOptim(learn.model.parameters(), .1).zero_grad()
print(probabilities.sum() + loss, preds.shape, label)
'''
starred = '''
from digits_fastai.all import *
path = untar_data(URLs.MNIST_SAMPLE)
learn = Learner(DataLoaders.from_folder(path), nn.Linear(784, 2), F.cross_entropy, opt_func=SGD, metrics=accuracy)
plt.plot(L(1, 2).itemgot(0), np.arange(2))
print(tensor([1]), Path('.'), pd.DataFrame(), torch.zeros(1), string.digits, first([1]), to_np(tensor([1])))
'''

def complaints(clean, folder, **scripts):
    "What mypy says of scripts, as (script, line, kind of error)."
    for name,code in scripts.items(): (folder/f'{name}.py').write_text(code)
    options = '--python-executable',clean,'--cache-dir',folder/'cache'
    res = run(python, '-m', 'mypy', *options, *(f'{o}.py' for o in scripts), cwd=folder, ok=False)
    assert res.returncode in (0,1), res.stdout+res.stderr
    return re.findall(r'^(\w+)\.py:(\d+): error: .*\[([\w-]+)\]$', res.stdout, re.M)

@pytest.mark.slow
def test_a_type_checker_finds_nothing_in_right_code_and_something_in_wrong_code(clean, tmp_path):
    wrong = typed.replace('batch_size=64', "batch_size='64'").replace('learn.fit(2', "learn.fit('2'")+'no: int = digits_path()'
    absent = starred.replace('np.arange', 'nq.arange').replace('accuracy)', 'acuracy)')
    found = complaints(clean, tmp_path, right=typed, starred=starred, wrong=wrong, absent=absent)
    assert not [o for o in found if o[0] in ('right','starred')], found
    assert sorted(kind for name,_,kind in found if name=='wrong')==['arg-type','arg-type','assignment']
    assert sorted(kind for name,_,kind in found if name=='absent')==['name-defined','name-defined']


def workflow(name):
    with (root/'.github/workflows'/name).open(encoding='utf-8') as f: return yaml.safe_load(f)

def test_the_workflow_tries_every_python_that_is_promised(metadata):
    said = [o.rpartition(' ')[2] for o in metadata.get_all('Classifier') if re.search(r'Python :: 3\.\d+$', o)]
    jobs = workflow('test.yaml')['jobs']
    assert jobs['test']['strategy']['matrix']['python']==said
    assert set(jobs['wheel']['strategy']['matrix']['python'])=={said[0], said[-1]}
    assert all(str(job['env']['OMP_NUM_THREADS'])=='1' for job in jobs.values())

@pytest.mark.skipif(sys.platform=='win32', reason='the workflow runs on Linux')
def test_ci_and_the_workflow_run_the_readmes_own_command():
    *_,step = workflow('test.yaml')['jobs']['test']['steps']
    find,_ = step['run'].strip().split('\n')
    assert find in (root/'.ci/run').read_text(encoding='utf-8')
    found = run('bash', '-euc', f'{find}; echo "$command"', cwd=root).stdout.strip()
    assert 'pip install' in found and '[dev]' in found and 'nbdev_test' in found and 'pytest' in found
    assert found in (root/'README.md').read_text(encoding='utf-8').splitlines()
    run('bash', '-n', root/'.ci/run')
