"What people do with the chapter, on fastai's names and on ours: the same call, an equal result. Where not, the row says why."
import contextlib
import io
import random
import re
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader as TorchDL, TensorDataset

import digits_fastai.all as ours

warnings.filterwarnings('ignore', 'You are shadowing')
theirs = pytest.importorskip('fastai.vision.all')

g = torch.Generator().manual_seed(0)
x = torch.randn(48,4, generator=g)
y = (x[:,0]>0).long()
yes = y[:,None].float()
one_hot = F.one_hot(y, 2).float()
pairs = list(zip(x, y))


def net(n_out=2):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4,6), nn.ReLU(), nn.Linear(6,n_out))

def binary(l): return l.DataLoaders(l.DataLoader(list(zip(x, yes)), bs=8), l.DataLoader(list(zip(x[:16], yes[:16])), bs=8))
def loaders(l, **kwargs): return l.DataLoaders(l.DataLoader(pairs, bs=8, **kwargs), l.DataLoader(pairs[:20], bs=8))

def learner(l, *args, dls=None, model=None, loss_func=nn.CrossEntropyLoss(), **kwargs):
    random.seed(0)
    np.random.seed(0)
    model = model or net()
    torch.manual_seed(2)
    return l.Learner(dls or loaders(l), model, loss_func, *args, **kwargs)

def quiet(f, *args, **kwargs):
    with contextlib.redirect_stdout(io.StringIO()): return f(*args, **kwargs)

def fitted(l, *args, fit=(2,), how='fit', **kwargs):
    learn = learner(l, *args, **kwargs)
    with learn.no_bar(), learn.no_logging(): quiet(getattr(learn, how), *fit)
    return learn

def record(learn): return [list(o) for o in learn.recorder.values]
def weights(learn): return [p.detach() for p in learn.model.parameters()]
def outcome(l, *args, **kwargs):
    learn = fitted(l, *args, **kwargs)
    return weights(learn), record(learn)

def mean_error(preds, targs): return (preds-targs).abs().mean()
def sigmoid_loss(preds, targs): return torch.where(targs==1, 1-preds.sigmoid(), preds.sigmoid()).mean()

class Watch:
    "What a callback reads, made a callback of either library."
    def __init__(self): self.seen = []
    def before_fit(self): self.seen.append(('before_fit', self.n_epoch, len(self.dls.train), self.training))
    def after_batch(self): self.seen.append((self.epoch, self.iter, self.training, self.n_iter, round(self.pct_train, 4)))
    def after_epoch(self): self.seen.append(len(self.recorder.losses))

def watched(l):
    watch = type('Watching', (Watch,l.Callback), {})()
    fitted(l, opt_func=l.SGD, lr=.1, cbs=watch)
    return watch.seen

def changed_metrics(l):
    learn = fitted(l, opt_func=l.SGD, metrics=l.accuracy)
    learn.metrics = [l.accuracy, l.error_rate]
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    return list(learn.recorder.metric_names)[1:-1], record(learn)

def replaced_rate(l):
    learn = fitted(l, opt_func=l.SGD, fit=(1,.1))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, .01)
        learn.fit(1, slice(.1))
    return learn.opt.hypers[0]['lr'], weights(learn)

def stops(l, exception):
    def after_loss(self):
        if self.learn.training and self.learn.train_iter==3: raise getattr(l, exception)
    learn = fitted(l, opt_func=l.SGD, lr=.1, cbs=l.Callback(after_loss=after_loss))
    return len(learn.recorder.losses), weights(learn)

def steps(l, name, n=3, **kwargs):
    w = x[:2].clone().requires_grad_()
    opt = getattr(l, name)([w], **kwargs)
    for _ in range(n):
        (w**2).sum().backward()
        opt.step()
        opt.zero_grad()
    return w.detach()

def by_hand(l):
    model = net()
    opt = l.SGD(model.parameters(), .1)
    for xb,yb in l.DataLoader(pairs, bs=8):
        F.cross_entropy(model(xb), yb).backward()
        opt.step()
        opt.zero_grad()
    return [p.detach() for p in model.parameters()]

def gone_back(l):
    "Two Learners, the second with the weights of the first."
    a,b = fitted(l, opt_func=l.SGD),learner(l, opt_func=l.SGD)
    b.model.load_state_dict(a.model.state_dict())
    return list(b.validate())

