"Many processes against one: the same weights, the same record. Real ranks over gloo, two and four of them, on the CPU."
import io,json,os,signal,subprocess,sys,time
from contextlib import redirect_stdout
from functools import cache,partial

import pytest
import torch
from torch import nn

from digits_fastai.scale import processes as scale
from digits_fastai.training.callbacks import GradientAccumulation,GradientClip,MixedPrecision
from digits_fastai.training.checkpoints import Checkpoint
from digits_fastai.nets.convolutions import BatchNorm,conv_net
from digits_fastai.dataloaders import DataLoader,DataLoaders
from digits_fastai.events import Callback
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy,cross_entropy
from digits_fastai.models import simple_net
from digits_fastai.optimizer import Adam,SGD
from digits_fastai.training.randomness import set_seed
from digits_fastai.scale.processes import Distributed,Shares,all_sum,distributed,is_main,sync_norm
from digits_fastai.training.stopping import SaveModelCallback
from digits_fastai.training.tracking import CSVLogger
import digits_fastai.training.lr_find # noqa: F401 it hangs methods on
from scaling import free_port,ranks

pytest.importorskip('accelerate')
pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='processes that fork are needed')

exact = dict(eps=1e-9, eps_record=1e-9)
worlds = pytest.mark.parametrize('n', [2, pytest.param(4, marks=pytest.mark.slow)])


