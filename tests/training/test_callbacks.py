"""What hangs on the loop: plots, bars, guards, clipping, accumulation, mixed precision, Ctrl-C.

A check takes `m`, the module of chapter 07, or a mutant of it: the same module with one text replaced. The real one
must pass every check, and for every mutant the check beside it must fail."""
import io,json,math,signal,subprocess,sys,time,types
from collections import namedtuple
from contextlib import redirect_stdout
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conftest import in_a_terminal,python
from mutating import mutant
from digits_fastai.training import callbacks
from digits_fastai.dataloaders import DataLoader,DataLoaders,Dataset
from digits_fastai.events import (
    Callback,CancelBackwardException,CancelBatchException,CancelEpochException,CancelFitException,CancelStepException,
    CancelTrainException,Recorder)
from digits_fastai.learner import Learner
from digits_fastai.losses import mse
from digits_fastai.metrics import AvgMetric
from digits_fastai.optimizer import SGD,Adam,BasicOptim

g = torch.Generator().manual_seed(0)
x = torch.randn(75,4, generator=g)
y = x[:,:1]*2-x[:,1:2]


def two_layers(): return nn.Sequential(nn.Linear(4,6), nn.ReLU(), nn.Linear(6,1))

def learner(loss=mse, model=None, x=x, y=y, bs=16, valid=None, **kwargs):
    torch.manual_seed(0)
    dls = DataLoaders(DataLoader(Dataset(x, y), bs), DataLoader(Dataset(*(valid or (x[:20], y[:20]))), 8))
    learn = Learner(dls, (model or two_layers)(), loss, **{'opt_func': SGD, 'lr': .05, **kwargs})
    learn.logger = lambda row: None
    return learn

def weights(learn): return torch.cat([p.detach().flatten().clone() for p in learn.model.parameters()])
def apart(a, b): return (a-b).abs().max().item()

def raised(e, f, *args, **kwargs):
    "The message of the exception that `f` raised; an assertion if it was none of this kind."
    try: f(*args, **kwargs)
    except e as err: return str(err)
    except Exception as err: raise AssertionError(f'{type(err).__name__} instead of {e.__name__}: {err}') from err
    raise AssertionError(f'no {e.__name__} was raised')

def printed(f, *args, **kwargs):
    "What `f` printed."
    with redirect_stdout(io.StringIO()) as out: quietly(f, *args, **kwargs)
    return out.getvalue()

def quietly(f, *args, **kwargs):
    "What `f` does, which should raise nothing."
    try: return f(*args, **kwargs)
    except Exception as err: raise AssertionError(f'raised {type(err).__name__}: {err}') from err

class At(Callback):
    "Does `f(learn)` at the `n`-th coming by of an event."
    def __init__(self, at, f, n=1, order=0): self.at,self.f,self.left,self.order = at,f,n,order
    def __getattr__(self, k): return self._go if k==self.__dict__.get('at') else super().__getattr__(k)
    def _go(self):
        self.left -= 1
        if not self.left: self.f(self.learn)

def cancels(e, at, n=1, **kwargs):
    def f(learn): raise e
    return At(at, f, n, **kwargs)


# Plots

def curves(ax): return [[[float(o) for o in v] for v in line.get_data()] for line in ax.lines]

def axes():
    import matplotlib.pyplot as plt
    ax = plt.figure().add_subplot()
    plt.close()
    return ax

def check_plot_loss(m):
    learn = learner()
    learn.fit(3)
    r = learn.recorder
    losses = [o.item() for o in r.losses]
    (xs,ys),(vx,vy) = curves(m.plot_loss(r, ax=axes()))
    assert xs==list(range(5,15)) and ys==losses[5:]
    assert vx==[5,10,15] and vy==[o[1] for o in r.values]
    assert curves(m.plot_loss(r, 0, with_valid=False, ax=axes()))==[[list(range(15)), losses]]
    assert len(curves(m.plot_loss(r, 6, show_epochs=True, ax=axes())))==5
    assert curves(m.plot_loss(r, 6, ax=axes()))[1][0]==[10,15]
    assert m.plot_loss(r, log=True, ax=axes()).get_xscale()=='log'
    assert '15 batches' in raised(ValueError, m.plot_loss, r, 15, ax=axes())
    raised(ValueError, m.plot_loss, learner().recorder)

def check_plots_leave_gaps(m):
    "An epoch of which something was called off has no complete row."
    learn = learner(metrics=mse)
    learn.fit(3, cbs=cancels(CancelTrainException, 'after_pred', 10)) # of both sets: the training of epoch 1
    assert [len(o) for o in learn.recorder.values]==[3,2,3]
    assert curves(quietly(m.plot_loss, learn.recorder, ax=axes()))[1][0]==[5,11]
    assert [o[0] for o in curves(m.plot_metrics(learn.recorder)[0,0])]==[[0,2]]*2

def check_plot_metrics(m):
    def mae(p, t): return (p-t).abs().mean()
    learn = learner(metrics=[mse,mae])
    learn.fit(2)
    axs = m.plot_metrics(learn.recorder, ncols=2)
    assert axs.shape==(2,2) and [o.get_title() for o in axs.flat]==['loss','mse','mae','']
    train,valid,*metrics = zip(*learn.recorder.values)
    assert [o[1] for o in curves(axs[0,0])]==[list(train), list(valid)]
    assert [curves(o)[0][1] for o in axs.flat[1:3]]==[list(o) for o in metrics]
    raised(ValueError, m.plot_metrics, learner().recorder)
    plain = learner()
    plain.fit(1)
    assert m.plot_metrics(plain.recorder).shape==(1,1)

def test_the_curve_is_fastais():
    from fastai import learner as fl,optimizer as fo
    from fastai.data.core import DataLoaders as FastaiDLs
    ours = learner()
    torch.manual_seed(0)
    theirs = fl.Learner(FastaiDLs(*ours.dls.loaders), two_layers(), loss_func=mse, opt_func=fo.SGD)
    with theirs.no_logging(): theirs.fit(2, .05)
    ours.fit(2, .05)
    def same():
        drawn = [curves(o.recorder.plot_loss(ax=axes())) for o in (ours, theirs)]
        for a,b in zip(*drawn, strict=True):
            assert a==[pytest.approx(o, abs=1e-6) for o in b]
    same()
    ours.recorder.losses = [o*(1-.98**i) for i,o in enumerate(ours.recorder.losses, 1)] # without debiasing
    with pytest.raises(AssertionError): same()


# Guards

def numbers(**kwargs): return learner(lambda p,t: (p-t).pow(2).mean(), **kwargs)

