"""Training that is killed and goes on, files that are cut, spoiled or hostile, exports that fail.

Whatever is said to be equal here is equal to the last bit. What has to survive a kill is killed: at every change of a file,
by a child of the nursery (killing.py), and at random moments.
"""
import hashlib,json,math,os,pickle,random,re,shutil,signal,time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from conftest import python,run
from killing import Nursery
from digits_fastai.training import checkpoints,randomness,weights
from digits_fastai.training.checkpoints import Checkpoint,Resume
from digits_fastai.dataloaders import DataLoader,DataLoaders,Dataset
from digits_fastai.events import Callback,CancelFitException
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy
from digits_fastai.metrics import AvgMetric
from digits_fastai.optimizer import Adam
import digits_fastai.training.schedules # noqa: F401 it hangs methods on
from digits_fastai.training.stopping import EarlyStoppingCallback,SaveModelCallback,TrackerCallback,better
from digits_fastai.training.randomness import no_random,random_states
from digits_fastai.training.weights import load_learner,read_tensors,write_whole

setting = '''
import hashlib,json,os,random,signal,sys,warnings
from pathlib import Path
warnings.filterwarnings('ignore')
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader as TorchDL,RandomSampler,TensorDataset
import fastai.callback.progress
from fastai import optimizer as fo
from fastai.data.core import DataLoaders as FastaiDLs
from fastai.data.load import DataLoader as FastaiDL
from digits_fastai.training import checkpoints
from digits_fastai.training.checkpoints import Checkpoint
from digits_fastai.dataloaders import DataLoader,DataLoaders,Dataset
from digits_fastai.events import Callback,CancelFitException
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy
from digits_fastai.optimizer import SGD,Adam,BasicOptim
import digits_fastai.training.schedules
from digits_fastai.training.stopping import EarlyStoppingCallback,SaveModelCallback
from digits_fastai.training.weights import load_learner

torch.optim.SGD([torch.zeros(1)], lr=1.) # the first optimizer of PyTorch's takes seconds
g = torch.Generator().manual_seed(0)
x = torch.randn(130,20, generator=g)
y = (x[:,0]+torch.randn(130, generator=g)>0).long()

def own(seed=5): return torch.Generator().manual_seed(seed)
def ours(**kwargs): return DataLoader(Dataset(x, y), 16, shuffle=True, **kwargs)
loaders = {'ours': ours, 'own dice': lambda: ours(generator=own()), 'drop_last': lambda: ours(drop_last=True),
           'workers': lambda: ours(num_workers=1),
           'torch': lambda: TorchDL(TensorDataset(x, y), 16, shuffle=True),
           'torch, own dice': lambda: TorchDL(TensorDataset(x, y), 16, shuffle=True, generator=own()),
           'torch, sampler': lambda: TorchDL(TensorDataset(x, y), 16, sampler=RandomSampler(x, generator=own())),
           'fastai': lambda: FastaiDL([(a,int(b)) for a,b in zip(x, y)], bs=16, shuffle=True)}
opts = {'Adam': Adam, 'SGD': SGD, 'momentum': lambda ps, lr: SGD(ps, lr, mom=.9), 'BasicOptim': BasicOptim,
        'torch Adam': torch.optim.Adam, 'torch SGD': lambda ps, lr: torch.optim.SGD(ps, lr, momentum=.9),
        'torch AdamW': lambda ps, lr: torch.optim.AdamW(ps, lr, amsgrad=True), 'fastai Adam': fo.Adam, 'fastai SGD': fo.SGD}
splits = {None: None, 'two': lambda m: [list(m[:2].parameters()),list(m[2:].parameters())]}

class Noise(nn.Module):
    "Draws from NumPy and Python, too."
    def forward(self, x): return x + (.01*np.random.rand() + .01*random.random() if self.training else 0.)

def new_learner(seed, loader='ours', opt='Adam', split=None, cbs=None, n=10):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    dls = DataLoaders(loaders[loader](), DataLoader(Dataset(x[:50], y[:50]), 32))
    net = nn.Sequential(nn.Linear(20,n), nn.BatchNorm1d(n), nn.ReLU(), nn.Dropout(.3), Noise(), nn.Linear(n,2))
    learn = Learner(dls, net, nn.CrossEntropyLoss(), opt_func=opts[opt], metrics=accuracy, splitter=splits[split], cbs=cbs)
    learn.logger = lambda row: None
    return learn

class Ends(Callback):
    "Ends the fit after epoch 1, as a callback may, or in the middle of epoch 2, as SIGKILL does."
    order = 80
    def __init__(self, how): self.how = how
    def after_epoch(self):
        if self.fitting and self.how=='cancel' and self.epoch==1: raise CancelFitException
    def after_step(self):
        if self.how=='kill' and self.epoch==2 and self.iter==3: os.kill(os.getpid(), signal.SIGKILL)

def sums(learn):
    "All that training has led to, as one text."
    h,r = hashlib.sha256(),learn.recorder
    for k,v in learn.model.state_dict().items(): h.update(k.encode() + v.numpy().tobytes())
    h.update(torch.stack(r.losses).numpy().tobytes())
    return json.dumps([h.hexdigest(), r.values, [float(o) for o in r.lrs], r.iters, r.metric_names, getattr(r, 'hps', None)], default=float)
'''
exec(setting)


@pytest.fixture(scope='module')
def nursery():
    it = Nursery(setting, dict(os.environ))
    yield it
    it.close()


# Going on

fit = 'learn.fit_one_cycle(4, .02, start_epoch=learn.done_epochs, cbs=[Ends(how), Checkpoint(file)])\nout = sums(learn)'

def same(nursery, tmp_path, how, patched='', **kwargs):
    "Does a training that was stopped and continued in another process equal the whole?"
    names = dict(kwargs=kwargs, file=tmp_path/f'{random.random()}')
    whole = nursery.run(f'learn = new_learner(0, **kwargs)\n{fit}', how=None, **{**names, 'file': tmp_path/'whole'})
    first = nursery.run(f'learn = new_learner(0, **kwargs)\n{fit}', how=how, **names)
    assert whole['error'] is None and first['killed']==(how=='kill') and (how=='kill' or first['error'] is None), (whole, first)
    second = nursery.run(f'{patched}\nlearn = new_learner(9, **kwargs).load(file)\nassert learn.done_epochs==2\n'
                         f'torch.rand(3); random.random(); np.random.rand(); next(iter(learn.dls.train)); new_learner(3)\n{fit}', how=None, **names)
    assert second['error'] is None, second
    return whole['out']==second['out']

