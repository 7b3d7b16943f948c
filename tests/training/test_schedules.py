"Schedules, freezing and the learning rate finder against fastai's, in many settings; and that lr_find leaves no trace."
import os,random,signal,tempfile,warnings
from functools import cache,partial
from itertools import product
from types import ModuleType
from unittest.mock import patch

import numpy as np
import pytest
import torch
from fastai import learner as fl, optimizer as fo
from fastai.callback import schedule as fs
from fastai.data.core import DataLoaders as FastaiDLs
from fastai.data.load import DataLoader as FastaiDL
from fastcore.foundation import L
from hypothesis import assume,given,settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader as TorchDL

from mutating import mutant
from digits_fastai.training import lr_find,randomness,schedules
from digits_fastai.dataloaders import DataLoader,DataLoaders,Dataset
from digits_fastai.events import Callback,CancelFitException
from digits_fastai.learner import Learner
from digits_fastai.losses import batch_accuracy,mnist_loss,mse
from digits_fastai.optimizer import SGD,Adam,BasicOptim,get_hyper

pytestmark = pytest.mark.filterwarnings('ignore:__array_wrap__:DeprecationWarning') # in fastai's slide

g = torch.Generator().manual_seed(0)
x = torch.randn(90,64, generator=g)
y = (x[:,:8].sum(1, keepdim=True)>0).float()
fixed = DataLoaders(DataLoader(Dataset(x, y), 16), DataLoader(Dataset(x[:21], y[:21]), 8))

def linear(): return nn.Sequential(nn.Flatten(), nn.Linear(64,1))
def simple_net(): return nn.Sequential(nn.Linear(64,30), nn.ReLU(), nn.Linear(30,1))
def convnet():
    return nn.Sequential(nn.Unflatten(1, (1,8,8)), nn.Conv2d(1,4,3), nn.BatchNorm2d(4), nn.ReLU(),
                         nn.Conv2d(4,4,3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16,1))
models = [linear,simple_net,convnet]
sgd,fastai_sgd = partial(SGD, mom=.9),partial(fo.SGD, mom=.9)
optimizers = {'SGD': (SGD,fo.SGD,.5), 'momentum': (sgd,fastai_sgd,.1), 'Adam': (Adam,fo.Adam,.01)}

def halves(model):
    *first,last = model.children()
    return [[p for m in first for p in m.parameters()], list(last.parameters())]

def ours(model=simple_net, opt_func=SGD, dls=fixed, loss=mnist_loss, **kwargs):
    torch.manual_seed(1)
    learn = Learner(dls, model(), loss, opt_func=opt_func, **kwargs)
    learn.logger = lambda row: None
    return learn

def theirs(model=simple_net, opt_func=fo.SGD, dls=fixed, loss=mnist_loss, **kwargs):
    torch.manual_seed(1)
    path = tempfile.gettempdir()
    return fl.Learner(FastaiDLs(*dls.loaders), model(), loss_func=loss, opt_func=opt_func, path=path, **kwargs)

def trained(learn, fit):
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        fit(learn)
    return learn

def state(learn): return torch.cat([o.flatten().double() for o in learn.model.state_dict().values()])


# Values

names = ['lin','cos','exp','no']

def same_values(s=schedules):
    for name in names:
        for a,b in ((1.,.1), (.5,3.)):
            for pos in (0., .1, 1/3, .999, 1.):
                want = getattr(fs, f'sched_{name}')(a, b, pos)
                assert getattr(s, f'sched_{name}')(a, b, pos)==want==getattr(s, f'Sched{name.title()}')(a, b)(pos)
                assert s.SchedPoly(a, b, 2.5)(pos)==fs.SchedPoly(a, b, 2.5)(pos)
    for pos in np.linspace(0, 1, 301).tolist():
        assert s.combined_cos(.3, .04, 1., 1e-5)(pos)==fs.combined_cos(.3, .04, 1., 1e-5)(pos)

def test_values_are_fastais(): same_values()

@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 64), min_size=1, max_size=6),
       st.lists(st.sampled_from(['Lin','Cos','Exp','No']), min_size=6, max_size=6),
       st.lists(st.floats(.001, 10), min_size=7, max_size=7), st.floats(0, 1))
def test_combined_values_are_fastais(parts, kinds, ends, pos):
    assume(sum(parts))
    pcts = [o/sum(parts) for o in parts]
    assume(sum(pcts)==1) # else fastai refuses
    both = [m.combine_scheds(pcts, [getattr(m, f'Sched{k}')(*ends[i:i+2]) for i,k in enumerate(kinds[:len(pcts)])])(pos)
            for m in (schedules,fs)]
    assert both[0]==both[1] or np.isnan(both[1]) # a last part of no length: fastai divides by it
    assert np.isfinite(both[0])

@given(st.integers(1, 40))
@settings(deadline=None)
def test_equal_parts_are_a_whole(n):
    f = schedules.combine_scheds([1/n]*n, [schedules.SchedLin(i, i+1) for i in range(n)])
    for pos in (0, .3, .77, 1): assert abs(f(pos)-n*pos)<1e-4*n