def check_nan(m):
    learn = numbers()
    said = printed(learn.fit, 50, 50., cbs=m.TerminateOnNaNCallback())
    assert all(o in said for o in ('the loss is ', 'in training', f'epoch {learn.epoch}, batch {learn.iter} ', 'lr=50;',
                                   'lower lr, say 5', 'GradientClip'))
    assert 'weights hold' not in said
    assert weights(learn).isfinite().all() and torch.stack(learn.recorder.losses).isfinite().all()
    assert all(p.grad is None for p in learn.model.parameters()) and not learn.fitting

def check_nan_comes_before_the_step(m):
    sick,other = x.clone(),learner()
    sick[40] = math.nan # in the third batch
    other.fit(1, cbs=cancels(CancelFitException, 'before_batch', 3))
    def same(learn, **kwargs):
        said = printed(learn.fit, 1, cbs=m.TerminateOnNaNCallback())
        assert 'batch 2 ' in said and torch.equal(weights(learn), weights(other))
        return said
    said = same(learner(x=sick))
    assert 'learn.xb' in said and 'lower lr' not in said
    for o in (math.nan,math.inf,-math.inf): # with gradients that are finite
        extra = iter([0.,0.,o])
        assert f'the loss is {o}' in same(learner(lambda p,t: mse(p, t)+next(extra, 0.)))

def check_nan_sees_gradients(m):
    learn = learner(lambda p,t: (p-p.detach()).abs().sqrt().mean()) # the loss is 0, its slope infinite
    assert 'gradients are not finite (0.weight' in printed(learn.fit, 1, cbs=m.TerminateOnNaNCallback())
    assert weights(learn).isfinite().all()

def check_nan_in_validation(m):
    learn = learner(valid=(x[:20]*math.inf, y[:20]), cbs=m.TerminateOnNaNCallback())
    assert 'in validation, epoch 0, batch 0' in printed(learn.fit, 1)
    assert not math.isfinite(quietly(learn.validate)[0]) # measuring is allowed
    broken = learner(cbs=m.TerminateOnNaNCallback())
    nn.init.constant_(broken.model[2].bias, math.nan)
    assert 'weights hold nan' in printed(broken.fit, 1)

shapes = [([64,10],[64],1), ([64,2],[64],1), ([8,5,28,28],[8,28,28],1), ([8,20,5],[8,20],1), ([8,5,20],[8,20],1),
          ([64,1],[64,1],1), ([64],[64],1), ([],[],1), ([10],[],1), ([64,1],[64],0), ([64],[64,1],0), ([1,64],[64],0),
          ([64,10],[10],0), ([64,10],[32],0), ([64,1],[1,64],0), ([8,1,28,28],[8,28,28],0), ([8,5,7,9],[8,9,7],0),
          ([3,8,5,5],[8,5,5],0), ([],[1],0), ([1],[],0)]

def check_shape_rule(m):
    for p,t,ok in shapes:
        given = torch.zeros(p),torch.zeros(t, dtype=torch.int64)
        assert m.shapes_agree(*given)==bool(ok), f'{p} and {t}'
        for dtype in (torch.float32,torch.bool):
            assert m.shapes_agree(given[0], given[1].to(dtype))==(p==t), f'{p} and {t}'

def classes(p, t): return F.cross_entropy(p, t)

def check_shape_guard(m):
    def trap(p, t): return (p-t).pow(2).mean()
    guard = partial(m.ShapeGuard, verbose=False)
    for ys in (y[:,0], y[:,0].long()):
        said = raised(ValueError, learner(trap, y=ys).fit, 1, cbs=guard())
        for o in ('[16, 1]', '[16]', '[16, 16]', 'targets.unsqueeze(1)', '[in ShapeGuard, at after'): assert o in said
    learn = learner(trap, valid=(x[:20], y[:20,0]))
    raised(ValueError, learn.fit, 1, cbs=guard())
    assert learn.train_iter==5, 'training was fine'
    raised(ValueError, learn.validate, cbs=guard())
    def flat(): return nn.Sequential(*two_layers(), Squeeze())
    squeezed = learner(trap, flat, x=x[:33], y=y[:33,0], valid=(x[:8], y[:8,0])) # 16, 16 and 1
    assert 'shape [], targets [1]' in raised(ValueError, squeezed.fit, 1, cbs=guard())
    quietly(learner(trap, y=y[:,0], valid=(x[:20], y[:20,0])).fit, 1, cbs=guard(check=None))

class Squeeze(nn.Module):
    def forward(self, x): return x.squeeze()

def check_shape_guard_cries_no_wolf(m):
    def images(): return nn.Sequential(nn.Unflatten(1, (1,2,2)), nn.Conv2d(1,3,1))
    def logits(): return nn.Linear(4,2)
    labels,pixels = (y[:,0]>0).long(),(x.view(-1,2,2)>0).long()
    for loss,model,ys in ((mse, two_layers, y), (classes, logits, labels), (classes, images, pixels)):
        quietly(learner(loss, model, y=ys, valid=(x[:20], ys[:20])).fit, 1, cbs=m.ShapeGuard(verbose=False))
    several = DataLoaders([(x,y[:,0],y)], [(x,y[:,0],y)])
    several.n_inp = 1
    learn = learner(lambda p,a,b: mse(p[:,0], a)+mse(p, b))
    learn.dls = several
    quietly(learn.fit, 1, cbs=m.ShapeGuard(verbose=False))

def check_shape_guard_wants_a_number(m):
    learn = learner(lambda p,t: (p-t).pow(2))
    assert 'the loss has shape [16, 1]' in raised(ValueError, learn.fit, 1, cbs=m.ShapeGuard(verbose=False))

def check_shape_guard_prints_once(m):
    def printed(learn, **kwargs):
        out = io.StringIO()
        with redirect_stdout(out): learn.fit(2, cbs=[guard])
        return out.getvalue().splitlines()
    guard,learn = m.ShapeGuard(),learner()
    lines = ['input      [16, 4] float32', 'prediction [16, 1] float32', 'target     [16, 1] float32',
             'loss       [] float32']
    assert printed(learn)==lines
    assert printed(learn)==lines, 'in the next fit, too'
    guard = m.ShapeGuard(verbose=False)
    assert printed(learn)==[]
    out = io.StringIO()
    with redirect_stdout(out): raised(RuntimeError, learner(model=lambda: nn.Linear(3,1)).fit, 1, cbs=m.ShapeGuard())
    assert out.getvalue().splitlines()==lines[:1], 'it shows how far it got'


class UsedUp(SGD):
    "Keeps a generator: the groups are there for one walk."
    def __init__(self, params, lr):
        super().__init__(list(params), lr)
        self.gen = iter(self.param_groups[0].pop('params'))
        self.param_groups[0]['params'] = []
    def step(self): pass

class Lazy(SGD):
    def update(self, p, grad, state, group): pass