@pytest.mark.parametrize('kwargs', [*(dict(opt=o) for o in opts), *(dict(loader=o) for o in loaders if o!='ours'),
                                    dict(opt='Adam', split='two'), dict(opt='fastai Adam', split='two', loader='fastai')], ids=str)
def test_going_on_in_another_process_equals_the_whole(nursery, tmp_path, kwargs):
    assert same(nursery, tmp_path, 'cancel', **kwargs)

@pytest.mark.parametrize('loader', ['ours','own dice','torch','fastai'])
def test_going_on_after_sigkill_equals_the_whole(nursery, tmp_path, loader):
    assert same(nursery, tmp_path, 'kill', loader=loader)

forgets = {'dice': "checkpoints.set_random_states = lambda *args: None",
           'the smoothed loss': "old = checkpoints._read; checkpoints._read = lambda f: (lambda s: {**s, 'smooth_loss': {'val': torch.zeros(()), 'count': 0}})(old(f))",
           'the dice of its own': "from digits_fastai.training import randomness; randomness._dice = lambda loaders: []",
           'memory': "old = checkpoints._read; checkpoints._read = lambda f: (lambda s: {**s, 'opt': None})(old(f))",
           'the record': "old = checkpoints._read; checkpoints._read = lambda f: (lambda s: {**s, 'recorder': {'done': s['recorder']['done']}})(old(f))",
           'to set the dice once more': "Callback.keep = (); checkpoints.Resume.before_epoch = lambda self: None"}

@pytest.mark.parametrize('twin', forgets)
def test_a_file_without_something_is_noticed(nursery, tmp_path, twin):
    assert not same(nursery, tmp_path, 'cancel', forgets[twin], loader='own dice')

@pytest.mark.slow # in the quick tier, processes that are forked go on
def test_going_on_in_a_process_of_its_own(nursery, tmp_path):
    whole = nursery.run(f'learn = new_learner(0)\n{fit}', how=None, file=tmp_path/'whole')
    assert nursery.run(f'learn = new_learner(0)\n{fit}', how='kill', file=tmp_path/'a')['killed']
    code = f'{setting}\nhow,file = None,{str(tmp_path/"a")!r}\nlearn = new_learner(9).load(file)\n{fit}\nprint(out)'
    assert run(python, '-c', code, cwd=tmp_path).stdout.strip()==whole['out']

def test_a_second_fit_after_loading_equals_two_fits_in_a_row(tmp_path):
    def fits(learn, n):
        for i in range(n): learn.fit_one_cycle(2, .02)
        return sums(learn)
    whole = fits(new_learner(0), 2)
    first = new_learner(0)
    fits(first, 1)
    first.save(tmp_path/'a')
    assert fits(new_learner(9).load(tmp_path/'a'), 1)==whole

def test_a_new_fit_after_loading_heeds_its_own_seed(tmp_path):
    learn = new_learner(0)
    learn.fit(1, .02)
    learn.save(tmp_path/'a')
    results = []
    for draws in (1,5):
        new = new_learner(9).load(tmp_path/'a')
        torch.rand(draws)
        for o in (torch.manual_seed, np.random.seed, random.seed): o(3)
        new.fit(1, .02)
        results.append(sums(new))
    assert results[0]==results[1]