@pytest.mark.parametrize('pcts', [[.5,.4], [.5,.5,0.], [1.5,-.5], [1.], []])
def test_parts_that_are_no_whole_are_refused(pcts):
    with pytest.raises(ValueError, match='as many parts as schedules'):
        schedules.combine_scheds(pcts, [schedules.SchedNo(1, 1)]*2)

def test_schedules_can_be_pickled():
    import pickle
    f = schedules.SchedCos(1., 2.)
    assert pickle.loads(pickle.dumps(f))(.3)==f(.3)


# Fits

fits = {
    'one cycle': lambda learn,lr: learn.fit_one_cycle(2, lr),
    'one cycle, all named': lambda learn,lr: learn.fit_one_cycle(
        2, lr_max=lr, div=10., div_final=100., pct_start=.4, wd=.05, moms=(.9,.8,.95), cbs=None, reset_opt=True),
    'no warm-up': lambda learn,lr: learn.fit_one_cycle(2, lr, pct_start=0.),
    'its own rate': lambda learn,lr: (setattr(learn, 'lr', lr), learn.fit_one_cycle(2)),
    'slice': lambda learn,lr: learn.fit_one_cycle(2, slice(lr/50, lr)),
    'slice without start': lambda learn,lr: learn.fit_one_cycle(2, slice(lr)),
    'list': lambda learn,lr: learn.fit_one_cycle(2, [lr/3, lr]),
    'twice': lambda learn,lr: (learn.fit_one_cycle(1, lr), learn.fit_one_cycle(1, lr/2), learn.fit(1, lr/4)),
    'flat': lambda learn,lr: learn.fit_flat_cos(2, lr),
    'flat, slice': lambda learn,lr: learn.fit_flat_cos(2, slice(lr/9, lr), div_final=50., pct_start=.3),
    'fine-tune': lambda learn,lr: learn.fine_tune(2, lr),
    'fine-tune, all named': lambda learn,lr: learn.fine_tune(
        1, base_lr=lr, freeze_epochs=2, lr_mult=10, pct_start=.4, div=3., div_final=10., wd=.1),
    'freeze': lambda learn,lr: (learn.freeze(), learn.fit_one_cycle(2, lr)),
    'freeze_to': lambda learn,lr: (learn.freeze_to(1), learn.fit(1, lr), learn.freeze_to(-2), learn.fit(1, lr))}

def same_fit(model, opts, fit, **kwargs):
    "The largest differences; an error if they are more than rounding."
    opt_func,fastai_opt,lr = opts
    a,b = ours(model, opt_func, splitter=halves, **kwargs),theirs(model, fastai_opt, splitter=halves, **kwargs)
    for learn in (a,b): trained(learn, lambda learn: fits[fit](learn, lr))
    hps = getattr(a.recorder, 'hps', {})
    assert fit=='freeze_to' or 'lr' in hps and ('mom' in hps)==(opt_func!=SGD and 'flat' not in fit)
    d = {}
    for k,v in hps.items():
        assert len(v)==len(b.recorder.hps[k])
        d[k] = np.abs(np.array(v)-np.array(b.recorder.hps[k])).max()
    d['lrs'] = np.abs(np.array(a.recorder.lrs)-np.array(b.recorder.lrs)).max()
    d['weights'] = (state(a)-state(b)).abs().max().item()
    for k,limit in dict(lr=1e-7*lr, lrs=1e-7*lr, mom=1e-7, weights=1e-5).items(): assert d.get(k, 0)<=limit, (k,d)
    assert [p.requires_grad for p in a.model.parameters()]==[p.requires_grad for p in b.model.parameters()]
    return d

@pytest.mark.parametrize('name', optimizers)
@pytest.mark.parametrize('fit', fits)
def test_fits_are_fastais(fit, name):
    for model in models if fit in ('one cycle','fine-tune') else [convnet]: same_fit(model, optimizers[name], fit)

@pytest.mark.parametrize('kwargs', [dict(wd=.1), dict(wd=.1, wd_bn_bias=True), dict(train_bn=False)], ids=str)
@pytest.mark.parametrize('name', optimizers)
@pytest.mark.parametrize('fit', ['one cycle','slice','flat','fine-tune'])
def test_fits_are_fastais_with_decay_and_with_norm_layers_frozen(fit, name, kwargs):
    same_fit(convnet, optimizers[name], fit, **kwargs)

@pytest.mark.parametrize('fit', ['one cycle','flat','fine-tune'])
def test_fits_are_fastais_without_a_splitter(fit):
    a = trained(ours(convnet, sgd), lambda learn: fits[fit](learn, .1))
    b = trained(theirs(convnet, fastai_sgd), lambda learn: fits[fit](learn, .1))
    assert (state(a)-state(b)).abs().max()<=1e-5

@pytest.mark.parametrize('opt_func', [fastai_sgd, partial(torch.optim.SGD, momentum=.9)], ids=['fastai','PyTorch'])
def test_other_peoples_optimizers_follow_the_schedule(opt_func):
    a,b = (trained(ours(convnet, o), lambda learn: fits['one cycle'](learn, .1)) for o in (opt_func,sgd))
    assert a.recorder.hps==b.recorder.hps and (state(a)-state(b)).abs().max()<=1e-5