class HalfLazy(SGD):
    def update(self, p, grad, state, group):
        if p.ndim>1: super().update(p, grad, state, group)

class Spare(nn.Module):
    def __init__(self, cut=False):
        super().__init__()
        self.used,self.spare,self.cut = nn.Linear(4,4),nn.Linear(4,1),cut
    def forward(self, x):
        h = self.used(x)
        return self.spare(h.detach()) if self.cut else h[:,:1]

def fitted(m, **kwargs):
    "A message of StepGuard."
    return raised(RuntimeError, learner(**kwargs).fit, 2, cbs=m.StepGuard())

def check_step_guard(m):
    learn = learner()
    learn.fit(1)
    learn.opt = SGD(list(two_layers().parameters()), .05) # by hand, for another model
    said = raised(RuntimeError, learn.fit, 1, cbs=m.StepGuard())
    for o in ('4 of 4', '0.weight, 0.bias, 2.weight, 2.bias: not in the optimizer', 'reset_opt'): assert o in said
    quietly(learn.fit, 1, cbs=m.StepGuard(), reset_opt=True)
    assert 'not in the optimizer' in fitted(m, opt_func=UsedUp)
    said = fitted(m, splitter=lambda model: [list(model[2].parameters())])
    assert '0.weight, 0.bias: not in' in said and '2.weight' not in said and '2 of 4' in said
    assert '0.bias, 2.bias: with a gradient, and left' in fitted(m, opt_func=HalfLazy)
    assert '4 of 4' in fitted(m, opt_func=Lazy)

def check_step_guard_sees_missing_gradients(m):
    for o in ('2 of 4', 'spare.weight, spare.bias: without a gradient'): assert o in fitted(m, model=Spare)
    assert 'used.weight, used.bias: without a gradient' in fitted(m, model=partial(Spare, cut=True))
    quietly(learner(model=Spare).fit, 1, cbs=m.StepGuard(allow='spare'))
    quietly(learner(model=Spare).fit, 1, cbs=m.StepGuard(allow=['spare.weight','spare.bias']))
    raised(RuntimeError, learner(model=Spare).fit, 1, cbs=m.StepGuard(allow='spare.w'))
    assert 'argmax' in fitted(m, loss=lambda p,t: ((p>0)==(t>0)).float().mean())
    assert 'gradients are 0' in fitted(m, loss=lambda p,t: (p*0).mean())

def check_step_guard_cries_no_wolf(m):
    from fastai import optimizer as fo
    def moody(): return nn.Sequential(nn.Linear(4,6), nn.BatchNorm1d(6), nn.Dropout(.5), nn.Linear(6,1))
    momentum = partial(SGD, mom=.9, wd=.1)
    for opt_func in (SGD, momentum, Adam, BasicOptim, torch.optim.Adam, torch.optim.SGD, fo.SGD, fo.Adam):
        quietly(learner(model=moody, opt_func=opt_func).fit, 1, .01, cbs=m.StepGuard())
    frozen = learner()
    frozen.model[0].requires_grad_(False)
    quietly(frozen.fit, 1, cbs=m.StepGuard())
    def groups(model): return [list(o.parameters()) for o in (model[0], model[2])]
    quietly(learner(splitter=groups).fit, 1, [0.,.1], cbs=m.StepGuard()) # a rate of 0 is meant
    far = learner()
    with torch.no_grad(): far.model[2].bias.fill_(1e6)
    quietly(far.fit, 1, 1e-4, cbs=m.StepGuard()) # a step of 1e-4 from a million: rounded away

def check_step_guard_waits(m):
    "For the first step that is taken, at a rate above 0."
    def late(learn): learn.opt.param_groups[0]['lr'] = .1
    learn = learner(opt_func=Lazy)
    said = raised(RuntimeError, learn.fit, 1, 0., cbs=[m.StepGuard(), At('before_step', late, 3)])
    assert learn.train_iter==2 and 'with a gradient' in said
    quietly(learner().fit, 1, 0., cbs=[m.StepGuard(), At('before_step', late, 3)])
    quietly(learner().fit, 1, cbs=[m.StepGuard(), cancels(CancelStepException, 'before_step', order=99)])
    learn = learner(opt_func=Lazy)
    raised(RuntimeError, learn.fit, 1, cbs=[m.StepGuard(), cancels(CancelStepException, 'before_step', order=99)])
    assert learn.train_iter==1
    replaced = learner(cbs=m.StepGuard())
    replaced.fit(1)
    replaced.opt = SGD(list(two_layers().parameters()), .05)
    raised(RuntimeError, replaced.fit, 1) # it looks at each fit


# Gradients

def by_hand(step, n=3, lr=.05, bs=16, dtype=None, scaler=None):
    "A bare loop: the weights after `n` epochs; `step(model, opt)` takes a step."
    learn = learner(bs=bs)
    opt = torch.optim.SGD(learn.model.parameters(), lr)
    for _ in range(n):
        for xb,yb in learn.dls.train:
            with torch.autocast('cpu', dtype or torch.bfloat16, enabled=dtype is not None): p = learn.model(xb).float()
            loss = mse(p.float(), yb)
            (scaler.scale(loss) if scaler else loss).backward()
            step(learn.model, opt)
            opt.zero_grad()
    return weights(learn)

def check_clip(m):
    for max_norm,norm_type in ((.1,2.), (.1,math.inf), (1.,1.), (1e6,2.)):
        def step(model, opt):
            nn.utils.clip_grad_norm_(model.parameters(), max_norm, norm_type)
            opt.step()
        learn = learner()
        learn.fit(3, cbs=m.GradientClip(max_norm, norm_type))
        assert apart(weights(learn), by_hand(step))<1e-6
    learn,steps = learner(),[]
    before = [weights(learn)]
    def measure(learn):
        steps.append(apart_l2(before[0], now := weights(learn)))
        before[0] = now
    class Measures(Callback):
        def after_step(self): measure(self.learn)
    learn.fit(3, .5, cbs=[m.GradientClip(.01), Measures()])
    assert len(steps)==15 and max(steps)<.5*.01*1.001

def apart_l2(a, b): return (a-b).norm().item()

class CountSteps(Callback):
    steps = 0
    def after_step(self): self.steps += 1

def large_and_small(m, n, bs, n_acc, cbs=lambda: [], epochs=3, **kwargs):
    "Weights with batches of `n_acc`, and with portions of `bs`; and the steps that both took."
    res = []
    for size,more in ((n_acc, []), (bs, [m.GradientAccumulation(n_acc)])):
        learn,count = learner(x=x[:n], y=y[:n], bs=size, **kwargs),CountSteps()
        learn.fit(epochs, cbs=[*more, count, *cbs()])
        res += [weights(learn), count.steps]
    a,na,b,nb = res
    return apart(a, b),na,nb