@pytest.fixture(scope='module')
def digits(path):
    "Pictures, flat, and labels to train and to validate with; two rows are left over after whole batches."
    from digits_fastai.images import load_folder
    sets = []
    for part,k in (('train',40), ('valid',8)):
        x,y,_ = load_folder(path/part)
        mixed = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        rows = mixed[:64*min(k, (len(x)-2)//64) + 2]
        sets.append((x[rows].flatten(1).float()/255, y[rows]))
    return sets


def net(bn=False): # a convolutional net, small enough for hundreds of steps
    def block(a, b, k): return [nn.Conv2d(a, b, k, 2, k//2), *([nn.BatchNorm2d(b)] if bn else []), nn.ReLU()]
    pictures,last = nn.Unflatten(1, (1,28,28)),nn.Linear(12*49, 2)
    return nn.Sequential(pictures, *block(1, 6, 5), *block(6, 12, 3), nn.Flatten(), last)


def train(digits, model=partial(simple_net, n_out=2), cbs=(), epochs=2, dtype=torch.float32, bs=64, lr=.1, opt=SGD,
          many=Distributed, seed=3, make=DataLoaders.from_tensors, before=lambda learn: None, timeout=20):
    "Weights, record and all predictions, after a fit on however many ranks there are."
    set_seed(seed)
    sets = [(x.to(dtype), y) for x,y in digits]
    cbs = [*cbs, *([many(timeout=timeout)] if 'RANK' in os.environ else [])]
    learn = Learner(make(*sets, batch_size=bs), model().to(dtype), cross_entropy, opt, lr, metrics=accuracy, cbs=cbs)
    before(learn)
    learn.fit(epochs)
    state = torch.cat([o.flatten().to(dtype) for o in learn.model.state_dict().values()])
    rec = learn.recorder
    res = dict(weights=state.detach(), record=torch.tensor(rec.values, dtype=torch.float64),
               losses=torch.stack(rec.losses), preds=learn.get_preds()[0], targets=learn.get_preds()[1],
               total=torch.tensor(learn.validate(0)))
    learn.remove_cbs(cbs) # whoever gave them may give them to the next
    return res


def apart(a, b): return {k: (a[k].double()-b[k].double()).abs().max().item() for k in a}

def compare(n, *args, eps=1e-5, eps_record=1e-6, **kwargs):
    "The largest differences between one process and `n`; an error if they are more than rounding."
    one,many = train(*args, **kwargs),ranks(n, partial(train, *args, **kwargs))
    for o in many[1:]: assert all(torch.equal(o[k], many[0][k]) for k in o), 'the ranks part from each other'
    d = apart(one, many[0])
    assert d['weights']<=eps, f'weights part by {d["weights"]:.1e}'
    for k in ('record','losses','total'): assert d[k]<=eps_record, f'{k}: parted by {d[k]:.1e}'
    assert d['preds']<=max(eps, eps_record) and d['targets']==0
    return d


# The equalities. (Four ranks in the quick tier: batch norm by hand, below. Three: what only the first does.)

@worlds
def test_simple_net_as_on_one_process(digits, n): compare(n, digits)

@pytest.mark.slow
@worlds
def test_a_convnet_as_on_one_process_after_200_steps(digits, n):
    few = [(x[:322], y[:322]) for x,y in digits] # 320 and two more
    steps = dict(model=net, bs=32, epochs=-(-200//-(-len(few[0][0])//32)), lr=.05)
    assert steps['epochs']*-(-len(few[0][0])//32)>=200
    compare(n, few, dtype=torch.float64, **exact, **steps)
    if n>2: return
    rounding = apart(train(few, **steps), ranks(n, partial(train, few, **steps))[0])
    assert rounding['weights']<1e-2 # single precision rounds, and two hundred steps make more of it

@worlds
def test_batch_norm_over_all_ranks(digits, n):
    few = [(x[:130], y[:130]) for x,y in digits] # two rows are left over: with four ranks, two have none
    compare(n, few, model=partial(net, bn=True), dtype=torch.float64, bs=32, opt=Adam, lr=.01, **exact)
    compare(n, few, model=partial(conv_net, 2, 4), dtype=torch.float64, bs=32, opt=Adam, lr=.01, epochs=1, **exact)
    with pytest.raises(AssertionError, match='part'): # a twin: each rank normalises its own rows
        compare(n, [(x[:128], y[:128]) for x,y in few], model=partial(net, bn=True), dtype=torch.float64, bs=32,
                many=partial(Distributed, sync_bn=False), **exact)


class Unweighted(Distributed):
    "A twin: each rank takes the mean over its own rows, and all ranks count the same."
    def after_pred(self):
        if not self.training: super().after_pred()
    def before_backward(self): pass

class RepeatsRows(Distributed):
    "A twin: as PyTorch's DistributedSampler, it begins again where rows are missing, so that all ranks have as many."
    def before_train(self):
        super().before_train()
        old = self.dl.dl.sampler
        class Padded:
            def __len__(self): return len(old)
            def __iter__(padded):
                for o in old: yield torch.cat([o, o.repeat(self.world)[:-len(o)%self.world]])
        from copy import copy
        self.dl.dl = copy(self.dl.dl)
        self.dl.dl.sampler = Padded()

class MetricsOverRanks(Distributed):
    "A twin: each rank measures its own rows; then the mean over ranks, whatever they had."
    def after_pred(self):
        if self.training: super().after_pred()
    def after_validate(self):
        for m in (self.recorder.loss, *self.metrics):
            m.total,m.count = all_sum(torch.as_tensor(m.value if m.count else 0., dtype=torch.float64))/self.world,1

@pytest.mark.parametrize('twin', [Unweighted,RepeatsRows,MetricsOverRanks])
def test_twins_part(digits, twin):
    few = [min(64*4, len(x)//64*64-64) + 3 for x,_ in digits] # 3 rows over: 2 and 1
    small = [(x[:n], y[:n]) for n,(x,y) in zip(few, digits)]
    compare(2, small, dtype=torch.float64, **exact)
    with pytest.raises(AssertionError, match='part'): compare(2, small, dtype=torch.float64, many=twin, **exact)


# What goes along

@worlds
def test_accumulation_clipping_schedules_and_uneven_shares(digits, n):
    few = [(x[:203], y[:203]) for x,y in digits]
    cbs = [GradientAccumulation(45),GradientClip(.3)] # 45 is no multiple of 10, and 10 none of 4
    compare(n, few, cbs=cbs, dtype=torch.float64, bs=10, opt=partial(Adam, mom=.8), lr=.01, **exact)

def test_mixed_precision(digits):
    few = [(x[:130], y[:130]) for x,y in digits]
    compare(2, few, cbs=[MixedPrecision(torch.bfloat16)], eps=.02, eps_record=.1) # a picture or two

def other_loaders(train, valid, batch_size):
    from torch.utils.data import DataLoader as TorchLoader,TensorDataset
    return DataLoaders(TorchLoader(TensorDataset(*train), batch_size, shuffle=True),
                       TorchLoader(TensorDataset(*valid), batch_size))

def with_workers(train, valid, batch_size):
    return DataLoaders.from_tensors(train, valid, batch_size=batch_size, num_workers=1)

def lists_of_items(train, valid, batch_size):
    return DataLoaders(DataLoader(list(zip(*train)), batch_size, shuffle=True),
                       DataLoader(list(zip(*valid)), batch_size))

@pytest.mark.parametrize('make', [other_loaders,with_workers,lists_of_items])
def test_other_loaders(digits, make): # one row is left over: a rank has nothing to fetch
    compare(2, [(x[:65], y[:65]) for x,y in digits], make=make, epochs=1, dtype=torch.float64, bs=32, **exact)

class OwnData:
    "A loader that has a part of the data, larger on the first rank than on the others."
    def __init__(self, x, y, batch_size, rank, world):
        rows = torch.arange(len(x)) if world==1 else torch.arange(len(x)).split(len(x)*3//4)[rank]
        self.x,self.y,self.batches,self.rank,self.world = x,y,rows.split(batch_size),rank,world
    def __len__(self): return len(self.batches)
    def __iter__(self): return ((self.x[o],self.y[o]) for o in self.batches)

def own_data(train, valid, batch_size):
    rank,world = (int(os.getenv(k, i)) for i,k in enumerate(['RANK','WORLD_SIZE']))
    return DataLoaders(OwnData(*train, batch_size, rank, world), OwnData(*valid, batch_size, rank, world))

class Rows(Callback):
    def before_train(self): self.seen = []
    def after_pred(self): self.seen += [len(self.pred)] if self.training else []

def with_own_data(digits, world=None):
    cb = Rows()
    res = train(digits, make=own_data, cbs=[cb, GradientAccumulation(100)], dtype=torch.float64, epochs=2)
    return {**res, 'rows': torch.tensor(cb.seen)}

def test_loaders_with_their_own_data(digits): # three batches on one rank, one on the other
    few = [(digits[0][0][o], digits[0][1][o]) for o in (slice(200), slice(60))]
    a,b = ranks(2, with_own_data, few)
    assert all(torch.equal(a[k], b[k]) for k in a) and a['rows'].tolist()==[114,64,22]
    for k in ('targets','preds'): assert len(a[k])==60
    assert torch.equal(a['targets'].sort().values, few[1][1].sort().values)
    with pytest.raises(ValueError, match='the loader has world=2, and there are 3'):
        Shares(OwnData(*few[0], 64, 0, 2), 0, 3)

def array(member):
    import numpy as np
    return torch.from_numpy(np.load(io.BytesIO(member)))

def own_shards(counts, length=None):
    "Blocks of the rank's own shards; `length`: what is said to be their number, if it shall be wrong."
    import webdataset as wds
    rank,world = (int(os.getenv(k, i)) for i,k in enumerate(['RANK','WORLD_SIZE']))
    own = list(counts)[rank::world]
    records = wds.WebDataset(list(counts), shardshuffle=False, nodesplitter=wds.split_by_node)
    dl = records.to_tuple('x.npy','y.npy').map_tuple(array, array)
    dl.with_length(length or sum(counts[o] for o in own), silent=True)
    dl.world = world
    return dl

def from_shards(counts, length=None, many=Distributed):
    set_seed(0)
    net,cb = simple_net(n_out=2),Rows()
    dls = DataLoaders(own_shards(counts, length), own_shards(counts, length))
    learn = Learner(dls, net, cross_entropy, opt_func=SGD, lr=.1, metrics=accuracy, cbs=[cb, many(timeout=20)])
    learn.fit(1)
    seen = list(cb.seen)
    preds,targets = learn.get_preds(act=lambda o: o)
    return dict(preds=preds, targets=targets, seen=torch.tensor(seen), measured=torch.tensor(learn.validate()),
                weights=torch.cat([o.detach().flatten() for o in net.parameters()]))

@pytest.fixture
def counts(digits, tmp_path):
    "131 rows in shards of one or two blocks of 30, the last of 11: with two ranks, one has 90 rows and the other 41."
    wds = pytest.importorskip('webdataset')
    x,y = (o[:131] for o in digits[0])
    for name,blocks in dict(a=[0,1], b=[2], c=[3], d=[4]).items():
        with wds.TarWriter(f'{tmp_path}/{name}.tar') as tar:
            for i in blocks:
                rows = slice(30*i, 30*i+30)
                tar.write({'__key__': str(i), 'x.npy': x[rows].numpy(), 'y.npy': y[rows].numpy()})
    return {f'{tmp_path}/{k}.tar': n for k,n in dict(a=2, b=1, c=1, d=1).items()}

@pytest.mark.parametrize('length', [None,1,9]) # a wrong length spoils a schedule, and loses nothing
def test_each_rank_reads_its_own_shards_and_every_row_counts_once(digits, counts, length):
    a,b = ranks(2, from_shards, counts, length)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert a['seen'].tolist()==[60,41,30]
    y = digits[0][1][:131]
    rows = torch.tensor([*range(30), *range(60, 90), *range(30, 60), *range(120, 131), *range(90, 120)]) # as they came
    assert torch.equal(a['targets'], y[rows])
    exact = [cross_entropy(a['preds'], y[rows]), accuracy(a['preds'], y[rows])]
    assert torch.allclose(a['measured'], torch.stack([o.float() for o in exact]), atol=1e-6)
    twin = ranks(2, from_shards, counts, length, MetricsOverRanks)[0]['measured']
    assert not torch.allclose(twin, torch.stack([o.float() for o in exact]), atol=1e-4)

def test_more_ranks_than_shards_is_an_error(counts):
    few = dict(list(counts.items())[:1])
    assert any('no batches' in o.error or 'No samples' in o.error for o in ranks(2, from_shards, few, ok=False))

def find_lr(digits):
    set_seed(0)
    dls = DataLoaders.from_tensors(*digits, batch_size=64)
    learn = Learner(dls, simple_net(n_out=2), cross_entropy, opt_func=SGD, cbs=distributed())
    found = learn.lr_find(num_it=20, show_plot=False)
    return float(found[0]),torch.cat([o.detach().flatten() for o in learn.model.parameters()])

def test_lr_find(digits):
    (found,w),((a,v),_) = find_lr(digits),ranks(2, find_lr, digits)
    assert found==pytest.approx(a, rel=1e-3) and torch.equal(v, w)

class FailsAtBatch(Callback):
    "Something happens to one rank, in one batch."
    order = -250
    def __init__(self, rank=None, batch=None, what=None): self.rank,self.batch,self.what = rank,batch,what
    def before_batch(self):
        if not self.training or self.learn.train_iter!=self.batch or int(os.getenv('RANK', 0))!=self.rank: return
        if self.what=='exception': raise ArithmeticError('a rank has lost its head')
        os.kill(os.getpid(), {'kill': signal.SIGKILL, 'interrupt': signal.SIGINT}[self.what])


# Chance, files, failures

def dropping(): return nn.Sequential(nn.Linear(784,20), nn.ReLU(), nn.Dropout(.4), nn.Linear(20,2))

def own_seed(digits, seed=None, **kwargs):
    return train(digits, dropping, seed=int(os.environ['RANK']) if seed is None else seed, **kwargs)

def masks(digits):
    seen = []
    class Look(Callback):
        def before_fit(self):
            hook = self.model[2].register_forward_hook(lambda m, i, o: seen.append((o!=0)[:8]) if m.training else None)
            self.on_exit.callback(hook.remove)
    def model(): return nn.Sequential(nn.Linear(784,20), nn.Sigmoid(), nn.Dropout(.4), nn.Linear(20,2))
    train(digits, model, [Look()], epochs=1)
    return torch.stack([o for o in seen if len(o)==8])

def test_reproducible_by_seed(digits):
    few = [(x[:131], y[:131]) for x,y in digits]
    first,again,other,unlike = (ranks(2, partial(own_seed, few, seed=s))[0] for s in (5,5,6,None))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert apart(first, other)['weights']>1e-4
    assert torch.equal(unlike['weights'], ranks(2, partial(own_seed, few, seed=0))[0]['weights']) # rank 0's dice count
    a,b = ranks(2, masks, few)
    assert (a!=b).float().mean()>.2 # each rank drops what it drops, and not what the other does

def prints_and_files(digits, folder):
    said = io.StringIO()
    with redirect_stdout(said):
        cbs = [CSVLogger(folder/'log.csv'), SaveModelCallback(fname=folder/'best'), Checkpoint(folder/'state')]
        class Chatty(Callback):
            def after_epoch(self): print('an epoch is over')
        learn = train(digits, cbs=[*cbs, Chatty()], epochs=3)
    return said.getvalue(),learn['weights']

def test_only_the_first_prints_logs_and_saves(digits, tmp_path):
    from safetensors.torch import load_file
    few = [(x[:131], y[:131]) for x,y in digits]
    (said,w),*others = ranks(3, prints_and_files, few, tmp_path)
    assert said.count('an epoch is over')>=3 and 'valid_loss' in said
    assert all(o=='' and torch.equal(v, w) for o,v in others) # SaveModelCallback has loaded the best on all of them
    assert sorted(o.name for o in tmp_path.iterdir())==['best.safetensors','log.csv','state.safetensors']
    assert len((tmp_path/'log.csv').read_text().splitlines())==4
    best = load_file(tmp_path/'best.safetensors')
    saved = torch.cat([o.flatten() for k,o in best.items() if k.startswith('model')])
    assert torch.equal(saved.sort().values, w.sort().values)

def run_or_go_on(digits, folder, fails=FailsAtBatch(), many=Distributed):
    "Four epochs with a checkpoint after each; where there is one already, it goes on."
    file = folder/'state.safetensors'
    set_seed(3)
    dls = DataLoaders.from_tensors(*digits, batch_size=32)
    learn = Learner(dls, dropping(), cross_entropy, Adam, .01, metrics=accuracy,
                    cbs=[Checkpoint(file), fails, many(timeout=20)])
    if file.exists(): learn.load(file)
    learn.fit(4, start_epoch=learn.done_epochs)
    return dict(weights=torch.cat([o.detach().flatten() for o in learn.model.parameters()]),
                record=torch.tensor(learn.recorder.values), losses=torch.stack(learn.recorder.losses))

@pytest.fixture(scope='module')
def few(digits): return [(x[:131], y[:131]) for x,y in digits] # five batches, the last of three rows

@pytest.fixture(scope='module')
def undisturbed(few, tmp_path_factory):
    return cache(lambda n: ranks(n, run_or_go_on, few, tmp_path_factory.mktemp('whole'))[0])

@pytest.mark.parametrize('rank,n', [(0,2), pytest.param(1, 3, marks=pytest.mark.slow)])
@pytest.mark.parametrize('what', ['exception','kill','interrupt'])
def test_a_failing_rank_ends_all_and_training_resumes(few, undisturbed, tmp_path, what, rank, n):
    ended = ranks(n, run_or_go_on, few, tmp_path, FailsAtBatch(rank, 12, what), limit=40, ok=False)
    assert max(o.seconds for o in ended)<30
    own = dict(exception='ArithmeticError: a rank has lost', interrupt='KeyboardInterrupt: Ctrl-C', kill='')[what]
    for r,o in enumerate(ended):
        if r==rank: assert o.error.startswith(own) and o.code==(-signal.SIGKILL if what=='kill' else 1)
        else:
            start = 'KeyboardInterrupt' if what=='interrupt' else 'RuntimeError'
            why = f'rank {rank} failed with {own}' if own else 'another rank fell silent'
            assert o.error.startswith(f'{start}: rank {r} ends, too, since {why}'), o.error
            assert 'start_epoch=learn.done_epochs' in o.error.split('\n')[0]
    assert [o.name for o in tmp_path.iterdir() if o.suffix=='.safetensors']==['state.safetensors']
    whole,resumed = undisturbed(n),ranks(n, run_or_go_on, few, tmp_path)
    for o in resumed:
        assert len(o['losses'])==20
        if n==2: assert all(torch.equal(o[k], whole[k]) for k in o)
        else: assert max(apart(o, whole).values())<1e-5 # a sum of three is rounded in the order in which it is made

def fails_and_measures(digits):
    dls = DataLoaders.from_tensors(*digits, batch_size=32)
    cbs = [Distributed(timeout=20), FailsAtBatch(1, 2, 'interrupt')]
    learn = Learner(dls, simple_net(n_out=2), cross_entropy, opt_func=SGD, metrics=accuracy, cbs=cbs)
    with pytest.raises(KeyboardInterrupt): learn.fit(2)
    seen = learn.validate(), learn.get_preds()[0].shape # alone now, and on everything
    with pytest.raises(RuntimeError, match='the ranks have lost each other'): learn.fit(1)
    return seen

def test_afterwards_a_rank_can_measure_but_not_train(few):
    for o in ranks(2, fails_and_measures, few): assert o[1]==(len(few[1][0]),2) and 0<=o[0][1]<=1

class NoDice(Distributed):
    "A twin: nobody brings the ranks' dice together."
    def _share(self): self.learn.dl = Shares(self.dl, self.rank, self.world)

def test_a_twin_without_common_dice_goes_astray(few):
    with pytest.raises(AssertionError):
        a,b = (ranks(2, partial(own_seed, few, many=many))[0] for many in (Distributed,NoDice))
        assert torch.equal(a['weights'], b['weights'])

def stuck(digits, folder):
    if os.environ['RANK']=='1':
        class Sleeps(Callback):
            def before_step(self): time.sleep(60)
        return run_or_go_on(digits, folder, Sleeps(), partial(Distributed))
    return run_or_go_on(digits, folder, many=lambda timeout: Distributed(timeout=2))

@pytest.mark.slow
def test_a_rank_that_hangs_is_given_up(few, tmp_path):
    with pytest.raises(TimeoutError, match=r'ranks \[1\] of 2'): ranks(2, stuck, few, tmp_path, limit=8)


# The parts

def test_each_row_once():
    for n,bs,world in ((10,4,3), (9,4,4), (5,8,4), (1,1,2), (12,4,2)):
        loader = DataLoader(list(range(n)), bs, shuffle=True, generator=torch.Generator())
        def rows(o):
            loader.generator.manual_seed(1)
            return [b.tolist() for b in o]
        whole,parts = rows(loader),[rows(Shares(loader, r, world)) for r in range(world)]
        assert [sum(o, []) for o in zip(*parts)]==whole
        assert sorted(sum(whole, []))==list(range(n)) and len(Shares(loader, 0, world))==len(loader)

def batch_norms(kind, sizes, dtype=torch.float64):
    "Output, gradients and running averages of a norm over the rows of all ranks; of one process if there is one."
    g = torch.Generator().manual_seed(0)
    x,factor = (torch.rand(sum(sizes), 5, 3, 3, dtype=dtype, generator=g) for _ in range(2))
    m,rank = kind(5).to(dtype),os.getenv('RANK')
    if rank is not None:
        Distributed(timeout=20)
        x,factor = (o.split(sizes)[int(rank)] for o in (x, factor))
    with torch.no_grad(): m.weight.copy_(torch.arange(1., 6))
    for _ in range(2):
        x = x.detach().clone().requires_grad_()
        out = m(x) if rank is None else sync_norm(m, x)
        (out*factor).sum().backward()
    grads = [p.grad for p in m.parameters()]
    if rank is not None: grads = [all_sum(o) for o in grads]
    return out.detach(),x.grad,torch.stack([*grads, m.running_mean, m.running_var])

@pytest.mark.parametrize('sizes', [(4,4),(5,2),(1,1),(3,0,2,1)])
@pytest.mark.parametrize('kind', [nn.BatchNorm2d,BatchNorm,partial(nn.BatchNorm2d, momentum=None)])
def test_batch_norm_by_hand(kind, sizes):
    out,grad,rest = batch_norms(kind, sizes)
    parts = ranks(len(sizes), batch_norms, kind, sizes)
    assert torch.allclose(torch.cat([o[0] for o in parts]), out, atol=1e-9, rtol=0)
    assert torch.allclose(torch.cat([o[1] for o in parts]), grad, atol=1e-9, rtol=0)
    for o in parts: assert torch.allclose(o[2], rest, atol=1e-9, rtol=1e-9)

def only_forward(sizes):
    class Forgets(torch.autograd.Function): # a twin: the other ranks' gradients are forgotten
        @staticmethod
        def forward(ctx, x): return scale._AllSum.forward(ctx, x)
        @staticmethod
        def backward(ctx, grad): return grad
    scale.all_sum = Forgets.apply
    return batch_norms(nn.BatchNorm2d, sizes)[:2]

def test_a_twin_of_batch_norm():
    out,grad,_ = batch_norms(nn.BatchNorm2d, (5,2))
    parts = ranks(2, only_forward, (5,2))
    assert torch.allclose(torch.cat([o[0] for o in parts]), out, atol=1e-9, rtol=0)
    assert not torch.allclose(torch.cat([o[1] for o in parts]), grad, atol=1e-3, rtol=0)

def one_number():
    Distributed(timeout=20)
    sync_norm(nn.BatchNorm1d(3), torch.rand(1-int(os.environ['RANK']), 3))

def test_one_number_has_no_spread():
    for o in ranks(2, one_number, ok=False): assert o.error.startswith('ValueError: 1 number a channel on all ranks')

def alone():
    from accelerate import Accelerator
    Accelerator() # a trap: on CPUs it must be told
    Distributed(timeout=20)

def test_errors(monkeypatch):
    if not torch.cuda.is_available():
        said = 'RuntimeError: 2 processes were started, and accelerate knows of 1'
        for o in ranks(2, alone, ok=False): assert o.error.startswith(said)
    monkeypatch.setitem(sys.modules, 'accelerate', None)
    with pytest.raises(ImportError, match=r'pip install "digits_fastai\[scale\]"'): Distributed()

def test_an_ordinary_process(monkeypatch):
    for k in ('RANK','WORLD_SIZE'): monkeypatch.delenv(k, raising=False)
    assert distributed()==[] and is_main()
    monkeypatch.setenv('RANK', '1')
    assert not is_main()


# Launchers

program = '''
import sys,torch
torch.set_num_threads(1)
from digits_fastai.dataloaders import DataLoaders
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy,cross_entropy
from digits_fastai.models import simple_net
from digits_fastai.optimizer import SGD
from digits_fastai.scale.processes import distributed
x,y = torch.load(sys.argv[1])
torch.manual_seed(0)
dls = DataLoaders.from_tensors((x,y), (x[:67],y[:67]), batch_size=64)
learn = Learner(dls, simple_net(n_out=2), cross_entropy, opt_func=SGD, lr=.1, metrics=accuracy, cbs=distributed(timeout=60))
learn.fit(2)
for cb in distributed(): print(f'rank {cb.rank} of {cb.world}')
torch.save((torch.cat([o.detach().flatten() for o in learn.model.parameters()]), torch.tensor(learn.recorder.values)),
           f'{sys.argv[2]}/{torch.distributed.get_rank() if distributed() else "one"}.pt')
'''

def launched(cmd, folder, timeout=120):
    "Run in a process group of its own, which is ended with it, whatever happens."
    env = {**os.environ, 'GLOO_SOCKET_IFNAME': 'lo', 'OMP_NUM_THREADS': '1'}
    p = subprocess.Popen([sys.executable, *map(str, cmd)], env=env, cwd=folder, start_new_session=True, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try: out,err = p.communicate(timeout=timeout)
    finally:
        if p.poll() is None:
            p.terminate() # a launcher ends the ranks that it has started
            try: p.wait(20)
            except subprocess.TimeoutExpired: os.killpg(p.pid, signal.SIGKILL)
    assert p.returncode==0, err[-3000:]
    return out

@pytest.mark.slow
def test_torchrun_and_accelerate_launch(digits, tmp_path, monkeypatch):
    (tmp_path/'train.py').write_text(program)
    torch.save(tuple(o[:300] for o in digits[0]), tmp_path/'data.pt')
    monkeypatch.setattr(sys, 'argv', ['train.py', str(tmp_path/'data.pt'), str(tmp_path)])
    exec(program, {})
    w,rows = torch.load(tmp_path/'one.pt')
    torchrun = ['torch.distributed.run', '--nproc-per-node=2', '--master-addr=127.0.0.1', '--master-port']
    launch = ['accelerate.commands.launch', '--multi_gpu', '--num_processes=2', '--num_machines=1',
              '--mixed_precision=no', '--dynamo_backend=no', '--num_cpu_threads_per_process=1', '--main_process_port']
    for name,cmd in dict(torchrun=torchrun, accelerate=launch).items():
        (folder := tmp_path/name).mkdir()
        said = launched(['-m', *cmd, free_port(), 'train.py', 'data.pt', folder], tmp_path)
        assert 'rank 0 of 2' in said and 'rank 1 of 2' in said and said.count('train_loss')==1
        for r in range(2):
            v,seen = torch.load(folder/f'{r}.pt')
            assert (v-w).abs().max()<1e-5 and (seen-rows).abs().max()<1e-6

@pytest.mark.slow
def test_digits_train(path, tmp_path):
    from safetensors.torch import load_file
    cmd,res = ['digits_fastai.app.cli', 'train', '--model', 'simple_net', '--epochs', '2', '--batch-size', '100', '--json'],{}
    for name,start in dict(one=[], two=['torch.distributed.run', '--nproc-per-node=2', '--master-addr=127.0.0.1',
                                        '--master-port', free_port(), '-m']).items():
        said = json.loads(launched(['-m', *start, *cmd, '--data', path, '--out', tmp_path/name], tmp_path))
        res[name] = load_file(tmp_path/name/'weights.safetensors'),said['test_accuracy'],said['valid_loss']
    (v,*a),(w,*b) = res['one'],res['two']
    assert a==pytest.approx(b, abs=1e-6) and all((w[k]-v[k]).abs().max()<1e-5 for k in v)