def test_torch_adam_follows_in_its_betas():
    learn = trained(ours(opt_func=torch.optim.Adam), lambda learn: learn.fit_one_cycle(1, .01))
    assert learn.opt.param_groups[0]['betas'][0]==learn.recorder.hps['mom'][-1]>.9

def test_the_books_optimizer_follows_with_its_rate_only():
    learn = trained(ours(opt_func=BasicOptim), lambda learn: learn.fit_one_cycle(1, .5))
    assert list(learn.recorder.hps)==['lr'] and learn.opt.lr==learn.recorder.hps['lr'][-1]

def test_what_is_set_can_be_saved_safely(tmp_path):
    learn = trained(ours(opt_func=sgd), lambda learn: learn.fit_one_cycle(1, slice(.01, .5)))
    torch.save(learn.opt.state_dict(), tmp_path/'opt')
    assert torch.load(tmp_path/'opt', weights_only=True)['param_groups'][0]['lr']==get_hyper(learn.opt)[0]

class StopAfter(Callback):
    order = 90
    def __init__(self, n): self.n = n
    def after_epoch(self):
        if self.fitting and self.epoch==self.n-1: raise CancelFitException

def goes_on():
    for fit in ('fit_one_cycle','fit_flat_cos'):
        for opt_func in (sgd,Adam):
            whole = trained(ours(convnet, opt_func), lambda learn: getattr(learn, fit)(3, .05))
            parts = trained(ours(convnet, opt_func), lambda learn: (getattr(learn, fit)(3, .05, cbs=StopAfter(1)),
                                                                    getattr(learn, fit)(3, .05, start_epoch=1)))
            assert (state(whole)==state(parts)).all()
            for k in ('hps','lrs','losses','values'): assert getattr(whole.recorder, k)==getattr(parts.recorder, k), k

def test_a_fit_that_goes_on_is_the_whole_fit(): goes_on()

def test_a_schedule_needs_its_hyperparameter():
    follow = schedules.ParamScheduler({'lrr': lambda pos: 1.})
    with pytest.raises(ValueError, match="'lrr' was given"): ours().fit(1, cbs=follow)

def test_validating_in_mid_fit_leaves_the_schedule_alone():
    class Validates(Callback):
        def after_epoch(self):
            if self.fitting: self.learn.validate()
    a,b = (trained(ours(), lambda learn: learn.fit_one_cycle(2, .1, cbs=cbs)) for cbs in ([], [Validates()]))
    assert a.recorder.hps==b.recorder.hps and (state(a)==state(b)).all()

def test_plot_sched_draws_each_or_says_why_not():
    import matplotlib.pyplot as plt
    learn = ours(opt_func=sgd)
    with pytest.raises(ValueError, match='run fit_one_cycle first'): learn.recorder.plot_sched()
    learn.fit_one_cycle(1, .1)
    learn.recorder.plot_sched()
    assert [ax.get_ylabel() for ax in plt.gcf().axes]==['lr','mom']
    learn.recorder.plot_sched('mom')
    assert len(plt.gcf().axes)==1
    plt.close('all')


# Freezing

def torch_groups(cls, **kwargs): return lambda groups,lr: cls([{'params': o} for o in groups], lr=lr, **kwargs)

any_opt = {'ours': sgd, 'Adam': Adam, 'fastai': fastai_sgd, 'PyTorch': torch_groups(torch.optim.SGD, momentum=.9),
           'PyTorch Adam': torch_groups(torch.optim.Adam)}

@pytest.mark.parametrize('opt_func', any_opt.values(), ids=any_opt)
def test_frozen_is_frozen_whoever_steps(opt_func):
    learn = ours(convnet, opt_func, splitter=halves, wd=.1)
    learn.fit(1, .1)
    memory = {p for p,s in learn.opt.state.items() if set(s)-{'do_wd','force_train'}}
    learn.freeze()
    assert memory and not any(set(s)-{'do_wd','force_train'} for s in learn.opt.state.values())
    before = [p.detach().clone() for p in learn.model.parameters()]
    learn.fit(1, .1)
    moved = [(p!=b).any().item() for p,b in zip(learn.model.parameters(), before)]
    assert moved==[p.requires_grad for p in learn.model.parameters()]==[False]*2+[True]*2+[False]*2+[True]*4
    learn.unfreeze()
    learn.fit(1, .1)
    assert (learn.model[1].weight!=before[0]).any() and (learn.model[4].weight!=before[4]).any()

@pytest.mark.parametrize('opt_func', any_opt.values(), ids=any_opt)
def test_norm_layers_may_be_frozen_too(opt_func):
    learn = ours(convnet, opt_func, splitter=halves, train_bn=False)
    learn.freeze()
    assert [p.requires_grad for p in learn.model.parameters()]==[False]*8+[True]*2

@pytest.mark.parametrize('opt_func', [SGD,BasicOptim,torch.optim.SGD,fo.SGD])
def test_one_group_cannot_be_frozen_and_freeze_says_so(opt_func):
    learn = ours(opt_func=opt_func)
    with pytest.warns(UserWarning, match='give Learner a splitter'): learn.freeze()
    assert all(p.requires_grad for p in learn.model.parameters())