def check_accumulation(m):
    for n,bs,n_acc in ((64,16,32), (64,16,64), (75,16,32), (70,8,32), (33,16,32), (75,25,75), (75,1,10), (40,16,100),
                       (64,16,16)):
        d,na,nb = large_and_small(m, n, bs, n_acc)
        assert d<1e-6 and na==nb, f'{n} items, {bs} for {n_acc}: they part by {d:.1e}, {na} and {nb} steps'
    for opt_func in (partial(SGD, mom=.9), torch.optim.Adam): # Adam makes mountains of rounding errors
        assert large_and_small(m, 75, 8, 32, opt_func=opt_func)[0]<(1e-6 if opt_func is not torch.optim.Adam else 1e-4)
    assert large_and_small(m, 75, 8, 32, lambda: [m.GradientClip(.05)])[0]<1e-6

def check_uneven_portions(m):
    "Batches of 10 for steps of 16 items: a step has 20, and each counts a twentieth."
    assert large_and_small(m, 60, 10, 20)[0]<1e-6
    learn,other = learner(x=x[:60], y=y[:60], bs=10),learner(x=x[:60], y=y[:60], bs=20)
    learn.fit(2, cbs=m.GradientAccumulation(16))
    other.fit(2)
    assert apart(weights(learn), weights(other))<1e-6

def summed(p, t): return (p-t).pow(2).sum()

def check_accumulation_of_sums(m):
    "A loss that sums up the items needs no weights, whatever it is written as."
    x1,y1 = x[:70],y[:70]
    for loss in (summed, nn.MSELoss(reduction='sum'), partial(F.mse_loss, reduction='sum')):
        learn,other = (learner(loss, x=x1, y=y1, bs=bs, lr=.001) for bs in (8,32))
        learn.fit(2, cbs=m.GradientAccumulation(32))
        other.fit(2)
        assert apart(weights(learn), weights(other))<1e-6
    def squared(p, t): return (p-t).pow(2).sum()**2
    assert 'neither a mean nor a sum' in raised(ValueError, learner(squared).fit, 1, cbs=m.GradientAccumulation(32))

def check_accumulation_records_portions(m):
    learn = learner(lr=0.)
    learn.fit(1, cbs=m.GradientAccumulation(48))
    other = learner(lr=0.)
    other.fit(1)
    assert [o.item() for o in learn.recorder.losses]==[o.item() for o in other.recorder.losses]

def check_accumulation_leaks_nothing(m):
    "Neither from an epoch that was cut short, nor from one fit into the next."
    def cut_short():
        learn = learner()
        learn.fit(2, cbs=[m.GradientAccumulation(32), cancels(CancelTrainException, 'after_batch', 3)])
        return weights(learn)
    learn,acc = learner(),m.GradientAccumulation(32)
    learn.fit(1, cbs=[acc, cancels(CancelEpochException, 'after_batch', 3)]) # one step, one portion left over
    learn.fit(1, cbs=acc)
    assert apart(weights(learn), cut_short())<1e-7
    left = learner()
    left.fit(1, cbs=[m.GradientAccumulation(32), cancels(CancelTrainException, 'after_batch', 3)])
    assert all(p.grad is None for p in left.model.parameters())
    first,rest = learner(x=x[:32], y=y[:32]),learner()
    first.fit(1, cbs=m.GradientAccumulation(32))
    rest.model.load_state_dict(first.model.state_dict())
    rest.fit(1, cbs=m.GradientAccumulation(32))
    assert apart(weights(rest), cut_short())<1e-6

def check_clip_waits_for_the_whole(m):
    "Clipping sees the gradient of a whole step, and only then."
    seen = []
    class Clips(m.GradientClip):
        def before_step(self):
            seen.append(self.iter)
            super().before_step()
    learner().fit(1, cbs=[Clips(.1), m.GradientAccumulation(32)])
    assert seen==[1,3,4]


# Mixed precision

def check_bfloat16(m):
    learn = learner(metrics=mse)
    learn.fit(3, cbs=m.MixedPrecision())
    d = apart(weights(learn), by_hand(lambda model,opt: opt.step(), dtype=torch.bfloat16))
    full = by_hand(lambda model,opt: opt.step())
    assert d<1e-6<1e-5<apart(weights(learn), full), f'{d:.1e} from a bare loop'
    assert {p.dtype for p in learn.model.parameters()}=={torch.float32} and learn.pred.dtype==torch.float32
    assert all(math.isfinite(o) for row in learn.recorder.values for o in row)
    assert torch.stack(learn.recorder.losses).dtype==torch.float32

def check_float16(m):
    "With a scaler, as in a bare loop with one; the scale grows and steps with infinite gradients are left out."
    scaler = torch.amp.GradScaler('cpu')
    def step(model, opt):
        scaler.step(opt)
        scaler.update()
    mixed,learn,count = m.MixedPrecision(torch.float16),learner(),CountSteps()
    quietly(learn.fit, 3, cbs=[mixed, count])
    assert apart(weights(learn), by_hand(step, dtype=torch.float16, scaler=scaler))<1e-6
    assert mixed.scaler.get_scale()==scaler.get_scale()
    cancelled = []
    class Hears(Callback):
        def after_cancel_step(self): cancelled.append(self.train_iter)
    def big(p, t): return mse(p, t)*1e4
    learn = learner(big)
    quietly(learn.fit, 1, 1e-8, cbs=[m.MixedPrecision(torch.float16), m.TerminateOnNaNCallback(), Hears()])
    assert cancelled and cancelled==list(range(len(cancelled))), 'the first steps overflow, and are called off'
    assert weights(learn).isfinite().all()

def check_mixed_with_the_others(m):
    "Clipping and accumulation see true gradients, not scaled ones."
    for dtype in (torch.bfloat16,torch.float16):
        a,b = learner(),learner(bs=32)
        a.fit(3, cbs=[m.MixedPrecision(dtype), m.GradientClip(.1), m.GradientAccumulation(32), m.StepGuard()])
        b.fit(3, cbs=[m.GradientClip(.1)])
        assert apart(weights(a), weights(b))<5e-3
    for e,at in ((CancelStepException,'before_step'), (CancelBackwardException,'before_backward'),
                 (CancelBatchException,'after_loss')):
        quietly(learner().fit, 1, cbs=[m.MixedPrecision(torch.float16), cancels(e, at, 2)])