def two_inputs(l):
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()
        def forward(self, a, b): return self.net(a+b)
    both = list(zip(x, x/2, y))
    dls = l.DataLoaders(l.DataLoader(both, bs=8), l.DataLoader(both[:20], bs=8))
    learn = fitted(l, opt_func=l.SGD, model=Sum(), dls=dls)
    return record(learn)

def straight_line(l):
    "Inputs and targets of one dimension, a model of two numbers."
    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.a,self.b = nn.Parameter(torch.ones(1)),nn.Parameter(torch.zeros(1))
        def forward(self, x): return self.a*x + self.b
    line = list(zip(x[:,0], 2*x[:,0]+1))
    dls = l.DataLoaders(l.DataLoader(line, bs=8), l.DataLoader(line[:20], bs=8))
    learn = fitted(l, opt_func=l.SGD, lr=.1, model=Line(), dls=dls, loss_func=nn.MSELoss(), metrics=mean_error)
    return record(learn), [o for o in learn.get_preds()]

def shown(l):
    learn = learner(l, opt_func=l.SGD, metrics=l.accuracy)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    return [type(o).__name__ for o in learn.cbs][:2], learn.n_epoch, learn.epoch, len(learn.recorder.lrs)

def groups(model): return [list(model[0].parameters()), list(model[2].parameters())]

def frozen(l):
    learn = learner(l, opt_func=l.SGD, lr=.1, splitter=groups)
    learn.freeze()
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    return weights(learn)

def preds(l, **kwargs): return [o for o in fitted(l, opt_func=l.SGD, lr=.1, loss_func=kwargs.pop('loss_func', l.CrossEntropyLossFlat())).get_preds(**kwargs)]
def attribute(name, **kwargs):
    def read(l):
        o = fitted(l, opt_func=l.SGD, **kwargs)
        for part in name.split('.'): o = getattr(o, part)
        return o
    return read

def callback_of(name, **kwargs): return lambda l: outcome(l, opt_func=l.SGD, lr=.1, metrics=l.accuracy, fit=(4,), cbs=getattr(l, name)(**kwargs))
def theirs_in_both(name, **kwargs): return lambda l: outcome(l, opt_func=l.SGD, lr=.1, fit=(4,), cbs=getattr(theirs, name)(**kwargs))
def their_metric(name, *args): return lambda l: outcome(l, opt_func=l.SGD, lr=.1, metrics=getattr(theirs, name)(*args))