@pytest.mark.parametrize('n', [2,3,-3])
def test_a_group_that_is_not_there_is_an_error(n):
    learn = ours(splitter=halves)
    with pytest.raises(ValueError, match='the groups are 0 to 1'): learn.freeze_to(n)

def test_unfreeze_thaws_a_model_that_is_frozen_altogether():
    learn = ours()
    learn.model.requires_grad_(False)
    with pytest.raises(ValueError, match='unfreeze'): learn.fit(1, .1)
    learn.unfreeze()
    learn.fit(1, .1)
    assert all(p.requires_grad for p in learn.model.parameters())


# lr_find against fastai's

our_four,their_four = ['valley','steep','minimum','slide'],(fs.valley,fs.steep,fs.minimum,fs.slide)

def same_find(opts=(SGD,fo.SGD), model=simple_net, loss=mnist_loss, warm=False, four=slice(None), m=lr_find, **kwargs):
    a,b = ours(model, opts[0], loss=loss),theirs(model, opts[1], loss=loss)
    if warm:
        for o in (a,b): trained(o, lambda learn: learn.fit(1, .1))
    def find(fs): return lambda o: setattr(o, 'got', o.lr_find(show_plot=False, suggest_funcs=fs, **kwargs))
    got,want = trained(a, find([getattr(m, k) for k in our_four[four]])).got,trained(b, find(their_four[four])).got
    lrs,losses,points = a.recorder.lr_curve
    assert len(lrs)==len(b.recorder.lrs) and np.allclose(lrs, b.recorder.lrs, rtol=1e-9, atol=0)
    theirs_ = np.array([float(o) for o in b.recorder.losses])
    assert np.allclose(losses, theirs_, rtol=0, atol=1e-6, equal_nan=True)
    assert got._fields==want._fields and tuple(got)==tuple(want)

runs = [dict(), dict(num_it=40), dict(end_lr=1e3, num_it=150), dict(start_lr=1e-5, end_lr=1e5, stop_div=False),
        dict(num_it=18, four=slice(3))]

@pytest.mark.parametrize('kwargs', runs, ids=str)
@pytest.mark.parametrize('name', optimizers)
def test_lr_find_is_fastais(name, kwargs):
    for model,loss in ((convnet,mnist_loss), (simple_net,mse)): same_find(optimizers[name][:2], model, loss, **kwargs)

@pytest.mark.parametrize('name', optimizers)
def test_lr_find_of_a_trained_model_is_fastais(name): same_find(optimizers[name][:2], convnet, warm=True)

def same_suggestions(m=lr_find):
    torch.manual_seed(0)
    for n in (16,17,30,85):
        down = -torch.arange(n).float()
        for curve in (torch.randn(n), torch.randn(n).cumsum(0), down, -down, torch.ones(n),
                      torch.linspace(-2, 2, n)**2-torch.rand(n)/3, torch.linspace(3, 0, n).exp()):
            lrs = 10**torch.linspace(-6, 1, n)
            for f,ref in zip(our_four, their_four):
                (lr,(px,py)),(rlr,(rx,ry)) = getattr(m, f)(lrs, curve, n),ref(lrs, curve, n)
                assert (lr,float(px))==(rlr,float(rx)) and abs(float(py)-float(ry))<1e-5, f
    for n in (1,2,3,4,5,7):
        lrs,curve = 10**torch.linspace(-6, 1, n),-torch.arange(n).float()
        for f,ref in list(zip(our_four, their_four))[:3]:
            if f!='steep' or n>1: assert getattr(m, f)(lrs, curve, n)[0]==ref(lrs, curve, n)[0], (f,n)

def test_suggestions_are_fastais(): same_suggestions()

@pytest.mark.parametrize('f,n', [('valley',0), ('minimum',0), ('steep',1), ('slide',15)])
def test_too_few_points_are_a_clear_error(f, n):
    with pytest.raises(ValueError, match=f'{f} needs a curve of at least {n+1} points, and was given {n}'):
        getattr(lr_find, f)(torch.ones(n), torch.ones(n), 100)

@pytest.mark.parametrize('bad', [float('nan'),float('inf')])
def test_a_model_that_has_diverged_is_a_clear_error(bad):
    learn = ours()
    with torch.no_grad(): learn.model[0].weight.fill_(bad)
    with pytest.raises(ValueError, match='begin with a new model'): learn.lr_find(show_plot=False)

def test_lr_find_with_an_empty_loader_is_a_clear_error():
    with pytest.raises(ValueError, match='no batches'):
        ours(dls=DataLoaders(DataLoader(Dataset(x, y), 100, drop_last=True), fixed.valid)).lr_find(show_plot=False)

def test_lr_find_draws_and_marks():
    import matplotlib.pyplot as plt
    learn = ours()
    found = learn.lr_find(suggest_funcs=(lr_find.steep, partial(lr_find.slide, lr_diff=10)))
    ax = plt.gca()
    assert found._fields==('steep','slide') and ax.get_xscale()=='log' and len(ax.lines)==3
    assert ax.lines[1].get_xdata()[0]==found.steep and len(ax.lines[0].get_xdata())==95
    assert learn.lr_find(suggest_funcs=None) is None and len(plt.gca().lines)==1
    plt.close('all')


# lr_find leaves no trace