class NotesDtype(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer,self.heard = nn.Linear(4,1),[]
    def forward(self, x):
        h = self.layer(x)
        self.heard.append(h.dtype)
        if len(x)==11 and self.training: raise KeyError('the last batch')
        return h

def check_mixed_is_undone(m):
    def ends(learn):
        heard = learn.model.heard
        del heard[:]
        assert 'forward' not in vars(learn.model) and not torch.is_autocast_enabled('cpu')
        learn.predict = None
        learn.model(x[:1])
        assert heard==[torch.float32]
    learn = learner(model=NotesDtype)
    raised(KeyError, learn.fit, 1, cbs=m.MixedPrecision())
    assert set(learn.model.heard)=={torch.bfloat16}
    ends(learn)
    learn = learner(model=NotesDtype, bs=25, cbs=m.MixedPrecision())
    class Looks(Callback):
        def after_batch(self):
            if self.training and self.iter==0: self.learn.validate()
    quietly(learn.fit, 2, cbs=Looks())
    assert set(learn.model.heard)=={torch.bfloat16}, 'a validation in mid-fit switches it off'
    ends(learn)

def check_mixed_in_validation(m):
    learn = learner(model=NotesDtype, bs=25, cbs=m.MixedPrecision())
    learn.validate()
    p,t = learn.get_preds()
    assert set(learn.model.heard)=={torch.bfloat16} and p.dtype==torch.float32
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad(): want = learn.model(x[:20]).float()
    assert torch.equal(p, want)
    with torch.no_grad(): assert not torch.equal(p, learn.model(x[:20]))

def check_mixed_nested_outputs(m):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a,self.b = nn.Linear(4,1),nn.Linear(4,1)
        def forward(self, x): return {'a': self.a(x), 'more': [self.b(x), x.long()]}
    kinds = []
    def loss(p, t):
        kinds.append((p['a'].dtype, p['more'][0].dtype, p['more'][1].dtype))
        return mse(p['a'], t)+mse(p['more'][0], t)
    quietly(learner(loss, Two).fit, 1, cbs=m.MixedPrecision())
    assert set(kinds)=={(torch.float32,torch.float32,torch.int64)}


Mutant = namedtuple('Mutant', 'what check old new')
mutants = [Mutant(*o) for o in [
    ('the start is drawn', check_plot_loss, 'losses[skip_start:]', 'losses[:len(losses)-skip_start]'),
    ('valid losses at the wrong place', check_plot_loss, 'points = [(it,row[1])', 'points = [(it-1,row[1])'),
    ('the training loss is drawn twice', check_plot_loss, 'points = [(it,row[1])', 'points = [(it,row[0])'),
    ('nothing to draw is no error', check_plot_loss, 'if len(losses)<=skip_start:', 'if False:'),
    ('short rows are drawn', check_plots_leave_gaps, 'if len(row)==len(rec.metric_names)-2 and None not in row:', 'if True:'),
    ('the neighbour of a metric', check_plot_metrics, 'panels[name] = [c]', 'panels[name] = [c-1]'),
    ('nan passes', check_nan_comes_before_the_step, 't.isfinite().all() for t', '(~t.isinf()).all() for t'),
    ('inf passes', check_nan_comes_before_the_step, 't.isfinite().all() for t', '(~t.isnan()).all() for t'),
    ('weights are blamed for all', check_nan, 'if not _finite(self.model.parameters())', 'if True'),
    ('looks after the batch', check_nan_comes_before_the_step,
     'def after_loss(self):\n        if self.fitting and', 'def after_batch(self):\n        if self.fitting and'),
    ('blames the rate', check_nan_comes_before_the_step, '_finite(self.xb+self.yb)', '_finite([])'),
    ('gradients are not looked at', check_nan_sees_gradients, 'if bad: self._stop', 'if False: self._stop'),
    ('measuring is forbidden', check_nan_in_validation, 'if self.fitting and self.yb', 'if self.yb'),
    ('equal shapes only', check_shape_rule,
     'if targ.is_floating_point()', 'return False\n    if targ.is_floating_point()'),
    ('floats are classes', check_shape_rule, 'targ.is_floating_point() or ', ''),
    ('one column is enough', check_shape_rule, 'p[axis]>1 and', 'True and'),
    ('classes come last', check_shape_rule, 'in {min(1, len(t)), len(t)}', 'in {len(t)}'),
    ('classes come second', check_shape_rule, 'in {min(1, len(t)), len(t)}', 'in {min(1, len(t))}'),
    ('classes anywhere', check_shape_rule, 'in {min(1, len(t)), len(t)}', 'in range(len(p))'),
    ('shapes are not compared', check_shape_guard, 'or self.check(pred, targ): return', 'or True: return'),
    ('looks at the first batch only', check_shape_guard, 'or self.check(pred, targ): return',
     'or self.iter or self.check(pred, targ): return'),
    ('looks at training only', check_shape_guard, 'order = 1', 'order,run_valid = 1,False'),
    ('several targets are compared', check_shape_guard_cries_no_wolf, 'len(self.yb)!=1', 'not self.yb'),
    ('a loss of any shape', check_shape_guard_wants_a_number, 'if self.loss.ndim:', 'if False:'),
    ('prints every batch', check_shape_guard_prints_once, 'if self.training: self.to_print = False', ''),
    ('prints in the first fit only', check_shape_guard_prints_once, 'if self.fitting: self.to_print = self.verbose',
     "if self.fitting and not hasattr(self, 'was'): self.to_print,self.was = self.verbose,True"),
    ('one that moves is enough', check_step_guard, 'if not bad: return', 'if len(stuck)<n: return'),
    ('only looks whether it is in the optimizer', check_step_guard, 'return _ignored if', 'return None if'),
    ('missing gradients are fine', check_step_guard_sees_missing_gradients, 'return _apart\n', 'return None\n'),
    ('nothing is allowed', check_step_guard_sees_missing_gradients, 'not name.startswith(self.allow)', 'True'),
    ('all zeros are fine', check_step_guard_sees_missing_gradients, 'if len(stuck)==n and', 'if False and'),
    ('a loss without gradient is left to PyTorch', check_step_guard_sees_missing_gradients,
     'self.waiting and (not self.loss_grad.requires_grad)', 'False'),
    ('frozen parameters count', check_step_guard_cries_no_wolf, 'if p.requires_grad]', ']'),
    ('rounding is forgotten', check_step_guard_cries_no_wolf, '*p.detach().abs()', '*0'),
    ('a rate of 0 is a fault', check_step_guard_waits, 'if lrs and not any(lrs.values()): return', ''),
    ('a cancelled step counts', check_step_guard_waits, 'def after_cancel_step(self): self.old = None', ''),
    ('looks once in its life', check_step_guard_waits, 'if self.fitting: self.waiting,self.old = True,None',
     "if not hasattr(self, 'was'): self.was,self.waiting,self.old = 1,True,None"),
    ('the kind of norm is forgotten', check_clip, 'self.max_norm, self.norm_type)', 'self.max_norm)'),
    ('clips each number', check_clip,
     'nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm, self.norm_type)',
     'nn.utils.clip_grad_value_(self.model.parameters(), self.max_norm)'),
    ('clips after the step', check_clip, 'def before_step(self): nn.utils', 'def after_step(self): nn.utils'),
    ('never skips', check_accumulation, 'if self.count<self.n_acc and', 'if False and'),
    ('gradients are summed up', check_accumulation, 'self.loss_grad*(weight/self.n_acc)', 'self.loss_grad'),
    ('no step for what is left', check_accumulation, ' and self.iter+1<self.n_iter', ''),
    ('batches count the same', check_accumulation, 'self.loss_grad*(weight/self.n_acc)',
     'self.loss_grad*(self.dl.batch_size/self.n_acc)'),
    ('skips the step only', check_accumulation, 'raise CancelBatchException', 'raise CancelStepException'),
    ('divides by n_acc whatever came', check_uneven_portions, 'p.grad.mul_(self.n_acc/self.weight)', 'pass'),
    ('sums are weighted', check_accumulation_of_sums, 'if not self.sums: self.learn', 'if True: self.learn'),
    ('leftovers of sums are weighted', check_accumulation_of_sums, '(not self.sums):', 'True:'),
    ('the scaled loss is recorded', check_accumulation_records_portions, 'self.learn.loss_grad = self.loss_grad*(weight',
     'self.learn.loss = self.learn.loss_grad = self.loss_grad*(weight'),
    ('the count is carried over', check_accumulation_leaks_nothing,
     'def before_train(self):\n        self.count = self.weight = 0\n', 'def before_train(self):\n'),
    ('gradients are carried over', check_accumulation_leaks_nothing,
     'self.opt.zero_grad()', 'pass'),
    ('clips portions', check_clip_waits_for_the_whole, 'order,run_valid = 11,False', 'order,run_valid = 5,False'),
    ('in full', check_bfloat16, 'with torch.autocast(device, dtype):', 'if True:'),
    ('predictions stay short', check_bfloat16, 'o.float() if o.dtype', 'o if o.dtype'),
    ('no scaler', check_float16, 'enabled=dtype==torch.float16', 'enabled=False'),
    ('the scale never changes', check_float16, 'self.scaler.update()', 'pass'),
    ('overflowing steps are taken', check_float16, 'if self.skipped: raise CancelStepException', ''),
    ('clips scaled gradients', check_mixed_with_the_others, 'order,run_valid = 11,False', 'order,run_valid = 9,False'),
    ('asks for gradients that are not there', check_mixed_with_the_others,
     'if all(p.grad is None for p in self.model.parameters()): return', 'if False: return'),
    ('updates what was not asked', check_mixed_with_the_others, 'if self.skipped is not None: self', 'self'),
    ('stays wrapped', check_mixed_is_undone, 'self.on_exit.callback(lambda: setattr', '(lambda: setattr'),
    ('unwraps all', check_mixed_is_undone, "setattr(model, 'forward', forward) if wrapped else delattr", 'delattr'),
    ('training only', check_mixed_in_validation, 'model, forward, wrapped = (self.model',
     'if not self.fitting: return\n        model, forward, wrapped = (self.model'),
    ('flat outputs only', check_mixed_nested_outputs, 'if isinstance(o, dict): return', 'if False: return'),
    ('whole numbers become floats', check_mixed_nested_outputs, 'o.dtype in (torch.float16,torch.bfloat16)', 'True'),
]]
checks = list(dict.fromkeys(m.check for m in mutants)) + [check_mixed_nested_outputs]

def test_every_check_has_a_mutant():
    here = [f for k,f in globals().items() if k.startswith('check_')]
    assert set(here)=={m.check for m in mutants} and len({m.what for m in mutants})==len(mutants)

@pytest.mark.parametrize('check', dict.fromkeys(checks), ids=lambda f: f.__name__)
def test_ours(check):
    import matplotlib.pyplot as plt
    m = types.SimpleNamespace(**{k: getattr(callbacks, k) for k in callbacks.__all__}, plot_loss=Recorder.plot_loss,
                              plot_metrics=Recorder.plot_metrics)
    check(m)
    plt.close('all')

@pytest.mark.parametrize('o', mutants, ids=lambda o: o.what.replace(' ', '_'))
def test_a_mutant_is_noticed(o):
    import matplotlib.pyplot as plt
    with mutant('callbacks', o.old, o.new) as m:
        m.plot_loss,m.plot_metrics = Recorder.plot_loss,Recorder.plot_metrics
        with pytest.raises(AssertionError): o.check(m)
    plt.close('all')

def test_who_keeps_something_never_sees_a_search_a_validation_or_predictions(tmp_path):
    import digits_fastai.training.inspection as inspection
    import digits_fastai.training.lr_find # noqa: F401 hangs on
    from digits_fastai.training import checkpoints,stopping,tracking
    class Counts(callbacks.RealFitCallback):
        seen = 0
        def after_batch(self): self.seen += 1
        def after_epoch(self): self.seen += 1
    class Measures(Callback):
        order = 70
        def after_epoch(self):
            if self.learn.fitting and self.learn.epoch==0:
                self.learn.validate()
                self.learn.get_preds()
    def state(keepers):
        return [{k: v for k,v in vars(cb).items() if k not in ('learn','hooks')} for cb in keepers]
    seen = []
    for more in ([], [Measures()]):
        tmp = tmp_path/f'{len(more)}'
        keepers = [Counts(), stopping.TrackerCallback(), stopping.EarlyStoppingCallback(patience=9),
                   stopping.SaveModelCallback(fname=tmp/'best'), tracking.CSVLogger(tmp/'log.csv'),
                   checkpoints.Checkpoint(tmp/'state'), inspection.ActivationStats(with_hist=False)]
        learn = learner(cbs=[*keepers, *more], opt_func=SGD)
        learn.fit(2)
        was = repr(state(keepers))
        files = {o.name: o.read_bytes() for o in tmp.iterdir()}
        learn.validate()
        learn.get_preds()
        learn.lr_find(num_it=30, show_plot=False, suggest_funcs=None)
        assert repr(state(keepers))==was and {o.name: o.read_bytes() for o in tmp.iterdir()}==files
        assert all(cb.run for cb in keepers)
        seen.append((keepers[0].seen, keepers[1].best, keepers[-1].stats, keepers[4].read_log().drop(columns='time').to_dict()))
    assert seen[0]==seen[1] and seen[0][0]==2*(5+3+1)

def test_a_search_ends_although_something_terminates_on_nan():
    import digits_fastai.training.lr_find # noqa: F401 hangs on
    learn = learner(cbs=callbacks.TerminateOnNaNCallback())
    before = weights(learn)
    assert printed(learn.lr_find, end_lr=1e20, num_it=30, stop_div=False, show_plot=False, suggest_funcs=None)==''
    assert torch.equal(weights(learn), before)

def test_terminating_leaves_the_record_that_fastais_leaves():
    from fastai import learner as fl,optimizer as fo
    from fastai.callback.tracker import TerminateOnNaNCallback
    from fastai.data.core import DataLoaders as FastaiDLs
    ours = learner(opt_func=SGD)
    printed(ours.fit, 3, 50., cbs=callbacks.TerminateOnNaNCallback())
    torch.manual_seed(0)
    theirs = fl.Learner(FastaiDLs(*ours.dls.loaders), two_layers(), loss_func=mse, opt_func=fo.SGD, cbs=TerminateOnNaNCallback())
    with theirs.no_logging(): theirs.fit(3, 50.)
    assert len(ours.recorder.losses)==len(theirs.recorder.losses)<15 and len(ours.recorder.values)==len(theirs.recorder.values)

@pytest.mark.parametrize('mode,dtype', [('bf16',torch.bfloat16), ('fp16',torch.float16), (torch.bfloat16,torch.bfloat16), (None,None)])
def test_precision_by_fastais_names(mode, dtype): assert callbacks.MixedPrecision(mode).dtype==dtype

def test_precision_on_and_off():
    from fastai.callback.fp16 import AMPMode
    assert callbacks.MixedPrecision(AMPMode.BF16).dtype==torch.bfloat16
    with pytest.raises(ValueError, match="'bf16' or 'fp16'"): callbacks.MixedPrecision('fp8')
    learn = learner()
    assert learn.to_bf16() is learn and learn.mixed_precision.dtype==torch.bfloat16
    assert not hasattr(learn.to_fp32(), 'mixed_precision')
    assert learn.to_fp16(init_scale=4.).mixed_precision.kwargs=={'init_scale': 4.}

def test_mixed_precision_does_what_fastais_does():
    from unittest import mock
    from fastai import learner as fl,optimizer as fo
    from fastai.callback import fp16
    from fastai.data.core import DataLoaders as FastaiDLs
    ours = learner()
    ours.fit(3, cbs=callbacks.MixedPrecision(torch.bfloat16))
    torch.manual_seed(0)
    with mock.patch.object(fp16, 'autocast', lambda device, dtype: torch.autocast('cpu', dtype)): # theirs says 'cuda'
        theirs = fl.Learner(FastaiDLs(*ours.dls.loaders), two_layers(), loss_func=mse, opt_func=fo.SGD,
                            cbs=fp16.MixedPrecision('bf16'))
        with theirs.no_logging(): theirs.fit(3, .05)
    assert apart(weights(ours), weights(theirs))<1e-6


# What the Learner says itself, and what callbacks may rely on

def test_the_order_of_a_step():
    kinds = [getattr(callbacks, k) for k in callbacks.__all__ if isinstance(getattr(callbacks, k), type)]
    for order in (kinds, kinds[::-1]):
        learn = learner(cbs=[kind() for kind in order])
        assert [type(cb).__name__ for cb,_ in learn._listeners['before_step']]==[
            'GradientAccumulation','MixedPrecision','GradientClip','TerminateOnNaNCallback','StepGuard']
    with redirect_stdout(io.StringIO()): learn.fit(2)
    assert learn.recorder.values[-1][1]<learn.recorder.values[0][1]

def test_equals_come_in_the_order_they_were_added_and_go_after_the_fit():
    seen = []
    class A(Callback):
        def before_fit(self): seen.append(type(self).__name__)
    class B(A): pass
    class First(A): order = -1
    learn = learner(cbs=[B(), A()])
    learn.fit(1, cbs=First())
    assert seen==['First','B','A'] and len(learn.cbs)==5
    learn.remove_cbs(B)
    learn.fit(1)
    assert seen==['First','B','A','A'] and not hasattr(learn, 'b')

def test_metrics_of_one_class_are_told_apart_by_name_or_refused():
    class Within(AvgMetric):
        def __init__(self, eps): self.eps = eps
        name = property(lambda self: f'within_{self.eps}')
        def accumulate(self, learn):
            self.add(((learn.pred-learn.yb[0]).abs()<self.eps).float().mean(), len(learn.yb[0]))
    learn = learner(metrics=[Within(.1), Within(10.)])
    learn.fit(1)
    assert learn.recorder.metric_names[3:5]==['within_0.1','within_10.0']
    assert learn.recorder.values[0][2]<learn.recorder.values[0][3]==1.
    for twice in ([Within(1.),Within(1.)], [lambda p,t: p.mean(), lambda p,t: t.mean()], [partial(mse),mse]):
        with pytest.raises(ValueError, match='two have one name'): learner(metrics=twice)

def test_a_nested_batch_goes_to_the_model_and_its_device():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4,1)
        def forward(self, b): return self.layer(b['x']) + b['more'][0]
    batches = [({'x': x, 'more': [y, 'a name']}, y)]
    learn = learner(model=Reads)
    learn.dls = DataLoaders(batches, batches)
    learn.fit(1)
    assert len(learn.recorder.values)==1
    learn.model.to('meta') # a second device that every machine has
    seen = []
    class Looks(Callback):
        def before_batch(self):
            b = self.xb[0]
            seen.extend([b['x'].device.type, b['more'][0].device.type, b['more'][1], self.yb[0].device.type])
            raise CancelFitException
    learn.fit(1, cbs=Looks())
    assert seen==['meta','meta','a name','meta']