same = {
    # the Learner's arguments
    'Adam unless another is named': lambda l: outcome(l),
    'a rate of its own': lambda l: outcome(l, lr=.01),
    'SGD by keyword': lambda l: outcome(l, opt_func=l.SGD, lr=.1),
    'optimizer and rate in order': lambda l: outcome(l, l.SGD, .1),
    'splitter third, callbacks fourth, metrics fifth': lambda l: outcome(l, l.SGD, .1, groups, None, l.accuracy),
    'a partial optimizer': lambda l: outcome(l, opt_func=partial(l.SGD, mom=.9), lr=.1),
    'a partial with a rate': lambda l: outcome(l, opt_func=partial(l.SGD, lr=.2)),
    'a lambda as optimizer': lambda l: outcome(l, opt_func=lambda ps, lr: l.SGD(ps, lr=lr, mom=.9), lr=.1),
    'RMSProp by its name': lambda l: outcome(l, opt_func=partial(l.Adam, sqr_mom=.9), lr=.01),
    'weight decay in the Learner': lambda l: outcome(l, opt_func=l.SGD, lr=.1, wd=.1),
    'weight decay, biases too': lambda l: outcome(l, opt_func=l.SGD, lr=.1, wd=.1, wd_bn_bias=True),
    'weight decay in Adam': lambda l: outcome(l, lr=.01, wd=.3),
    'path and model_dir': lambda l: [str(getattr(learner(l, opt_func=l.SGD, path='here'), o)) for o in ('path','model_dir')],
    'moms': lambda l: learner(l).moms,
    'no default callbacks': lambda l: len(learner(l, default_cbs=False).cbs),
    'no optimizer before the first fit': lambda l: learner(l).opt,
    # fitting
    'fit without a rate': lambda l: outcome(l, l.SGD, fit=(3,)),
    'fit with a rate': lambda l: outcome(l, l.SGD, fit=(2,.1)),
    'fit with a slice': lambda l: outcome(l, l.SGD, fit=(2,slice(.1))),
    'fit with a rate a group': lambda l: outcome(l, l.SGD, splitter=groups, fit=(2,slice(.01,.1))),
    'fit of no epoch': lambda l: outcome(l, l.SGD, fit=(0,)),
    'one cycle': lambda l: outcome(l, fit=(2,.01), how='fit_one_cycle'),
    'one cycle in its groups': lambda l: outcome(l, splitter=groups, fit=(2,slice(.001,.01)), how='fit_one_cycle'),
    'flat, then a cosine': lambda l: outcome(l, fit=(2,.01), how='fit_flat_cos'),
    'fine_tune': lambda l: outcome(l, splitter=groups, fit=(2,), how='fine_tune'),
    'frozen groups': frozen,
    'one fit after another': replaced_rate,
    'the loop by hand': by_hand,
    # loaders
    'a list of pairs': lambda l: [list(o.shape) for o in next(iter(l.DataLoader(pairs, bs=8)))],
    'batch_size for bs': lambda l: [list(o.shape) for o in next(iter(l.DataLoader(pairs, batch_size=8)))],
    'a list of numbers': lambda l: list(l.DataLoader(list(range(10)), bs=4)),
    'an L of pairs': lambda l: [list(o.shape) for o in next(iter(l.DataLoader(l.L(pairs), bs=8)))],
    'a TensorDataset': lambda l: list(l.DataLoader(TensorDataset(x, y), bs=20)),
    'the last batch dropped': lambda l: [len(o[0]) for o in l.DataLoader(pairs, bs=20, drop_last=True)],
    'how many batches': lambda l: (len(l.DataLoader(pairs, bs=7)), len(l.DataLoader(pairs, bs=7, drop_last=True))),
    'bs and n': lambda l: (l.DataLoader(pairs, bs=7).bs, l.DataLoader(pairs, bs=7).n),
    'the first batch': lambda l: list(l.first(l.DataLoader(pairs, bs=7))),
    'one_batch of a loader': lambda l: list(l.DataLoader(pairs, bs=7).one_batch()),
    'dls.train, dls[0], dls.loaders': lambda l: [len(o) for dls in [loaders(l)] for o in (dls.train, dls.valid, dls[0], dls[1], *dls.loaders)],
    'dls.train_ds and valid_ds': lambda l: (len(loaders(l).train_ds), len(loaders(l).valid_ds)),
    'PyTorch\'s loaders': lambda l: outcome(l, l.SGD, .1, dls=l.DataLoaders(TorchDL(pairs, batch_size=8), TorchDL(pairs, batch_size=8))),
    'one_batch of loaders': lambda l: list(loaders(l).one_batch()),
    'the book\'s loaders': lambda l: outcome(l, l.SGD, 1., dls=binary(l), model=net(1), loss_func=sigmoid_loss),
    # optimizers
    'SGD steps': lambda l: steps(l, 'SGD', lr=.1),
    'SGD with momentum': lambda l: steps(l, 'SGD', lr=.1, mom=.9),
    'SGD with decay': lambda l: steps(l, 'SGD', lr=.1, wd=.1),
    'Adam steps': lambda l: steps(l, 'Adam', lr=.1),
    'Adam with betas': lambda l: steps(l, 'Adam', lr=.1, mom=.8, sqr_mom=.95),
    'Adam with decay': lambda l: steps(l, 'Adam', lr=.1, wd=.1, eps=1e-3),
    'opt.hypers': lambda l: [o['lr'] for o in attribute('opt.hypers')(l)],
    'PyTorch\'s SGD': lambda l: outcome(l, partial(theirs.OptimWrapper, opt=torch.optim.SGD) if l is theirs else torch.optim.SGD, .1),
    'PyTorch\'s Adam': lambda l: outcome(l, partial(theirs.OptimWrapper, opt=torch.optim.Adam) if l is theirs else torch.optim.Adam, .01),
    # losses and metrics
    'F.cross_entropy': lambda l: outcome(l, l.SGD, .1, loss_func=F.cross_entropy),
    'nn.CrossEntropyLoss': lambda l: outcome(l, l.SGD, .1, loss_func=nn.CrossEntropyLoss()),
    'label smoothing': lambda l: outcome(l, l.SGD, .1, loss_func=nn.CrossEntropyLoss(label_smoothing=.1)),
    'CrossEntropyLossFlat': lambda l: outcome(l, l.SGD, .1, loss_func=l.CrossEntropyLossFlat()),
    'a loss of one\'s own': lambda l: outcome(l, l.SGD, .1, loss_func=lambda p, t: ((p.softmax(1)-F.one_hot(t, 2))**2).mean()),
    'accuracy': lambda l: outcome(l, l.SGD, .1, metrics=l.accuracy),
    'accuracy in a list': lambda l: outcome(l, l.SGD, .1, metrics=[l.accuracy, l.error_rate]),
    'a lambda as metric': lambda l: outcome(l, l.SGD, .1, metrics=lambda p, t: (p.argmax(1)==t).float().mean()),
    'a metric that gives a number': lambda l: outcome(l, l.SGD, .1, metrics=lambda p, t: (p.argmax(1)==t).float().mean().item()),
    'one-hot labels': lambda l: outcome(l, l.SGD, .1, loss_func=nn.BCEWithLogitsLoss(), dls=l.DataLoaders(*(l.DataLoader(list(zip(x, one_hot)), bs=8) for _ in '12'))),
    'metrics set afterwards': changed_metrics,
    'F1Score': their_metric('F1Score'),
    'Perplexity': their_metric('Perplexity'),
    'a scikit-learn score': their_metric('Recall'),
    'fastai\'s accuracy': lambda l: outcome(l, l.SGD, .1, metrics=theirs.accuracy),
    'fastai\'s AccumMetric': lambda l: outcome(l, l.SGD, .1, metrics=theirs.AccumMetric(lambda p, t: (p.argmax(1)==t).float().mean(), flatten=False)),
    # callbacks
    'what a callback reads': watched,
    'a function for an event': lambda l: stops(l, 'CancelFitException'),
    'a batch called off': lambda l: stops(l, 'CancelBatchException'),
    'an epoch called off': lambda l: stops(l, 'CancelEpochException'),
    'training called off': lambda l: stops(l, 'CancelTrainException'),
    'a callback\'s name': lambda l: type('CountsStepsCallback', (l.Callback,), {})().name,
    'its event by hand': lambda l: l.Callback(after_fit=lambda self: 'done')('after_fit'),
    'GradientClip': callback_of('GradientClip', max_norm=.1),
    'TerminateOnNaN, fastai\'s': theirs_in_both('TerminateOnNaNCallback'),
    'early stopping, fastai\'s': theirs_in_both('EarlyStoppingCallback', min_delta=10, patience=1),
    'slower on a plateau, fastai\'s': theirs_in_both('ReduceLROnPlateau', min_delta=10, patience=0),
    'accumulation, fastai\'s': theirs_in_both('GradientAccumulation', n_acc=16),
    'MixUp, fastai\'s': lambda l: outcome(l, l.SGD, .1, dls=l.DataLoaders(*loaders(ours).loaders), # whose dice are thrown alike
                                          loss_func=l.CrossEntropyLossFlat(), cbs=theirs.MixUp()),
    'a schedule, fastai\'s': lambda l: outcome(l, l.SGD, .1, cbs=theirs.ParamScheduler({'lr': theirs.SchedLin(.1, .01)})),
    # what is left after the fit
    'n_epoch, epoch and rates': shown,
    'recorder.losses': lambda l: [o.item() for o in attribute('recorder.losses')(l)],
    'recorder.lrs': attribute('recorder.lrs'),
    'recorder.metric_names': lambda l: list(attribute('recorder.metric_names')(l)),
    'learn.parameters': lambda l: [o.detach() for o in fitted(l, l.SGD).parameters()],
    'learn.loss': lambda l: fitted(l, l.SGD).recorder.smooth_loss.value,
    'validate': lambda l: list(fitted(l, l.SGD, metrics=l.accuracy).validate()),
    'validate another loader': lambda l: list(fitted(l, l.SGD).validate(dl=l.DataLoader(pairs[:9], bs=4))),
    'get_preds': preds,
    'get_preds of another loader': lambda l: preds(l, dl=l.DataLoader(pairs[:9], bs=4)),
    'get_preds with inputs': lambda l: preds(l, with_input=True),
    'get_preds with losses': lambda l: preds(l, with_loss=True),
    'get_preds with classes': lambda l: preds(l, with_decoded=True),
    'get_preds with all of it': lambda l: preds(l, with_input=True, with_decoded=True, with_loss=True),
    'get_preds with an activation': lambda l: preds(l, act=lambda o: o*2),
    'no activation where the loss has none': lambda l: preds(l, loss_func=lambda p, t: ((p-F.one_hot(t, 2))**2).mean()),
    'another Learner with these weights': gone_back,
    'loss_not_reduced': lambda l: learner(l).loss_func.reduction,
    'two inputs': two_inputs,
    'one dimension': straight_line,
}