class Replaces(nn.Module):
    "Has a buffer that is replaced, not changed, and rolls dice."
    def __init__(self):
        super().__init__()
        self.register_buffer('seen', torch.zeros(()))
    def forward(self, x):
        if self.training: self.seen = self.seen + 1
        return x

def odd_net():
    model = nn.Sequential(nn.Linear(64,30), nn.BatchNorm1d(30), nn.ReLU(), nn.Dropout(.2), Replaces(), nn.Linear(30,1))
    model[1].eval() # by hand, which a fit would undo
    return model

class Diary(Callback):
    "Keeps things of its own: nested ones, a source of random numbers, a file."
    order = 20
    def __init__(self):
        self.pages,self.dice,self.file,self.best = {'losses': []},np.random.default_rng(0),open(os.devnull),None
    def before_fit(self):
        if self.fitting: self.best = float('inf')
    def after_batch(self):
        if not self.training: return
        self.pages['losses'].append([self.learn.loss.item(), self.dice.random(), random.random(), np.random.rand()])
        self.best = min(self.best, self.learn.loss.item())
        for p in list(self.model.parameters())[:1]: p.requires_grad_(self.train_iter<50)

def loaders(kind):
    ds,gen = Dataset(x, y),torch.Generator().manual_seed(3)
    pairs = list(zip(x, y))
    train = {'ours': lambda: DataLoader(ds, 16, shuffle=True),
             'ours, own dice': lambda: DataLoader(ds, 16, shuffle=True, generator=gen),
             'PyTorch': lambda: TorchDL(pairs, 16, shuffle=True, generator=gen),
             'fastai': lambda: FastaiDL(pairs, bs=16, shuffle=True)}
    return DataLoaders(train[kind](), fixed.valid)

def plain(o, seen=None):
    "Everything that can be reached from an object, as nested values that can be compared."
    seen = {} if seen is None else seen
    if isinstance(o, torch.Tensor):
        return [id(o), repr(o.tolist()), o.requires_grad, plain(o.grad, seen) if o.is_leaf else None]
    if isinstance(o, torch.Generator): return o.get_state().tolist()
    if isinstance(o, random.Random): return [id(o), o.getstate()]
    if isinstance(o, np.random.Generator): return repr(o.bit_generator.state)
    if isinstance(o, np.ndarray): return o.tolist()
    if o is None or isinstance(o, (str,int,float,type,ModuleType)): return repr(o)
    if id(o) in seen: return f'again {id(o)}'
    seen[id(o)] = o
    def key(k): return id(k) if isinstance(k, torch.Tensor) else repr(k)
    if isinstance(o, dict): return {key(k): plain(v, seen) for k,v in o.items()}
    if isinstance(o, (list,tuple,set,L)): return [plain(v, seen) for v in o]
    return [id(o), plain(vars(o), seen)] if hasattr(o, '__dict__') else id(o) if callable(o) else repr(o)

def everything(learn):
    vars(learn.recorder).pop('lr_curve', None)
    dice = torch.get_rng_state().tolist(),random.getstate(),[repr(o) for o in np.random.get_state()[1:]]
    return plain([vars(learn), dice])

def differs(a, b, at=''):
    "Where two such values differ."
    if isinstance(a, dict) and isinstance(b, dict) and a.keys()==b.keys():
        for k in a: yield from differs(a[k], b[k], f'{at}.{k}')
    elif isinstance(a, (list,tuple)) and isinstance(b, (list,tuple)) and len(a)==len(b):
        for i,(v,w) in enumerate(zip(a, b)): yield from differs(v, w, f'{at}[{i}]')
    elif a!=b: yield f'{at}: {str(a)[:80]} became {str(b)[:80]}'

def find_it(learn): learn.lr_find(show_plot=False)
def curve_only(learn): learn.lr_find(show_plot=False, suggest_funcs=None)

def no_trace(opt_func=sgd, kind='ours', boom=None, warm=True, f=find_it, raises=()):
    learn = ours(odd_net, opt_func, loaders(kind), metrics=batch_accuracy, cbs=Diary())
    if warm: learn.fit(1, .05)
    if boom: learn.add_cbs(boom)
    mse(learn.model(x[:2]), y[:2]).backward() # left over from something else
    learn.model[1].eval()
    before = everything(learn)
    if raises:
        with pytest.raises(raises): f(learn)
    else: f(learn)
    where = list(differs(before, everything(learn)))
    learn.diary.file.close()
    assert not where, '\n'.join(where[:12])

def test_our_scheduler_works_in_fastais_learner():
    a,b = theirs(),theirs()
    for learn,s,lin in ((a, schedules.ParamScheduler, schedules.SchedLin), (b, fs.ParamScheduler, fs.SchedLin)):
        trained(learn, lambda learn: learn.fit(1, cbs=s({'lr': lin(1e-3, 1e-2)})))
    assert np.allclose(a.recorder.hps['lr'], b.recorder.hps['lr'], rtol=1e-6, atol=0) and torch.allclose(state(a), state(b), atol=1e-7)

steppers = [SGD,sgd,Adam,BasicOptim,fastai_sgd,fo.Adam,torch.optim.Adam,partial(torch.optim.SGD, momentum=.9)]
kinds = ['ours','ours, own dice','PyTorch','fastai']

