"A machine with no network and an empty cache; two processes at once."
import json,os,shutil,subprocess

import pytest

from conftest import python,run

# Read by Python before anything else when it lies on PYTHONPATH: no name is looked up, no connection made, root or not.
no_sockets = '''
import socket
def refuse(*args, **kwargs): raise socket.gaierror(-3, 'no network in this test')
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
socket.socket.connect = refuse
'''

def can_unshare():
    "May we start a process that has no network at all?"
    if shutil.which('unshare') is None: return False
    return subprocess.run(['unshare', '-rn', 'true'], capture_output=True).returncode==0

cut_off = ['unshare', '-rn'] if can_unshare() else []

@pytest.fixture
def home(tmp_path): return tmp_path/'home'

@pytest.fixture
def env(tmp_path, home):
    "An empty home, an empty cache, no network."
    (tmp_path/'site').mkdir()
    (tmp_path/'site'/'sitecustomize.py').write_text(no_sockets)
    home.mkdir()
    return dict(HOME=str(home), USERPROFILE=str(home), FASTAI_HOME=str(home/'fa'), DIGITS_FASTAI_STRICT=None,
                PYTHONPATH=os.pathsep.join([str(tmp_path/'site'), os.environ['PYTHONPATH']]))

def offline(code, env, **kwargs): return run(*cut_off, python, '-c', code, cwd=env['HOME'], **{**env, **kwargs})

count = '''
from digits_fastai.download import *
import json
path = digits_path({})
folders = sorted(path.glob('*/*'))
print(json.dumps([is_standin(path), {{o.relative_to(path).as_posix(): len(list(o.iterdir())) for o in folders}}]))
'''

def test_these_processes_have_no_network(env):
    look = "from urllib.request import urlopen\ntry: urlopen('http://127.0.0.1:9/')\nexcept OSError as e: print(e)"
    assert 'no network' in offline(look, env).stdout

def test_offline_the_stand_in_is_announced_in_one_line_and_found_again(env, home):
    res = offline(count.format(''), env)
    assert json.loads(res.stdout)==[True, {'train/3': 146, 'train/7': 143, 'valid/3': 37, 'valid/7': 36}]
    assert res.stderr.count('\n')==1 and 'stand in' in res.stderr
    assert sorted(o.name for o in (home/'fa'/'data').iterdir())==['digits_standin_sample'], 'something else was written'
    assert not [o for o in (home/'fa').glob('archive/*') if o.suffix!='.lock'] and not (home/'.fastai').exists()
    files = {o: o.stat().st_mtime_ns for o in home.rglob('*.png')}
    assert offline(count.format(''), env).stdout==res.stdout
    assert {o: o.stat().st_mtime_ns for o in home.rglob('*.png')}==files, 'it was made a second time'

def test_offline_all_ten_digits_are_laid_out_like_mnist(env):
    standin,counts = json.loads(offline(count.format('full=True'), env).stdout)
    assert standin and sum(counts.values())==1797
    assert sorted(counts)==sorted(f'{part}/{n}' for part in ('training','testing') for n in range(10))

def test_the_stand_ins_pictures_are_like_mnists(tmp_path):
    "28 by 28 bytes, in a box of at most 20, with the centre of mass at pixel 14."
    import torch
    from digits_fastai.download import standin_path
    from digits_fastai.images import load_folder
    x,y,names = load_folder(standin_path(base=tmp_path)/'train')
    assert x.shape==(289,28,28) and x.dtype==torch.uint8 and names==['3','7']
    mass = x.float().sum((1,2))
    for d,side in ((1,(28,1)), (2,(1,28))):
        centre = (x.float()*torch.arange(28.).view(side)).sum((1,2))/mass
        assert (centre-14).abs().max()<1
    for a in x:
        rows,cols = a.amax(1).nonzero(),a.amax(0).nonzero()
        assert max(rows.max()-rows.min(), cols.max()-cols.min())+1<=20

def test_offline_a_learner_trains_on_it_and_beats_guessing(env):
    train = '''
from digits_fastai.download import digits_path
from digits_fastai.dataloaders import DataLoaders
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy
from digits_fastai.optimizer import SGD
import torch
torch.manual_seed(0)
dls = DataLoaders.from_folder(digits_path(), flatten=True)
learn = Learner(dls, torch.nn.Linear(784,2), torch.nn.CrossEntropyLoss(), opt_func=SGD, metrics=accuracy)
with learn.no_logging(): learn.fit(5, lr=.1)
print(learn.recorder.values[-1][-1])
'''
    assert float(offline(train, env).stdout)>.9

def test_offline_and_strict_it_is_an_error_that_names_the_ways_out(env, home):
    res = offline(count.format(''), env, ok=False, DIGITS_FASTAI_STRICT='1')
    last = res.stderr.strip().splitlines()[-1]
    assert res.returncode==1 and last.startswith('digits_fastai.') and '.DownloadError: ' in last
    assert all(o in last for o in ('mnist_sample.tgz', 'by hand', 'no network'))
    assert not list(home.rglob('*.png'))

def test_offline_untar_data_never_gives_other_data(env):
    ask = '''
from digits_fastai.download import *
try: print('got', untar_data(URLs.MNIST_SAMPLE))
except DownloadError: print('DownloadError')
'''
    assert offline(ask, env).stdout.split()==['DownloadError']

def test_two_processes_that_make_the_stand_in_at_once_both_succeed(env, home):
    full = {k: v for k,v in {**os.environ, **env}.items() if v is not None}
    both = [subprocess.Popen([python, '-c', count.format('')], env=full, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    outs = [p.communicate(timeout=120) for p in both]
    assert [p.returncode for p in both]==[0,0], outs
    assert all(sum(json.loads(out)[1].values())==362 for out,_ in outs)
    assert [o.name for o in (home/'fa'/'data').iterdir()]==['digits_standin_sample'], 'temporary files were left'