def test_a_model_without_anything_to_train_is_refused_with_advice():
    frozen = learner()
    frozen.model.requires_grad_(False)
    with pytest.raises(ValueError, match='is all of it frozen.*requires_grad_'): frozen.fit(1)
    frozen.model[2].requires_grad_(True)
    frozen.fit(1, cbs=callbacks.StepGuard())


# Bars, in a terminal, a file, a notebook

fits = '''
import sys,torch
from torch import nn
from digits_fastai.dataloaders import DataLoader,DataLoaders,Dataset
from digits_fastai.learner import Learner
from digits_fastai.losses import mse
from digits_fastai.optimizer import SGD
torch.manual_seed(0)
x = torch.randn(60,4)
dls = DataLoaders(*(DataLoader(Dataset(x, x[:,:1]), 8) for _ in range(2)))
learn = Learner(dls, nn.Linear(4,1), mse, opt_func=SGD, metrics=lambda p,t: (p-t).abs().mean())
def fit(learn=learn):
    torch.manual_seed(0)
    learn.model.reset_parameters()
    learn.fit(3, .1)
'''
on_paper = fits + '''
fit()
print('--')
with learn.no_bar(): fit()
'''

def rows(text):
    "The table on a screen, without the column of times: of a line that was written over, what was written last."
    screen = [o.rstrip('\r').split('\r')[-1].split() for o in text.replace('\r\n', '\n').split('\n')]
    return [o[:-1] for o in screen if o and o[0] in ('epoch','0','1','2')]