@pytest.mark.parametrize('kind,opt_func', [*[('ours', o) for o in steppers], *[(o, sgd) for o in kinds[1:]]])
def test_lr_find_leaves_no_trace(opt_func, kind):
    for warm in (True,False): no_trace(opt_func, kind, warm=warm)

@pytest.mark.slow
def test_lr_find_leaves_no_trace_with_any_optimizer_and_loaders():
    for kind,opt_func in product(kinds, steppers): no_trace(opt_func, kind)

class Boom(Callback):
    "Raises `e` the third time that `at` comes by, or the first time if it comes only once."
    def __init__(self, at, e): self.at,self.e,self.count,self.order = at,e,0,5 if at=='before_validate' else 99
    def __getattr__(self, k):
        if k!=self.__dict__.get('at'): return super().__getattr__(k)
        def f():
            self.count += 1
            if self.count==(1 if k in ('before_fit','after_fit') else 3): raise self.e('boom')
        return f

all_along = ['before_fit','before_epoch','before_train','before_batch','after_pred','after_loss','before_backward',
             'after_backward','before_step','after_step','after_batch','after_train','before_validate','after_validate',
             'after_epoch','after_fit']

@pytest.mark.parametrize('e', [KeyboardInterrupt,RuntimeError,CancelFitException])
@pytest.mark.parametrize('at', all_along)
def test_lr_find_leaves_no_trace_wherever_it_is_interrupted(at, e):
    no_trace(boom=Boom(at, e), f=curve_only, raises=e if e!=CancelFitException or at=='after_fit' else ())

def test_lr_find_leaves_no_trace_after_ctrl_c():
    class CtrlC(Callback):
        def after_pred(self):
            if self.train_iter==20: os.kill(os.getpid(), signal.SIGINT)
    no_trace(boom=CtrlC(), raises=KeyboardInterrupt)

def test_lr_find_leaves_no_trace_when_losses_are_no_numbers():
    no_trace(f=lambda learn: learn.lr_find(end_lr=1e30, stop_div=False, show_plot=False, suggest_funcs=None))

def test_a_fit_is_the_same_with_lr_find_in_its_middle():
    class Rehearses(Callback):
        def after_epoch(self):
            if not hasattr(self.learn, 'lr_finder'): find_it(self.learn)
        def before_batch(self):
            if self.training and self.train_iter==4 and not hasattr(self.learn, 'lr_finder'): find_it(self.learn)
    def end(cbs):
        learn = ours(odd_net, sgd, loaders('ours'), metrics=batch_accuracy)
        learn.fit_one_cycle(2, .1, cbs=cbs)
        return state(learn).tolist(),learn.recorder.values,learn.recorder.hps
    assert end([Rehearses()])==end([])

def test_an_optimizer_that_cannot_be_copied_is_refused_before_anything_has_changed():
    class Locked(SGD):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.file = open(os.devnull)
    no_trace(Locked, raises=TypeError)

def test_a_plain_function_with_parameters_is_put_back():
    w = torch.zeros(64, 1, requires_grad=True)
    learn = Learner(fixed, lambda xb: xb@w, mnist_loss, opt_func=SGD, params=[w])
    learn.lr_find(show_plot=False)
    assert not w.any() and min(learn.recorder.lr_curve[1])<.49

def test_fastai_moves_the_dice_and_an_interruption_spoils_its_model():
    from fastai.callback.core import Callback as FastaiCallback
    class Stops(FastaiCallback):
        def after_pred(self):
            if self.train_iter==90: raise KeyboardInterrupt
    learn = theirs(odd_net, fastai_sgd, loaders('ours'))
    before,dice = state(learn),torch.get_rng_state()
    trained(learn, lambda learn: learn.lr_find(show_plot=False))
    assert (state(learn)==before).all() and (torch.get_rng_state()!=dice).any()
    learn.add_cb(Stops())
    with pytest.raises(KeyboardInterrupt): trained(learn, lambda learn: learn.lr_find(show_plot=False))
    assert (state(learn)!=before).any()


# Each of these comparisons must be able to fail.

@cache
def fit(model, name, kind, **kwargs): return lambda m: same_fit(model, optimizers[name], kind, **kwargs)
@cache
def find(**kwargs): return lambda m: same_find(m=m, **kwargs)
@cache
def trace(**kwargs): return lambda m: no_trace(**kwargs)
@cache
def dice(**kwargs):
    def compare(m):
        with patch.object(lr_find, 'no_random', m.no_random): no_trace(**kwargs)
    return compare
def resume(m): goes_on()
def fastai_frozen(m): test_frozen_is_frozen_whoever_steps(fastai_sgd)
def ctrl_c(m): test_lr_find_leaves_no_trace_wherever_it_is_interrupted('after_step', KeyboardInterrupt)