def test_callbacks_go_on_with_what_they_kept(tmp_path):
    def night(seed, *more):
        best = SaveModelCallback(fname=tmp_path/f'best{seed}') if seed else SaveModelCallback(fname=tmp_path/'best9')
        return new_learner(seed, cbs=[EarlyStoppingCallback(patience=2), best, Checkpoint(tmp_path/'night'), *more])
    class Dies(Callback):
        def before_train(self):
            if self.epoch==at: raise KeyError
    whole = night(0)
    whole.fit(30, .1)
    n = len(whole.recorder.values)
    assert 3<n<30
    for at in {1, n//2, n-1}:
        with pytest.raises(KeyError): night(0, Dies()).fit(30, .1)
        back = night(9).load(tmp_path/'night')
        back.fit(30, .1, start_epoch=back.done_epochs)
        assert sums(back)==sums(whole)

def test_no_epoch_is_left(tmp_path):
    learn = new_learner(0, cbs=[SaveModelCallback(fname=tmp_path/'best'), Checkpoint(tmp_path/'end')])
    learn.fit(3, .5)
    back = new_learner(9, cbs=[SaveModelCallback(fname=tmp_path/'best'), Checkpoint(tmp_path/'end')]).load(tmp_path/'end')
    back.fit(3, .5, start_epoch=back.done_epochs) # killed between the last epoch and the loading of the best
    assert sums(back)==sums(learn) and back.done_epochs==3 and not any(isinstance(o, Resume) for o in back.cbs)

def test_checkpoint_every_second_epoch_and_after_the_last(tmp_path):
    seen = []
    class Looks(Callback):
        order = 95
        def after_epoch(self):
            if self.fitting: seen.append(new_learner(1).load(tmp_path/'a').done_epochs if (tmp_path/'a.safetensors').exists() else 0)
    learn = new_learner(0, cbs=[Checkpoint(tmp_path/'a', every=2), Looks()])
    learn.fit(5, .01)
    learn.validate()
    assert seen==[0,2,2,4,5]

def test_a_record_on_its_way_is_kept_bit_for_bit(tmp_path):
    learn = new_learner(0)
    learn.recorder.values,learn.recorder.losses = [[math.nan,math.inf,.1+.2,5e-324,None]],[torch.tensor(math.nan)]
    learn.recorder.lrs,learn.recorder.iters,learn.recorder.hps = [np.float64(.1)],[3],{'lr': [1e-300]}
    back = new_learner(1).load(learn.save(tmp_path/'a')).recorder
    assert repr(back.values)==repr(learn.recorder.values) and back.losses[0].isnan() and back.lrs==[.1] and back.hps=={'lr': [1e-300]}

@pytest.mark.parametrize('name,expected', [('a','a.safetensors'), ('b.safetensors','b.safetensors'), ('deep/er/c','deep/er/c.safetensors')])
def test_where_a_file_goes(tmp_path, name, expected):
    learn = new_learner(0)
    assert learn.save(f'{tmp_path}/{name}')==tmp_path/expected==learn.save(tmp_path/name)
    assert (tmp_path/expected).is_file() and learn.load(tmp_path/name) is learn

def test_a_link_stays_a_link(tmp_path):
    (tmp_path/'link.safetensors').symlink_to(tmp_path/'there.safetensors')
    new_learner(0).save(tmp_path/'link')
    assert (tmp_path/'link.safetensors').is_symlink() and (tmp_path/'there.safetensors').stat().st_size>1000

def test_tied_weights_and_odd_dtypes_come_back(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(20,20)
            self.b = self.a
            self.register_buffer('flags', torch.tensor([True,False]))
            self.register_buffer('none', torch.zeros(0,3))
            self.short = nn.Parameter(torch.randn(3).to(torch.bfloat16))
            self.last = nn.Parameter(torch.randn(4,3).T)
    learn,back = (Learner(None, Tied(), nn.MSELoss(), opt_func=SGD) for _ in range(2))
    back.load(learn.save(tmp_path/'a'))
    for a,b in zip(learn.model.state_dict().values(), back.model.state_dict().values()): assert torch.equal(a, b) and a.dtype==b.dtype
    assert back.model.a is back.model.b

def test_something_that_cannot_be_kept_is_named_and_the_old_file_stays(tmp_path):
    class Odd(Callback): keep = ('thing',)
    learn = new_learner(0)
    file = learn.save(tmp_path/'a')
    old = file.read_bytes()
    odd = Odd()
    odd.thing = object()
    with pytest.raises(TypeError, match=r'callbacks.*thing is a object'): learn.add_cbs(odd).save(file)
    assert file.read_bytes()==old and [o.name for o in tmp_path.iterdir()]==['a.safetensors']


# Killed while it writes

save_b = "learn = new_learner(2); learn.save(file); out = 'saved'"

def is_whole(file, sums_of):
    "Which of the two the file is; an error if neither."
    learn = new_learner(7).load(file)
    return sums_of[hashlib.sha256(b''.join(v.numpy().tobytes() for v in learn.model.state_dict().values())).hexdigest()]

@pytest.fixture
def two(tmp_path):
    "A file of state A, and what A and B look like."
    learns = {'A': new_learner(1), 'B': new_learner(2)}
    look = {hashlib.sha256(b''.join(v.numpy().tobytes() for v in l.model.state_dict().values())).hexdigest(): k for k,l in learns.items()}
    (tmp_path/'box').mkdir()
    file = learns['A'].save(tmp_path/'box'/'a.safetensors')
    return file,look,file.read_bytes()

def test_sigkill_at_every_change_of_a_file_leaves_the_old_or_the_new_one(nursery, two):
    file,look,old = two
    seen = nursery.run(save_b, watch=file.parent, file=file)['seen']
    assert len(seen)>=4 and any('rename' in o for o in seen), seen
    found = []
    for n in range(1, len(seen)+2):
        file.write_bytes(old)
        res = nursery.run(save_b, watch=file.parent, die_at=n, file=file)
        assert res['killed']==(n<=len(seen)), (n, seen, res)
        found.append(is_whole(file, look))
        new_learner(2).save(file)
        assert [o.name for o in file.parent.iterdir()]==[file.name], 'what a killed process left is cleared away'
    assert found==sorted(found) and set(found)=={'A','B'}

def test_a_file_written_in_place_would_not_survive(nursery, two):
    file,look,old = two
    naive = f'checkpoints.write_whole = lambda file, data: Path(file).open("wb").write(data)\n{save_b}'
    seen = nursery.run(naive, watch=file.parent, file=file)['seen']
    broken = 0
    for n in range(1, len(seen)+1):
        file.write_bytes(old)
        assert nursery.run(naive, watch=file.parent, die_at=n, file=file)['killed']
        try: is_whole(file, look)
        except ValueError: broken += 1
    assert broken

def test_sigkill_at_random_moments(nursery, two):
    file,look,_ = two
    loop = "ls = [new_learner(1), new_learner(2)]\nopen(ready, 'w').close()\nwhile True:\n    for l in ls: l.save(file)"
    rng = random.Random(0)
    for i in range(12):
        ready = file.parent.parent/f'ready{i}'
        pid = nursery.start(loop, file=file, ready=ready)
        while not ready.exists(): time.sleep(.002)
        time.sleep(rng.random()*.03)
        os.kill(pid, signal.SIGKILL)
        assert nursery.wait(pid)['killed']
        is_whole(file, look)
    new_learner(1).save(file)
    assert [o.name for o in file.parent.iterdir()]==[file.name]

def test_what_another_process_is_writing_is_left_alone(nursery, two):
    file,look,_ = two
    slow = ("import time\nold = os.fsync\ndef fsync(fd):\n    open(ready, 'w').close()\n    time.sleep(.5)\n    old(fd)\n"
            f"os.fsync = fsync\n{save_b}")
    ready = file.parent.parent/'ready'
    pid = nursery.start(slow, file=file, ready=ready)
    while not ready.exists(): time.sleep(.002)
    new_learner(1).save(file)
    assert len(list(file.parent.glob('.*.tmp')))==1 and is_whole(file, look)=='A'
    res = nursery.wait(pid)
    assert res['error'] is None and is_whole(file, look)=='B' and len(list(file.parent.iterdir()))==1

@pytest.mark.parametrize('at', ['fsync','replace'])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(two, monkeypatch, at):
    file,look,old = two
    def full(*args): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(os if at=='fsync' else Path, at, full)
    with pytest.raises(OSError, match='No space'): new_learner(2).save(file)
    assert file.read_bytes()==old and [o.name for o in file.parent.iterdir()]==[file.name]


# Damaged, hostile, or another's

def fingerprint(learn):
    "All that a checkpoint would hold, as a checksum; and the callbacks."
    tensors = {}
    note = {k: checkpoints._encode(v, k, tensors) for k,v in checkpoints._state(learn).items()}
    return checkpoints._checksum(json.dumps(note), tensors),[type(o) for o in learn.cbs]

@pytest.fixture
def trained(tmp_path):
    "A Learner with a past, another's file, and a check that the Learner stays as it is."
    a,learn = new_learner(0),new_learner(5)
    a.fit(2, .02)
    learn.fit(1, .02)
    file = a.save(tmp_path/'a')
    def refuses(file, match, learn=learn, **kwargs):
        was = fingerprint(learn)
        with pytest.raises(ValueError, match=match) as e: learn.load(file, **kwargs)
        assert fingerprint(learn)==was, 'a load that fails changes nothing'
        return str(e.value)
    return file,learn,refuses

def test_every_cut_and_every_flipped_bit_is_noticed(trained, tmp_path):
    "safetensors looks at the header and at the length, our checksum at the rest."
    file,learn,_ = trained
    good,rng,bad = file.read_bytes(),random.Random(0),tmp_path/'bad.safetensors'
    before,n = fingerprint(learn),int.from_bytes(good[:8], 'little')
    cases = {f'cut at {i}': good[:i] for i in (0,8,8+n//2,8+n,len(good)//2,len(good)-1)}
    for i in (*range(9), *(rng.randrange(8+n) for _ in range(40)), *(rng.randrange(8+n, len(good)) for _ in range(40))):
        cases[f'a bit of byte {i}'] = good[:i] + bytes([good[i]^1<<rng.randrange(8)]) + good[i+1:]
    cases['more behind'] = good+b'x'
    for what,data in cases.items():
        bad.write_bytes(data)
        try: learn.load(bad)
        except ValueError as e: assert str(bad) in str(e), what
        else: pytest.fail(f'{what}: went unnoticed')
    assert fingerprint(learn)==before

def test_without_the_checksum_flipped_bits_would_get_in(trained, tmp_path, monkeypatch):
    file,learn,_ = trained
    good,got_in = bytearray(file.read_bytes()),0
    monkeypatch.setattr(checkpoints, '_checksum', lambda text, tensors: meta['sha256'])
    meta = read_tensors(file)[1]
    for i in range(1, 20):
        bad = good.copy()
        bad[-300*i] ^= 1
        (tmp_path/'bad.safetensors').write_bytes(bad)
        try: new_learner(5).load(tmp_path/'bad')
        except ValueError: continue
        got_in += 1
    assert got_in>5

class Owned:
    def __init__(self, file): self.file = file
    def __reduce__(self): return Path.touch,(self.file,)

@pytest.mark.parametrize('kind', ['torch','torch, old','pickle 0','pickle 2','pickle 5'])
def test_a_pickle_is_refused_and_not_run(trained, tmp_path, kind):
    _,learn,refuses = trained
    bad,owned = tmp_path/'bad.safetensors',tmp_path/'owned'
    if kind.startswith('torch'): torch.save(Owned(owned), bad, _use_new_zipfile_serialization=kind=='torch')
    else: bad.write_bytes(pickle.dumps(Owned(owned), protocol=int(kind[-1])))
    said = refuses(bad, 'pickle|no safetensors file')
    assert kind=='pickle 0' or 'is a pickle' in said
    assert not owned.exists()
    pickle.loads(pickle.dumps(Owned(owned)))
    assert owned.exists() # it would have been

def test_a_header_whose_length_begins_like_a_pickle_is_read(tmp_path):
    "The first byte of a safetensors file is the lowest of its header's length: any byte."
    for n in range(8, 400, 8): # the header is padded to eights
        write_whole(tmp_path/'a.safetensors', weights.to_bytes({'t': torch.ones(1)}, {'x': 'y'*n}))
        assert read_tensors(tmp_path/'a.safetensors')[1]=={'x': 'y'*n}

def forge(file, note, tensors=None):
    "A file with a right checksum and a note of one's own."
    text = note if isinstance(note, str) else json.dumps(note)
    tensors = tensors or {'t': torch.zeros(3)}
    write_whole(file, weights.to_bytes(tensors, {'digits_fastai': text, 'sha256': checkpoints._checksum(text, tensors)}))
    return file

@pytest.mark.parametrize('note', ['', '[]', 'null', '['*50_000, '{"format": 2}', '{"format": 1}', '{"format": 1, "model": 3}',
                                  '{"format": 1, "model": {"tensor": "u"}}', '{"format": 1, "model": {"os.system": ["ls"]}}',
                                  '{"format": 1, "model": {"dict": [[["t"], 1]]}}'], ids=lambda o: o[:40] or 'empty')
def test_a_forged_note_is_refused(trained, tmp_path, note):
    trained[2](forge(tmp_path/'forged.safetensors', note), 'forged')

spoils = {'opt': 3, 'recorder': 3, 'dice': {'dict': []}, 'smooth_loss': None, 'position': [1], 'callbacks': 3}

@pytest.mark.parametrize('part', [*spoils, 'a generator'])
def test_a_forged_part_changes_nothing(trained, tmp_path, part):
    file,learn,refuses = trained
    tensors,meta = read_tensors(file)
    note = json.loads(meta['digits_fastai'])
    if part=='a generator': tensors['dice.torch'] = torch.zeros(5, dtype=torch.uint8)
    else: note[part] = spoils[part]
    refuses(forge(tmp_path/'forged.safetensors', note, tensors), 'forged')

def test_a_fault_in_the_middle_of_loading_changes_nothing(trained, monkeypatch):
    file,learn,refuses = trained
    def boom(*args, **kwargs): raise RuntimeError('boom')
    with monkeypatch.context() as m:
        m.setattr(type(learn.opt), 'load_state_dict', lambda self, sd: boom() if sd['state'][0]['step']>9 else real(self, sd))
        real = Adam.__mro__[1].load_state_dict
        refuses(file, 'boom')
    calls = []
    def sometimes(*args):
        calls.append(args)
        if len(calls)==1: boom()
        return randomness.set_random_states(*args)
    monkeypatch.setattr(checkpoints, 'set_random_states', sometimes)
    refuses(file, 'boom')

def test_a_learner_without_an_optimizer_stays_so(trained):
    file,_,refuses = trained
    assert new_learner(0).opt is None
    refuses(file, 'class', learn=new_learner(0, opt='SGD'))

@pytest.mark.parametrize('kwargs,match', [
    (dict(n=11), r'size mismatch for 0.weight.*\[10, 20\].*\[11, 20\]'), (dict(opt='SGD'), 'optimizer.Adam, .*optimizer.SGD'),
    (dict(opt='torch Adam'), 'optimizer.Adam.*torch.optim'), (dict(split='two'), 'parameters'), (dict(opt='fastai Adam'), 'class')], ids=str)
def test_another_model_or_optimizer_is_named(trained, kwargs, match):
    file,_,refuses = trained
    learn = new_learner(0, **kwargs)
    learn.create_opt()
    refuses(file, match, learn=learn)
    if 'n' not in kwargs: learn.load(file, with_opt=False)

def test_momentum_is_no_plain_sgd(tmp_path):
    plain,learn = new_learner(0, opt='SGD'),new_learner(0, opt='momentum')
    for o in (plain, learn): o.create_opt()
    with pytest.raises(ValueError, match="hyperparameters .*'mom'"): plain.load(learn.save(tmp_path/'a'))

def test_names_that_are_missing_and_names_too_many(tmp_path):
    file = new_learner(0).save(tmp_path/'a', with_opt=False)
    short = Learner(None, nn.Sequential(nn.Linear(20,10), nn.BatchNorm1d(10), nn.ReLU()), nn.MSELoss(), opt_func=SGD)
    with pytest.raises(ValueError, match='Unexpected key.*5.weight.*5.bias'): short.load(file, with_opt=False)
    longer = Learner(None, nn.Sequential(*new_learner(1).model, nn.Linear(2,2)), nn.MSELoss(), opt_func=SGD)
    with pytest.raises(ValueError, match='Missing key.*6.weight.*6.bias'): longer.load(file, with_opt=False)
    longer.load(file, with_opt=False, strict=False)
    assert torch.equal(longer.model[5].weight, new_learner(0).model[5].weight)

def test_weights_only_says_so_and_touches_nothing_else(tmp_path):
    learn,other = new_learner(0),new_learner(5)
    other.fit(1, .02)
    file = learn.save(tmp_path/'a', with_opt=False)
    values,dice = other.recorder.values,random_states(other.dls)
    with pytest.warns(UserWarning, match='weights only') as w: other.load(file)
    assert w[0].filename==__file__
    assert torch.equal(other.model[0].weight, learn.model[0].weight) and other.recorder.values is values
    assert torch.equal(random_states(other.dls)['torch'], dice['torch']) and not any(isinstance(o, Resume) for o in other.cbs)
    assert file.stat().st_size<learn.save(tmp_path/'b').stat().st_size

def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone.safetensors'): new_learner(0).load(tmp_path/'gone')

def test_somebody_elses_safetensors_is_no_checkpoint(trained, tmp_path):
    from safetensors.torch import save_file
    save_file(new_learner(0).model.state_dict(), tmp_path/'theirs.safetensors')
    trained[2](tmp_path/'theirs', 'learn.save did not write it')


# Stopping

def test_early_stopping_stops_where_fastai_does():
    from fastai.callback.core import CancelFitException as TheirCancel
    from fastai.callback.tracker import EarlyStoppingCallback as Theirs
    rng,stops = random.Random(0),[]
    def epochs(cb, cancel, rows):
        cb.learn = SimpleNamespace(fitting=True, epoch=0, start_epoch=0, metrics=[], recorder=SimpleNamespace(metric_names=names, values=[]))
        cb.before_fit()
        for cb.learn.epoch,row in enumerate(rows):
            cb.learn.recorder.values.append(row)
            cb.learn.recorder.final = row
            try: cb.after_epoch()
            except cancel: return cb.learn.epoch,cb.best
        return None,cb.best
    names = ['epoch','train_loss','valid_loss','accuracy','error_rate','time']
    for _ in range(400):
        rows = [[rng.choice([round(rng.random(), 1), rng.random(), math.nan, 0., math.inf]) for _ in range(4)] for _ in range(15)]
        kwargs = dict(monitor=rng.choice(names[1:-1]), patience=rng.choice([1,2,4]), min_delta=rng.choice([0.,.05,.3]),
                      comp=rng.choice([None,None,np.less,np.greater]))
        a,b = epochs(EarlyStoppingCallback(**kwargs), CancelFitException, rows),epochs(Theirs(**kwargs), TheirCancel, rows)
        assert repr(a)==repr(b), (kwargs, rows)
        stops.append(a[0])
    assert len(set(stops))>8

def test_callbacks_sleep_while_somebody_looks_for_a_rate(tmp_path):
    pytest.importorskip('digits_fastai.training.lr_find')
    learn = new_learner(0, cbs=[EarlyStoppingCallback(), SaveModelCallback(fname=tmp_path/'best'), Checkpoint(tmp_path/'night')])
    learn.lr_find(num_it=30, show_plot=False)
    assert not list(tmp_path.iterdir())

def test_a_row_that_is_short_is_never_the_best(tmp_path):
    from digits_fastai.events import CancelTrainException
    class Skips(Callback):
        def before_batch(self):
            if self.training and self.epoch==1: raise CancelTrainException
    best = SaveModelCallback('accuracy', fname=tmp_path/'best')
    learn = new_learner(0, cbs=[best, Skips()])
    learn.fit(3, .01)
    assert best.best==max(learn.recorder.values[i][2] for i in (0,2)) and len(learn.recorder.values[1])==2

def test_save_best_each_epoch_and_at_the_end(tmp_path):
    learn = new_learner(0, cbs=SaveModelCallback(fname=tmp_path/'e.safetensors', every_epoch=2))
    learn.fit(4, .01)
    assert sorted(o.name for o in tmp_path.iterdir())==['e_0.safetensors','e_2.safetensors']
    learn = new_learner(0, cbs=SaveModelCallback(fname=tmp_path/'end', at_end=True, with_opt=True))
    learn.fit(2, .5)
    assert new_learner(1).load(tmp_path/'end').done_epochs==2
    with pytest.raises(ValueError, match='one of them'): SaveModelCallback(every_epoch=True, at_end=True)

def test_save_best_with_opt_keeps_the_record(tmp_path):
    best = SaveModelCallback(fname=tmp_path/'best', with_opt=True)
    learn = new_learner(0, cbs=best)
    learn.fit(6, .5)
    losses = [v[1] for v in learn.recorder.values]
    assert len(losses)==6 and learn.validate()[0]==pytest.approx(min(losses)) and losses[-1]>min(losses)


def test_metrics_know_which_way_is_better_and_an_unknown_one_must_be_told(tmp_path):
    from operator import gt,lt
    for name in ('valid_loss','error_rate','mse','rmse','msle','mae','sigmoid_mse','perplexity','cross_entropy','brier_score_loss',
                 'hamming_loss','L1Loss','exp_rmspe_error','n_wrong'): assert better(name) is lt, name
    for name in ('accuracy','batch_accuracy','accuracy_multi','top_k_accuracy','f1_score','F1Score','digit_acc','roc_auc_score',
                 'r2_score','dice','matthews_corrcoef','precision_score'): assert better(name) is gt, name
    def spread(p, t): return p.std()
    def fit(*cbs): new_learner(0, cbs=[*cbs]).fit(1, .01)
    def with_metric(cb):
        learn = new_learner(0, cbs=cb)
        learn.metrics.append(AvgMetric(spread))
        learn.fit(3, .01)
        return [row[-1] for row in learn.recorder.values]
    for cb in (TrackerCallback,EarlyStoppingCallback,SaveModelCallback):
        with pytest.raises(ValueError, match="monitor='spread' .* comp=np.less or comp=np.greater"): with_metric(cb('spread'))
    told = TrackerCallback('spread', comp=np.less)
    assert with_metric(told) and told.best==min(with_metric(TrackerCallback('spread', comp=np.less)))
    for higher in (True,False):
        spread.higher_is_better = higher
        knows = TrackerCallback('spread')
        values = with_metric(knows)
        assert knows.best==(max if higher else min)(values)

def test_the_best_by_mse_is_the_smallest(tmp_path):
    best = SaveModelCallback('mse', fname=tmp_path/'best')
    learn = new_learner(0, cbs=best)
    def mse(p, t): return (p.softmax(-1)[:,1]-t).pow(2).mean()
    learn.metrics.append(AvgMetric(mse))
    learn.fit(5, .3)
    values = [row[-1] for row in learn.recorder.values]
    assert best.best==min(values)<max(values) and learn.validate()[-1]==pytest.approx(min(values))

def test_stopping_says_what_is_true(capsys):
    def never(p, t): return p.sum()*math.nan
    learn = new_learner(0, cbs=EarlyStoppingCallback(patience=2))
    learn.loss_func = never
    learn.fit(5, .01)
    said = capsys.readouterr().out
    assert 'valid_loss was never a number to compare in 2 epochs' in said and 'epoch -1' not in said
    stays = EarlyStoppingCallback(patience=1, reset_on_fit=False)
    learn = new_learner(0, cbs=stays)
    learn.fit(1, .01)
    stays.best = -1.
    learn.fit(3, .01)
    assert 'No epoch of this fit was better than -1' in capsys.readouterr().out
    new_learner(0, cbs=EarlyStoppingCallback(min_delta=9., patience=2)).fit(5, .01)
    assert 'No improvement since epoch 0: early stopping' in capsys.readouterr().out

def test_an_empty_validation_set_is_named_by_who_monitors_it():
    learn = new_learner(0, cbs=TrackerCallback())
    learn.dls.valid = []
    with pytest.raises(ValueError, match='valid_loss in epoch 0: is the set empty'): learn.fit(1, .01)

@pytest.mark.parametrize('change', [dict(epoch=-3), dict(epoch=10**9), dict(epoch=1.5), dict(n_epoch=-1), dict(train_iter='3'), dict(train_iter=True)],
                         ids=str)
def test_a_nonsense_position_in_a_file_is_refused(tmp_path, monkeypatch, change):
    learn = new_learner(0)
    learn.fit(1, .01)
    real = checkpoints._state
    def state(learn, with_opt=True):
        s = real(learn, with_opt)
        return {**s, 'position': {**s['position'], **change}}
    with monkeypatch.context() as m:
        m.setattr(checkpoints, '_state', state)
        learn.save(tmp_path/'a')
    with pytest.raises(ValueError, match='is not what this digits_fastai saves: .*it says epoch'): learn.load(tmp_path/'a')

@pytest.mark.parametrize('done', [-1, 7, 2.5])
def test_more_epochs_done_than_there_are_rows_is_refused(tmp_path, done):
    learn = new_learner(0)
    learn.fit(1, .01)
    learn.recorder.done = done
    with pytest.raises(ValueError, match='epochs done'): new_learner(1).load(learn.save(tmp_path/'a'))

def test_files_lie_where_fastai_has_them(tmp_path):
    learn = new_learner(0)
    learn.path,learn.model_dir = tmp_path,'m'
    assert learn.save('a.b')==tmp_path/'m'/'a.b.safetensors' and learn.load('a.b', None, True) is learn
    learn.fit(1, .01, cbs=SaveModelCallback(fname='best'))
    assert (tmp_path/'m'/'best.safetensors').exists()


# Exports

def net(n=10): return nn.Sequential(nn.Linear(20,n), nn.BatchNorm1d(n), nn.ReLU(), nn.Dropout(.3), nn.Linear(n,2))
models = {'net': net}
build = f"from torch import nn\n{__import__('inspect').getsource(net)}\nmodels = dict(net=net)\n"

def small(seed, n=10, **kwargs):
    torch.manual_seed(seed)
    dls = DataLoaders(DataLoader(Dataset(x, y), 16, shuffle=True), DataLoader(Dataset(x[:50], y[:50]), 32), vocab=['no','yes'])
    learn = Learner(dls, net(n), kwargs.pop('loss_func', nn.CrossEntropyLoss()), opt_func=Adam, metrics=accuracy, **kwargs)
    learn.logger = lambda row: None
    return learn

def preds(learn): return learn.get_preds(dl=DataLoader(Dataset(x, y), 130))[0]

@pytest.fixture
def exported(tmp_path):
    learn = small(0)
    learn.fit(2, .02)
    (tmp_path/'box').mkdir()
    return learn,learn.export(tmp_path/'box'/'m', 'net', models, dict(n=10))

def test_the_call_that_a_card_names_loads_the_export(exported):
    learn,folder = exported
    call = re.search('To load it: `(.*?)`', (folder/'card.md').read_text())[1]
    loaded = eval(call, dict(load_learner=load_learner, folder=folder, net=models['net']))
    assert torch.equal(preds(loaded), preds(learn))

def test_an_export_predicts_the_same_in_another_process(exported, nursery):
    learn,folder = exported
    assert sorted(o.name for o in folder.iterdir())==['card.md','model.json','weights.safetensors']
    loaded = load_learner(folder, models=models)
    assert torch.equal(preds(loaded), preds(learn))
    for o in (x[0], x[1]): assert repr(loaded.predict(o))==repr(learn.predict(o))
    code = build + "l = load_learner(folder, models=models)\nout = l.get_preds(dl=DataLoader(Dataset(x, y), 130))[0].numpy().tobytes().hex()"
    assert nursery.run(code, folder=folder)['out']==preds(learn).numpy().tobytes().hex()

def test_an_export_leaves_the_learner_as_it_was(exported, tmp_path):
    learn,_ = exported
    for m in learn.model.modules(): m.training = True
    learn.model[1].training = False # frozen by hand
    before,modes = fingerprint(learn),[m.training for m in learn.model.modules()]
    learn.export(tmp_path/'again', 'net', models)
    with pytest.raises(ValueError): learn.export(tmp_path/'again', 'nobody', models)
    assert fingerprint(learn)==before and [m.training for m in learn.model.modules()]==modes

def test_sigkill_at_every_change_leaves_an_export_old_or_new(nursery, exported):
    learn,folder = exported
    box = folder.parent
    old = {o.name: o.read_bytes() for o in folder.iterdir()}
    new = small(3)
    look = {preds(learn).numpy().tobytes(): 'A', preds(new).numpy().tobytes(): 'B'}
    code = (f"{build}\ntorch.manual_seed(3)\ndls = DataLoaders(ours(), DataLoader(Dataset(x[:50], y[:50]), 32), vocab=['no','yes'])\n"
            "net_ = net(10)\nl = Learner(dls, net_, nn.CrossEntropyLoss()); l.export(folder, 'net', models)")
    seen = nursery.run(code, watch=box, folder=folder)
    assert seen['error'] is None, seen
    found = []
    for n in range(1, len(seen['seen'])+2):
        shutil.rmtree(box)
        folder.mkdir(parents=True)
        for k,v in old.items(): (folder/k).write_bytes(v)
        assert nursery.run(code, watch=box, die_at=n, folder=folder)['killed']==(n<=len(seen['seen']))
        found.append(look[preds(load_learner(folder, models=models)).numpy().tobytes()])
        learn.export(folder, 'net', models)
        assert [o.name for o in box.iterdir()]==['m']
    assert found==sorted(found) and set(found)=={'A','B'}

@pytest.mark.parametrize('error', ['fsync','card','constructor','name','args','another','activation','size'])
def test_an_export_that_fails_leaves_the_older_one(exported, monkeypatch, error):
    learn,folder = exported
    older,before = {o.name: o.read_bytes() for o in folder.iterdir()},fingerprint(learn)
    def boom(*args, **kwargs): raise OSError(28, 'No space')
    if error=='fsync': monkeypatch.setattr(os, 'fsync', boom)
    if error=='card': monkeypatch.setattr(weights, '_card', boom)
    if error=='activation': monkeypatch.setattr(learn, 'loss_func', SimpleNamespace(activation=torch.tanh))
    name,choice,args = {'constructor': ('f', {'f': boom}, {}), 'name': ('nobody', models, {}), 'args': ('net', models, dict(m=3)),
                        'size': ('net', models, dict(n=3)),
                        'another': ('f', {'f': lambda: nn.Sequential(*list(net())[:2], nn.Sigmoid(), *list(net())[3:])}, {})
                        }.get(error, ('net', models, {}))
    with pytest.raises((OSError,ValueError)): learn.export(folder, name, choice, args)
    assert {o.name: o.read_bytes() for o in folder.iterdir()}==older and [o.name for o in folder.parent.iterdir()]==['m']
    monkeypatch.undo()
    assert fingerprint(learn)==before and len(learn.dls.train)

@pytest.mark.parametrize('args', [dict(n=(10,)), dict(n=float('nan')), dict(n=torch.ones(1)), {3: 4}], ids=str)
def test_arguments_must_survive_json(exported, args):
    with pytest.raises((TypeError,ValueError), match='JSON|JSON compliant|serializable'): exported[0].export(exported[1], 'net', models, args)

def test_somebody_elses_folder_is_left_alone(exported, tmp_path):
    learn,folder = exported
    (folder/'thesis.txt').write_text('years of work')
    with pytest.raises(ValueError, match='thesis.txt'): learn.export(folder, 'net', models)
    (tmp_path/'file').write_text('x')
    with pytest.raises(ValueError, match='no export'): learn.export(tmp_path/'file', 'net', models)
    assert (folder/'thesis.txt').read_text()=='years of work' and (tmp_path/'file').read_text()=='x'
    (tmp_path/'empty').mkdir()
    learn.export(tmp_path/'empty', 'net', models)

hostile = {
    'no JSON': '{', 'a list': '[]', 'deep': '['*100_000, 'huge': ' '*(2**20+1), 'not UTF-8': b'\xff\xfe\x00', 'nothing': '',
    'format': dict(format=2), 'another name': dict(model='os.system', args=dict(command='touch owned')),
    'a path': dict(model='../../etc/passwd'), 'a list of names': dict(model=['net']), 'arguments': dict(args=[10]),
    'unknown argument': dict(args=dict(path='/etc/passwd')), 'text for a number': dict(args=dict(n='10')),
    'huge layer': dict(args=dict(n=10**12)), 'larger than any number': dict(args=dict(n=10**30)), 'other size': dict(args=dict(n=11)),
    'vocab': dict(vocab='no'), 'numbers as classes': dict(vocab=[3,7]), 'activation': dict(activation='eval'),
    'activation of a kind': dict(activation=['softmax']), 'weights': dict(weights='elsewhere'), 'sum': dict(weights=dict(sha256='0'*64)),
    'no sum': dict(weights=dict(file='../../etc/passwd'))}

@pytest.mark.parametrize('what', hostile)
def test_hostile_json_is_refused(exported, what):
    _,folder = exported
    change = hostile[what]
    info = {**json.loads((folder/'model.json').read_text()), **change} if isinstance(change, dict) else change
    (folder/'model.json').write_bytes(info if isinstance(info, bytes) else (info if isinstance(info, str) else json.dumps(info)).encode())
    with pytest.raises(ValueError) as e: load_learner(folder, models=models)
    assert str(folder) in str(e.value) and len(str(e.value))<700

def test_other_weights_under_the_same_description_are_refused(exported, tmp_path):
    _,folder = exported
    other = small(9).export(tmp_path/'other', 'net', models)
    shutil.copy(other/'weights.safetensors', folder)
    with pytest.raises(ValueError, match='SHA-256'): load_learner(folder, models=models)
    torch.save(Owned(tmp_path/'owned'), folder/'weights.safetensors')
    with pytest.raises(ValueError, match='is a pickle'): load_learner(folder, models=models)
    (folder/'weights.safetensors').unlink()
    with pytest.raises(FileNotFoundError): load_learner(folder, models=models)
    assert not (tmp_path/'owned').exists()

def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError): load_learner(tmp_path/'nothing', models=models)

@pytest.mark.parametrize('loss,act', [(nn.CrossEntropyLoss(),'softmax'), (nn.BCEWithLogitsLoss(),'sigmoid'), (nn.MSELoss(),None)], ids=str)
def test_activations_by_name(tmp_path, loss, act):
    learn = small(0, loss_func=loss)
    info = load_learner(learn.export(tmp_path/'m', 'net', models), models=models).exported
    assert info['activation']==act and info['measured']=={} and info['vocab']==['no','yes'] and info['input']['shape']==[20]

def test_fastais_losses_have_names_too(tmp_path):
    from fastai.losses import BCEWithLogitsLossFlat,CrossEntropyLossFlat
    for loss,act in ((CrossEntropyLossFlat(),'softmax'), (BCEWithLogitsLossFlat(),'sigmoid')):
        assert load_learner(small(0, loss_func=loss).export(tmp_path/'m', 'net', models), models=models).exported['activation']==act

layers = {
    'linear': nn.Linear(20,2), 'no bias': nn.Sequential(nn.Linear(20,2,bias=False)),
    'names': nn.Sequential(__import__('collections').OrderedDict(first=nn.Linear(20,3), act=nn.LeakyReLU(.3), last=nn.Linear(3,2))),
    'nested': nn.Sequential(nn.Sequential(nn.Linear(20,4), nn.Tanh()), nn.LayerNorm(4, eps=.1), nn.Linear(4,2)),
    'convolutions': nn.Sequential(nn.Unflatten(1, (1,4,5)), nn.Conv2d(1,4,(3,2),stride=2,padding=1,bias=False), nn.BatchNorm2d(4, momentum=.3),
                                  nn.GELU('tanh'), nn.MaxPool2d((2,1)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(.4), nn.Linear(4,2)),
    'grouped': nn.Sequential(nn.Unflatten(1, (2,10)), nn.Conv1d(2,4,3,groups=2,padding='same',padding_mode='circular'), nn.ELU(.5), nn.PReLU(4),
                             nn.AvgPool1d(2), nn.GroupNorm(2,4), nn.Flatten(), nn.Linear(20,2), nn.Softplus(2,5))}

@pytest.mark.parametrize('name', layers)
def test_a_sequential_of_pytorchs_layers_needs_no_function(tmp_path, name):
    learn = small(0)
    learn.model,learn.path = layers[name],tmp_path
    assert learn.export()==tmp_path/'export.pkl'
    back = load_learner(tmp_path/'export.pkl')
    assert str(back.model)==str(learn.model) and torch.equal(preds(back), preds(learn))
    assert 'load_learner(folder)`' in (tmp_path/'export.pkl'/'card.md').read_text()
    assert torch.equal(preds(load_learner(tmp_path/'export.pkl', True)), preds(learn))

def test_other_models_ask_for_a_function(tmp_path):
    class Own(nn.Linear): pass
    learn = small(0)
    learn.model = nn.Sequential(Own(20,2))
    with pytest.raises(ValueError, match='a Own is none of .* models='): learn.export(tmp_path/'m')
    folder = learn.export(tmp_path/'m', 'own', {'own': lambda: nn.Sequential(Own(20,2))})
    with pytest.raises(ValueError, match="wants the model 'own', and models={…} has none"): load_learner(folder)

def test_a_pickle_of_fastais_is_refused_by_name(tmp_path):
    torch.save(Owned(tmp_path/'owned'), tmp_path/'export.pkl')
    with pytest.raises(ValueError, match='export.pkl is a file, as fastai.* left alone'): load_learner(tmp_path/'export.pkl')
    assert not (tmp_path/'owned').exists()

@pytest.mark.parametrize('model,args', [
    ('Linear', dict(in_features=20, out_features=2, device='meta')), ('Linear', dict(in_features=10**12, out_features=2)),
    ('Sequential', dict(layers=[['0','Linear',dict(in_features=20, out_features=2, dtype='float16')]])),
    ('Sequential', dict(layers=[['0','DataParallel',{}]])), ('Sequential', dict(layers=[['0','os.system',{'command': 'ls'}]])),
    ('Sequential', dict(layers=[['a.b','ReLU',{}]])), ('Sequential', dict(layers=[[0,'ReLU',{}]])), ('Sequential', dict(layers=[['0',['Linear'],{}]])),
    ('Sequential', dict(layers='abc')), ('Sequential', dict(layers=3)), ('Sequential', {}), ('Sequential', dict(layers=[['0','Linear',5]])),
    ('Module', {}), ('LazyLinear', dict(out_features=2)), ('Conv2d', dict(in_channels=3, out_channels=4, kernel_size=3, groups=2))], ids=str)
def test_hostile_descriptions_are_refused(exported, model, args):
    _,folder = exported
    info = json.loads((folder/'model.json').read_text())
    (folder/'model.json').write_text(json.dumps({**info, 'model': model, 'args': args}))
    with pytest.raises(ValueError): load_learner(folder)

def test_no_random_keeps_every_die():
    learn = new_learner(0, loader='torch, sampler')
    for o in (learn, new_learner(0, loader='fastai'), new_learner(0, loader='own dice')):
        with no_random(loaders=o.dls): first = [b[0].clone() for b in o.dls.train],torch.rand(2),np.random.rand(),random.random()
        second = [b[0] for b in o.dls.train],torch.rand(2),np.random.rand(),random.random()
        assert all(torch.equal(a, b) for a,b in zip(first[0], second[0])) and torch.equal(first[1], second[1]) and first[2:]==second[2:]