def in_a_file(code, tmp_path):
    with open(tmp_path/'out.txt', 'w') as f: subprocess.run([python, '-c', code], stdout=f, check=True, timeout=60)
    return (tmp_path/'out.txt').read_text()

def plain(text): return not any(o in text for o in '\r\x1b\x08█')

@pytest.mark.skipif(sys.platform=='win32', reason='terminals are another matter on Windows')
def test_a_bar_in_a_terminal_and_none_in_a_file(tmp_path):
    filed,shown = in_a_file(on_paper, tmp_path),in_a_terminal(python, '-c', on_paper)
    assert plain(filed) and [len(o) for o in rows(filed)]==[4]*8
    bars,quiet = shown.replace('\r\n', '\n').split('--\n')
    assert not plain(bars) and 'Epoch 1/3' in bars and 'Epoch 3/3' in bars and '100.00% [8/8' in bars
    assert plain(quiet)
    assert rows(bars)==rows(quiet)==rows(filed)[:4]==rows(filed)[4:]

in_a_notebook = [fits, 'fit()', 'with learn.no_bar(): fit()', '''
from digits_fastai.events import ProgressCallback
class LeavesDebris(ProgressCallback):
    def after_fit(self): pass
debris = Learner(dls, nn.Linear(4,1), mse, opt_func=SGD, metrics=learn.metrics)
debris.remove_cbs(ProgressCallback).add_cbs(LeavesDebris)
fit(debris)
''']