mutants = [
    (schedules, 'np.float32(pos)', 'np.float64(pos)', same_values),
    (schedules, 'return start + pos*(end-start)', 'return start + pos*end', same_values),
    (schedules, 'math.pi*(1-pos)', 'math.pi*pos', same_values),
    (schedules, 'start*(end/start)**pos', 'start + (end/start)**pos', same_values),
    (schedules, 'pos**power', 'pos*power', same_values),
    (schedules, 'combined_cos(pct_start, lr/div, lr, lr/div_final)', 'combined_cos(pct_start, lr/div, lr, 0*lr)',
     fit(simple_net, 'momentum', 'one cycle')),
    (schedules, '(self.moms if moms is None else moms)', '(.95,.85,.9)', fit(simple_net, 'Adam', 'one cycle')),
    (schedules, 'combined_cos(pct_start, lr, lr, lr/div_final)', 'combined_cos(pct_start, lr, lr, lr/25)',
     fit(simple_net, 'SGD', 'flat')),
    (schedules, 'pct_start=.99', 'pct_start=.5', fit(convnet, 'momentum', 'fine-tune')),
    (schedules, 'base_lr/2/lr_mult', 'base_lr/lr_mult', fit(convnet, 'momentum', 'fine-tune')),
    (schedules, 'pct_start: float=.3', 'pct_start: float=.25', fit(convnet, 'momentum', 'fine-tune')),
    (schedules, '    self.unfreeze()\n', '', fit(convnet, 'momentum', 'fine-tune')),
    (schedules, ' or p in norms or notes.get(\'force_train\', False)', '', fit(convnet, 'SGD', 'freeze')),
    (schedules, 'i>=n%len(groups)', 'i>n%len(groups)', fit(convnet, 'SGD', 'freeze')),
    (schedules, "('do_wd','force_train')", "('force_train',)", fit(convnet, 'momentum', 'freeze', wd=.5)),
    (schedules, 'if p in state: state[p] = notes', 'pass', fit(convnet, 'momentum', 'freeze_to')),
    (schedules, 'p.grad = None', 'pass', fastai_frozen),
    (schedules, 'if self.start_epoch else {}', 'if False else {}', resume),
    (schedules, '(get_hyper(self.opt, k)[-1])', '(get_hyper(self.opt, k)[0])', fit(simple_net, 'SGD', 'slice')),
    (schedules, 'order,run_valid = 60,False', 'order,run_valid = 60,True', fit(simple_net, 'SGD', 'one cycle')),
    (schedules, 'learn.lr if lr is None else lr', 'learn.lr', fit(simple_net, 'SGD', 'one cycle')),
    (lr_find, 'self.train_iter/self.num_it)', '(self.train_iter+1)/self.num_it)', find()),
    (lr_find, 'loss>4*self.best', 'loss>2*self.best', find(loss=mse)),
    (lr_find, 'if self.stop_div and', 'if', find(loss=mse, start_lr=1e-5, end_lr=1e5, stop_div=False)),
    (lr_find, 'o[num_it//10:-5]', 'o[:-5]', find()),
    (lr_find, 'o[num_it//10:-5]', 'o[num_it//10:]', find()),
    (lr_find, 'if o.isnan()', 'if False', find(loss=mse, start_lr=1e-5, end_lr=1e5, stop_div=False)),
    (lr_find, 'max(1, len(self.dls.train))+1', 'max(1, len(self.dls.train))', find()),
    (lr_find, 'n//3 + n//6', 'n//2', same_suggestions),
    (lr_find, 'if y<before', 'if y<=before', same_suggestions),
    (lr_find, 'thresh:float=.005', 'thresh:float=.05', same_suggestions),
    (lr_find, 'at,i = i,i-1', 'at,i = i-1,i-1', same_suggestions),
    (lr_find, 'float(lrs[i])/10', 'float(lrs[i])/5', same_suggestions),
    (lr_find, 'lrs.log().diff()', 'lrs.diff()', same_suggestions),
    (lr_find, 'back.callback(_put, t, t.detach().clone(), t.grad, t.requires_grad)', 'pass', trace()),
    (lr_find, 't.copy_(value)', 'pass', trace()),
    (lr_find, 't.grad,t.requires_grad = grad,trained', 't.requires_grad = trained', trace()),
    (lr_find, 't.grad,t.requires_grad = grad,trained', 't.grad = grad', trace()),
    (lr_find, 'back.callback(vars(m).update, training=m.training)', 'pass', trace()),
    (lr_find, 'back.callback(_refill, m._buffers, dict(m._buffers))', 'pass', trace()),
    (lr_find, 'back.enter_context(no_random(loaders=loaders))', 'pass', trace()),
    (lr_find, 'no_random(loaders=loaders)', 'no_random()', trace(kind='PyTorch')),
    (randomness, "torch.set_rng_state(states['torch'])", 'pass', dice()),
    (randomness, "random.setstate(states['python'])", 'pass', dice()),
    (randomness, "np.random.set_state(states['numpy'])", 'pass', dice()),
    (randomness, '_set(o, s)', 'pass', dice(kind='PyTorch')),
    (randomness, 'isinstance(o, _kinds) or', 'False or', dice(kind='PyTorch')),
    (randomness, 'finally: set_random_states(states, loaders)', 'finally: pass', dice()),
    (lr_find, 'back.callback(_refill, vars(dl), dict(vars(dl)))', 'pass', trace(kind='fastai')),
    (lr_find, "back.callback(setattr, o, '__dict__', vars(o))", 'pass', trace()),
    (lr_find, 'for o in (learn, *learn.cbs):', 'for o in (learn,):', trace()),
    (lr_find, 'for o in (learn, *learn.cbs):', 'for o in learn.cbs:', trace()),
    (lr_find, 'try: res = deepcopy(v, trial)', 'try: res = v', trace()),
    (lr_find, 'with as_it_was(self), self.no_logging():', 'with self.no_logging():', ctrl_c)]