differently = {
    'fit without a loss': (lambda l: l.Learner(loaders(l), net()),
        'ours is a ValueError that says so, where fastai has an AssertionError; both refuse', 'no loss was given'),
    'two metrics of one name': (lambda l: learner(l, metrics=[l.accuracy, l.accuracy]),
        'nobody could tell the columns apart', 'two have one name'),
    'fit(-1)': (lambda l: fitted(l, fit=(-1,)), 'no epoch is less than none', 'n_epoch=-1'),
    'a rate that is no number': (lambda l: fitted(l, fit=(1,float('nan'))), 'the model would be lost', 'lr=nan'),
    'a rate below zero': (lambda l: fitted(l, fit=(1,-.1)), 'it would train uphill', 'lr=-0.1'),
    'an empty training set': (lambda l: fitted(l, dls=l.DataLoaders(l.DataLoader([], bs=8), l.DataLoader(pairs, bs=8))),
        'fastai reports success', 'no batches'),
    'mnist_loss of [N,1] and [N]': (lambda l: ours.mnist_loss(net(1)(x), yes[:,0]),
        'the book\'s own function compares every prediction with every target', 'broadcast'),
    'a callback for two Learners': (lambda l: [learner(l, cbs=cb) for cb in [l.Callback()] for _ in '12'],
        'the first Learner would lose it', 'listens to another Learner'),
    'fastai\'s Recorder': (lambda l: learner(l, cbs=theirs.Recorder()), 'the Learner has its own', 'the Learner has its own'),
    'decay where there is none': (lambda l: fitted(l, opt_func=ours.BasicOptim, wd=.1), 'nothing would decay', 'no weight decay'),
}