def test_a_saved_notebook_keeps_the_table_and_no_bar(tmp_path):
    nbclient,nbformat = pytest.importorskip('nbclient'),pytest.importorskip('nbformat')
    pytest.importorskip('ipykernel')
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    km = AsyncKernelManager()
    km._kernel_spec = KernelSpec(argv=[python, '-m', 'ipykernel_launcher', '-f', '{connection_file}'],
                                 language='python') # this Python, whatever kernels are installed
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(o) for o in in_a_notebook])
    nbclient.NotebookClient(nb, km=km, timeout=60, resources={'metadata': {'path': str(tmp_path)}}).execute()
    def looks(o): return ''.join(o.get('data', {}).get('text/html', '')) or ''.join(o.get('text', ''))
    cells = json.loads(nbformat.v4.writes(nb))['cells']
    _,drawn,printed,debris = ['\n'.join(map(looks, c['outputs'])) for c in cells]
    assert not [o for c in cells for o in c['outputs'] if o.get('name')=='stderr' or o['output_type']=='error']
    assert '<progress' not in drawn and plain(drawn)
    assert drawn.count('<tr>')==4 and all(f'<th>{o}</th>' in drawn for o in ('epoch','train_loss','valid_loss','time'))
    assert '<' not in printed.replace('<lambda>', '') and plain(printed) and [len(o) for o in rows(printed)]==[4]*4
    assert '<progress' in debris, 'this one leaves its bar: a look at the saved notebook must show it'


# Ctrl-C

interrupted = '''
import json,threading,time
from contextlib import nullcontext
import torch
from torch import nn
import digits_fastai.learner as learner
from digits_fastai.dataloaders import DataLoaders
from digits_fastai.events import Callback
from digits_fastai.losses import mse
from digits_fastai.optimizer import SGD

torch.manual_seed(0)
x = torch.randn(16,4)
class Naps(Callback):
    "Says when it sleeps in the second batch of the second epoch, in the middle of the batch."
    def __init__(self, training, secs=2.): self.where,self.secs,self.begun,self.ended = training,secs,0,0
    def before_batch(self): self.begun += 1
    def after_batch(self): self.ended += 1
    def after_loss(self):
        if self.epoch==1 and self.iter==1 and self.training==self.where:
            print('asleep', flush=True)
            time.sleep(self.secs)

def one(training, f=None):
    naps = Naps(training)
    learn = learner.Learner(DataLoaders([(x,x[:,:1])]*4, [(x,x[:,:1])]*4), nn.Linear(4,1), mse, opt_func=SGD, lr=.1)
    learn.logger = lambda row: None
    heard = False
    try: (f or learn.fit)(*([learn, naps] if f else [3]), **({} if f else {'cbs': naps}))
    except KeyboardInterrupt: heard = True
    r,finite = learn.recorder,bool(learn.model.weight.isfinite().all())
    res = dict(heard=heard, cut=naps.begun-naps.ended, losses=len(r.losses), rows=len(r.values), finite=finite,
               fitting=learn.fitting)
    learn.validate() # was not meant
    learn.fit(1)
    print(json.dumps({**res, 'again': len(learn.recorder.values)}), flush=True)

def in_a_thread(learn, naps):
    done = threading.Event()
    def f():
        learn.fit(3, cbs=naps)
        done.set()
    try: # Ctrl-C may come while the thread is still being started
        threading.Thread(target=f).start()
        done.wait()
    finally: done.wait() # an interrupted join() takes the thread for finished

one(True)
one(False)
one(True, in_a_thread)
ours,learner.noting_interrupts = learner.noting_interrupts,nullcontext
one(True)
learner.noting_interrupts = ours
learn = learner.Learner(DataLoaders([(x,x[:,:1])]*4, [(x,x[:,:1])]*4), nn.Linear(4,1), mse)
learn.logger = lambda row: None
learn.fit(2, cbs=Naps(True, 30))
'''

def stage(p):
    "Waits until the batch sleeps, presses Ctrl-C, and returns what the process says of it."
    assert p.stdout.readline()=='asleep\n', p.stderr.read()
    p.send_signal(signal.SIGINT)
    return json.loads(p.stdout.readline())

@pytest.mark.skipif(sys.platform=='win32', reason='signals are another matter on Windows')
def test_ctrl_c_ends_the_fit_after_a_whole_batch_and_another_one_at_once():
    p = subprocess.Popen([python, '-c', interrupted], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        usual = dict(heard=True, cut=0, rows=1, finite=True, fitting=False, again=1)
        assert stage(p)=={**usual, 'losses': 6} # in training
        assert stage(p)=={**usual, 'losses': 8} # in validation
        assert stage(p)=={**usual, 'losses': 12, 'rows': 3} # a fit in another thread goes on to its end
        assert stage(p)=={**usual, 'losses': 5, 'cut': 1} # without the note: the batch is cut in two
        assert p.stdout.readline()=='asleep\n'
        began = time.monotonic()
        p.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired): p.wait(.5) # the first one waits for the batch
        p.send_signal(signal.SIGINT)
        assert 'KeyboardInterrupt' in p.communicate(timeout=20)[1] and time.monotonic()-began<20
    finally: p.kill()