sound = set()

@pytest.mark.parametrize('module,old,new,compare', mutants, ids=lambda o: str(o)[:40] if isinstance(o, str) else '')
def test_a_mistake_is_noticed(module, old, new, compare):
    noticed = AssertionError,IndexError,TypeError,ValueError,pytest.fail.Exception
    with mutant(module.__name__.split('.')[-1], old, new) as m, pytest.raises(noticed): compare(m)
    if compare not in sound: compare(module) # and without it, not
    sound.add(compare)


# What no schedule and no search can mean

@pytest.mark.parametrize('fit,kwargs,said', [
    ('fit_one_cycle', dict(div=0), 'div=0'), ('fit_one_cycle', dict(div_final=-1.), 'div_final=-1.0'),
    ('fit_one_cycle', dict(div=float('nan')), 'div=nan'), ('fit_one_cycle', dict(lr_max=float('nan')), 'lr_max'),
    ('fit_one_cycle', dict(lr_max=-1.), 'lr_max'), ('fit_one_cycle', dict(pct_start=1.2), 'pct_start=1.2'),
    ('fit_one_cycle', dict(pct_start=float('nan')), 'pct_start=nan'), ('fit_flat_cos', dict(lr=float('inf')), 'lr'),
    ('fit_flat_cos', dict(div_final=0), 'div_final=0'), ('fit_flat_cos', dict(pct_start=-.1), 'pct_start=-0.1'),
    ('fine_tune', dict(lr_mult=0), 'lr_mult=0'), ('fine_tune', dict(base_lr=-1.), 'base_lr=-1.0'), ('fine_tune', dict(div=0), 'div=0'),
    ('fit_sgdr', dict(cycle_len=0), 'cycle_len=0'), ('fit_sgdr', dict(cycle_len=1, cycle_mult=0), 'cycle_mult=0'),
    ('fit_sgdr', dict(cycle_len=1, lr_max=float('nan')), 'lr_max')], ids=str)
def test_a_schedule_that_cannot_be_meant_is_refused_before_anything_is_trained(fit, kwargs, said):
    learn = ours(splitter=halves)
    before = [p.clone() for p in learn.model.parameters()]
    with pytest.raises(ValueError, match=said): getattr(learn, fit)(1, **kwargs)
    assert all(torch.equal(a, b) and b.requires_grad for a,b in zip(before, learn.model.parameters()))

@pytest.mark.parametrize('kwargs,said', [
    (dict(start_lr=0, end_lr=1), 'start_lr=0 and end_lr=1'), (dict(start_lr=-1e-7), 'start_lr=-1e-07'), (dict(start_lr=1, end_lr=.1), 'the second larger'),
    (dict(end_lr=float('nan')), 'end_lr=nan'), (dict(end_lr=float('inf')), 'end_lr=inf'), (dict(num_it=5), 'num_it=5'), (dict(num_it=0), 'num_it=0'), (dict(num_it=-3), 'num_it=-3'),
    (dict(num_it=8), 'a suggestion needs a curve of at least 6 points')], ids=str)
def test_a_search_that_cannot_be_meant_is_refused_and_leaves_no_trace(kwargs, said):
    learn = ours()
    before = [p.clone() for p in learn.model.parameters()]
    with pytest.raises(ValueError, match=said): learn.lr_find(show_plot=False, **kwargs)
    assert all(torch.equal(a, b) for a,b in zip(before, learn.model.parameters())) and not learn.fitting

def test_restarts_are_fastais():
    for n_cycles,cycle_len,mult in ((2,1,2), (3,1,2), (2,2,3)):
        a = trained(ours(opt_func=sgd), lambda learn: learn.fit_sgdr(n_cycles, cycle_len, .3, mult))
        b = trained(theirs(opt_func=fastai_sgd), lambda learn: learn.fit_sgdr(n_cycles, cycle_len, .3, mult))
        assert len(a.recorder.values)==len(b.recorder.values) and np.allclose(a.recorder.lrs, b.recorder.lrs, rtol=1e-6, atol=1e-9)
        assert all(torch.allclose(p, q, atol=1e-5) for p,q in zip(a.model.parameters(), b.model.parameters()))

def test_a_group_may_have_a_rate_of_0():
    learn = ours(splitter=halves)
    before = learn.model[0].weight.clone()
    trained(learn, lambda learn: learn.fit_one_cycle(1, [0.,.1]))
    assert torch.equal(learn.model[0].weight, before)

def test_momentum_of_one_cycle_is_the_learners_own():
    learn = trained(ours(opt_func=sgd, moms=(.9,.5,.8)), lambda learn: learn.fit_one_cycle(2, .1))
    assert (learn.recorder.hps['mom'][0], min(learn.recorder.hps['mom']))==(.9, pytest.approx(.5, abs=.01))