def plain(o):
    "Tensors, L and NumPy as lists of numbers, for comparing."
    if isinstance(o, torch.Tensor): return plain(o.detach().as_subclass(torch.Tensor).tolist())
    if isinstance(o, (list,tuple,theirs.L)): return [plain(p) for p in o]
    if isinstance(o, (bool,str,type(None))): return o
    return float(o) if isinstance(o, (int,float,np.number)) else o

def differs(a, b):
    "Where two results part; None if they don't."
    if isinstance(a, list) and isinstance(b, list):
        if len(a)!=len(b): return f'{len(a)} and {len(b)} parts'
        return next((d for d in map(differs, a, b) if d), None)
    if isinstance(a, float) and isinstance(b, float): return None if abs(a-b)<=1e-5 or a!=a and b!=b else f'{a} and {b}'
    return None if a==b else f'{a} and {b}'

@pytest.mark.parametrize('what', same)
def test_what_fastai_does_ours_does(what):
    want,got = (plain(same[what](l)) for l in (theirs, ours))
    assert differs(want, got) is None

@pytest.mark.parametrize('what', differently)
def test_where_ours_refuses_it_says_why(what):
    f,why,said = differently[what]
    with pytest.raises((ValueError,TypeError), match=re.escape(said)): f(ours)
    assert why

def test_the_list_is_long_and_a_difference_is_seen():
    assert len(same)+len(differently)>=100
    a,b = (plain(outcome(ours, ours.SGD, lr)) for lr in (.1, .1001))
    assert differs(a, b) and differs(a, a[:1]) and not differs(a, a)
