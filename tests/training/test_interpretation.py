"What the notebooks do not show of interpretation and inspection: odd losses and models, and traces left behind."
import math,random,re
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader as TorchDL,SubsetRandomSampler

from digits_fastai.dataloaders import DataLoader,DataLoaders,Dataset
from digits_fastai.events import Callback,CancelBatchException,CancelEpochException,CancelFitException,events
from digits_fastai.training.inspection import ActivationStats,Hook,Hooks,ModelSummary,hook_outputs,working_layers,untouched
from digits_fastai.training.interpretation import ClassificationInterpretation,item_losses,labels_of,probabilities_and_classes
from digits_fastai.learner import Learner
from digits_fastai.losses import batch_accuracy,mnist_loss,mse
from digits_fastai.optimizer import SGD,Adam

g = torch.Generator().manual_seed(0)
x = torch.randn(90,16, generator=g)
y = torch.randint(5, (90,), generator=g)
vocab = list('abcde')


def learner(n=5, loss=F.cross_entropy, targets=y, model=None, cbs=None, shuffle=False, vocab=vocab, **kwargs):
    torch.manual_seed(0)
    train,valid = Dataset(x, targets),Dataset(x[:70], targets[:70])
    dls = DataLoaders(DataLoader(train, 16, shuffle=shuffle), DataLoader(valid, 16), vocab=vocab)
    learn = Learner(dls, model or nn.Linear(16,n), loss, cbs=cbs, **{'opt_func': SGD, **kwargs})
    learn.logger = lambda row: None
    return learn

def interp(**kwargs): return ClassificationInterpretation.from_learner(learner(**kwargs))

@pytest.fixture(autouse=True)
def no_figures():
    yield
    plt.close('all')


# One loss an item

raw = torch.randn(12,5, generator=g)
weight = torch.tensor([3.,1.,1.,.5,1.])

def branches(p, t):
    loss = F.cross_entropy(p, t)
    return loss*2 if loss>1.5 else loss

class NoSignature:
    "A loss that says nothing about itself."
    __signature__ = 'none'
    def __call__(self, p, t): return F.cross_entropy(p, t)

@pytest.mark.parametrize('loss', [F.cross_entropy, nn.CrossEntropyLoss(), partial(F.cross_entropy), NoSignature(),
                                  nn.CrossEntropyLoss(reduction='sum'), lambda p,t: F.cross_entropy(p, t)])
def test_the_losses_of_items_are_torchs(loss):
    was = getattr(loss, 'reduction', None)
    losses = item_losses(loss, raw, y[:12])
    assert (losses-F.cross_entropy(raw, y[:12], reduction='none')).abs().max()<=1e-6
    assert getattr(loss, 'reduction', None)==was and not losses.requires_grad

def test_weights_and_conditions_hold_for_each_item():
    want = F.cross_entropy(raw, y[:12], weight, reduction='none')
    for loss in (nn.CrossEntropyLoss(weight), partial(F.cross_entropy, weight=weight)):
        assert (item_losses(loss, raw, y[:12])-want).abs().max()<=1e-6
    plain = F.cross_entropy(raw, y[:12], reduction='none')
    assert (plain>1.5).any() and (plain<1.5).any()
    with pytest.warns(UserWarning, match='weights or leaves out'): losses = item_losses(branches, raw, y[:12])
    assert torch.allclose(losses, torch.where(plain>1.5, 2*plain, plain))

def test_several_losses_an_item_become_their_mean():
    p,t = torch.rand(4,3, generator=g),torch.rand(4,3, generator=g)
    for loss in (mse, nn.MSELoss(), F.mse_loss): assert torch.allclose(item_losses(loss, p, t), (p-t).pow(2).mean(1))

def test_a_loss_that_fails_gets_its_reduction_back():
    loss = nn.CrossEntropyLoss()
    with pytest.raises(Exception): item_losses(loss, raw, y[:3])
    assert loss.reduction=='mean'


# Interpretation

def fastais(learn, flat):
    "fastai's, of the same model and data."
    from fastai.data.core import DataLoaders as FastaiDLs
    from fastai.data.load import DataLoader as FastaiDL
    from fastai.data.transforms import CategoryMap
    from fastai.interpret import ClassificationInterpretation as Theirs
    from fastai.learner import Learner as FastaiLearner
    ds = learn.dls.valid_ds
    dl = FastaiDL([(ds.x[i],ds.y[i]) for i in range(70)], bs=16)
    dl.vocab = CategoryMap(learn.dls.vocab, sort=False)
    theirs = FastaiLearner(FastaiDLs(dl, dl), learn.model, loss_func=flat)
    theirs.remove_cbs([cb for cb in theirs.cbs if cb.name=='progress'])
    return Theirs.from_learner(theirs, dl=dl)

@pytest.mark.filterwarnings('ignore:You are shadowing')
@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('n', [2,5])
def test_interpretation_is_fastais(seed, n):
    from fastai.losses import CrossEntropyLossFlat
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(16,8), nn.BatchNorm1d(8), nn.Dropout(.5), nn.Linear(8,n))
    learn = learner(model=model, targets=y%n, vocab=vocab[:n])
    ours,theirs = ClassificationInterpretation.from_learner(learn),fastais(learn, CrossEntropyLossFlat())
    assert np.array_equal(ours.confusion_matrix(), theirs.confusion_matrix())
    for least in (1,2,5): assert ours.most_confused(least)==theirs.most_confused(least)
    for k,largest in ((None,True), (7,True), (7,False)):
        (a,i),(b,j) = ours.top_losses(k, largest),theirs.top_losses(k, largest)
        assert (a-b).abs().max()<=1e-6 and torch.equal(i, torch.as_tensor(j))

def test_one_output_has_two_classes():
    is_a = (y==0).float()[:,None]
    learn = learner(n=1, loss=mnist_loss, targets=is_a, vocab=['other','a'], metrics=batch_accuracy)
    res = ClassificationInterpretation.from_learner(learn)
    cm = res.confusion_matrix()
    assert cm.shape==(2,2) and cm.sum()==70 and abs(cm.trace()/70-learn.validate()[1])<1e-6
    p = learn.get_preds()[0].flatten()
    assert torch.allclose(res.preds, torch.stack([1-p,p], 1)) and res.targs.tolist()==is_a[:70,0].tolist()
    raw = torch.tensor([[0.],[1e-3],[-1e-3]])
    assert probabilities_and_classes(raw, torch.sigmoid)[1].tolist()==[0,1,0] # the border itself is no 'yes', as in batch_accuracy
    with pytest.raises(ValueError, match="set the loss's `activation`"): interp(n=1, loss=mse, targets=is_a)

def test_every_item_counts_and_nothing_changes():
    model = nn.Sequential(nn.Linear(16,8), nn.BatchNorm1d(8), nn.Dropout(.5), nn.Linear(8,5))
    learn = learner(model=model, shuffle=True)
    learn.dls.train = learn.dls.train.new(drop_last=True)
    learn.fit(1, .1)
    before = [o.clone() for o in model.state_dict().values()],torch.get_rng_state(),list(learn.recorder.values)
    res = ClassificationInterpretation.from_learner(learn, ds_idx=0)
    assert len(res.losses)==90 and torch.equal(res.inputs, x) and torch.equal(res.targs, y)
    assert all(torch.equal(a, b) for a,b in zip(before[0], model.state_dict().values()))
    assert torch.equal(before[1], torch.get_rng_state()) and before[2]==learn.recorder.values

def test_a_loader_that_shuffles_keeps_pictures_and_losses_together():
    learn = learner()
    res = ClassificationInterpretation.from_learner(learn, dl=TorchDL(list(zip(x, y)), batch_size=7, sampler=SubsetRandomSampler(range(90))))
    assert not torch.equal(res.inputs, x)
    again = F.cross_entropy(learn.model(res.inputs), res.targs, reduction='none')
    assert torch.allclose(res.losses, again, atol=1e-6)

def test_what_cannot_be_interpreted_says_so():
    with pytest.raises(ValueError, match='5 classes'): interp(vocab=['a','b'])
    learn = learner()
    with pytest.raises(ValueError, match='no targets'):
        ClassificationInterpretation.from_learner(learn, dl=TorchDL(x[:0]))
    res = interp(vocab=None)
    assert res.vocab==[0,1,2,3,4] and len(res.top_losses(1000)[0])==70

def test_pictures_and_report(capsys):
    res = interp()
    res.targs[res.targs==4] = 3 # a class without items
    ax = res.plot_confusion_matrix(normalize=True)
    shares = np.array([float(o.get_text()) for o in ax.texts]).reshape(5,5)
    assert np.allclose(shares.sum(1), [1,1,1,1,0], atol=.03)
    assert [o.get_text() for o in res.plot_confusion_matrix().texts]==[str(o) for o in res.confusion_matrix().flatten()]
    assert not res.plot_confusion_matrix(plot_txt=False).texts
    for k,nrows in ((1,None), (7,None), (6,3)):
        axs = res.plot_top_losses(k, nrows=nrows)
        assert len(axs)==k
        for ax,loss,i in zip(axs, *res.top_losses(k)):
            names,numbers = ax.get_title().split('\n')
            assert names==f'{vocab[res.decoded[i]]} / {vocab[res.targs[i]]}'
            assert numbers==f'{loss:.2f} / {res.preds[i].max():.2f}'
            assert np.array_equal(ax.images[0].get_array(), x[i].view(4,4).numpy())
    res.print_classification_report()
    said = capsys.readouterr().out
    assert all(re.search(rf'^\s+{o}\s+\d\.\d\d', said, re.M) for o in vocab)


# Hooks

def net(): return nn.Sequential(nn.Linear(16,8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(.5), nn.Linear(8,5))
def n_hooks(model): return sum(len(m._forward_hooks) for m in model.modules())

def test_hooks_see_and_change_nothing_and_go():
    model,xb = net().eval(),x[:4]
    want = model(xb)
    with Hooks(working_layers(model), lambda m,i,o: torch.zeros(99)) as hooks:
        assert torch.equal(model(xb), want) and len(hooks)==5 and hooks[0].stored.shape==(99,)
    with hook_outputs(model) as hooks: model(xb)
    assert torch.equal(hooks.stored[-1], want) and not hooks.stored[0].requires_grad
    with hook_outputs(model, detach=False) as hooks: model(xb)
    assert hooks.stored[0].requires_grad and n_hooks(model)==0
    with Hook(model[0], lambda m,i,o: i[0]) as hook: model(xb)
    model(xb+1)
    assert torch.equal(hook.stored, xb)

@pytest.mark.parametrize('e', [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_hooks_go_whatever_ends_the_block(e):
    def boom(m, i, o): raise e
    model = net()
    with pytest.raises(e), Hooks(working_layers(model), boom): model(x[:4])
    assert n_hooks(model)==0
    with pytest.raises(AttributeError): Hooks([*model, None], boom)
    assert n_hooks(model)==0

class Ends(Callback):
    run_valid = False
    def __init__(self, e, at): self.e,self.at = e,at
    def __getattr__(self, k):
        if k==self.__dict__.get('at'): return self._now
        return super().__getattr__(k)
    def _now(self):
        if self.learn.train_iter==2: raise self.e()

@pytest.mark.parametrize('at', ['before_batch','after_pred','before_step'])
@pytest.mark.parametrize('e', [KeyError, KeyboardInterrupt, CancelFitException, CancelEpochException,
                               CancelBatchException])
def test_activation_stats_leave_no_hook(e, at):
    stats = ActivationStats()
    learn = learner(model=net(), cbs=stats)
    if e in (KeyError,KeyboardInterrupt):
        with pytest.raises(e): learn.fit(1, .1, cbs=Ends(e, at))
    else: learn.fit(1, .1, cbs=Ends(e, at))
    assert n_hooks(learn.model)==0 and stats.hooks is None

def test_watching_changes_nothing_and_skips_validation():
    class Validates(Callback):
        def after_batch(self):
            if self.training: self.learn.validate()
    stats = ActivationStats(every=2, with_hist=False)
    a,b = learner(model=net()),learner(model=net(), cbs=[stats,Validates()])
    b.model.load_state_dict(a.model.state_dict())
    for o in (a,b):
        torch.manual_seed(1)
        o.fit(2, .1)
    assert all(torch.equal(*o) for o in zip(a.model.state_dict().values(), b.model.state_dict().values()))
    assert len(stats.stats)==6 and len(stats.stats[0])==3 # 12 batches; three layers have parameters
    with pytest.raises(KeyError): stats.hist(0)

@pytest.mark.filterwarnings('ignore:You are shadowing')
@pytest.mark.parametrize('every', [1,2])
def test_activation_stats_are_fastais(every):
    from fastai.callback.hook import ActivationStats as Theirs
    from fastai.data.core import DataLoaders as FastaiDLs
    from fastai.learner import Learner as FastaiLearner
    from fastai.optimizer import SGD as FastaiSGD
    a,b = ActivationStats(every=every),Theirs(every=every, with_hist=True)
    ours = learner(model=net(), cbs=a)
    theirs = FastaiLearner(FastaiDLs(*ours.dls.loaders), net(), loss_func=F.cross_entropy, opt_func=FastaiSGD, cbs=b)
    theirs.model.load_state_dict(ours.model.state_dict())
    theirs.remove_cbs([cb for cb in theirs.cbs if cb.name=='progress'])
    for o in (ours,theirs):
        torch.manual_seed(1)
        with o.no_logging(): o.fit(2, .1)
    for i in range(3):
        for s,t in zip(a.layer_stats(i), b.layer_stats(i)):
            assert len(s)==len(t) and (torch.tensor(s)-torch.tensor(list(t))).abs().max()<=1e-6
        assert torch.equal(a.hist(i), b.hist(i))
    assert len(a.plot_layer_stats(0))==3 and a.color_dim(1).images


# ModelSummary

def test_the_next_fit_is_the_same_with_and_without_a_summary():
    fits = []
    for look in (False,True):
        learn = learner(model=None, shuffle=True, opt_func=Adam)
        torch.manual_seed(3)
        learn.model = net()
        learn.fit(1, .01)
        if look:
            learn.model.train()
            learn.model[3].eval()
            modes = [m.training for m in learn.model.modules()]
            said = str(learn.summary())
            assert [m.training for m in learn.model.modules()]==modes and n_hooks(learn.model)==0
            assert 'BatchNorm1d' in said and '[16, 8]' in said
        learn.fit(1, .01)
        memory = [v for s in learn.opt.state.values() for v in s.values() if torch.is_tensor(v)]
        losses = torch.tensor([float(o) for o in learn.recorder.losses])
        fits.append([*learn.model.state_dict().values(), *memory, losses])
    assert len(fits[0])==len(fits[1])>10 and all(torch.equal(a, b) for a,b in zip(*fits))

def test_a_loader_with_dice_of_its_own_does_not_throw_them():
    learn = learner()
    learn.dls.train = learn.dls.train.new(shuffle=True, generator=torch.Generator().manual_seed(5))
    before = learn.dls.train.generator.get_state()
    learn.summary()
    assert torch.equal(before, learn.dls.train.generator.get_state())

def test_a_model_that_fails_is_left_as_it_was():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.a,self.drop = nn.Linear(16,4),nn.Dropout(.5)
        def forward(self, x):
            random.random(), np.random.rand(), torch.rand(1)
            self.drop(self.a(x))
            raise KeyboardInterrupt
    learn = learner(model=Fails().train())
    dice = random.getstate(),np.random.get_state()[1].tolist(),torch.get_rng_state().tolist()
    with pytest.raises(KeyboardInterrupt): learn.summary()
    assert dice==(random.getstate(),np.random.get_state()[1].tolist(),torch.get_rng_state().tolist())
    assert n_hooks(learn.model)==0 and all(m.training for m in learn.model.modules()) and torch.is_grad_enabled()

def test_odd_models_are_counted_right():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a,self.b,self.scale = nn.Linear(16,16),nn.Linear(16,16, bias=False),nn.Parameter(torch.ones(16))
            self.b.weight = self.a.weight
        def forward(self, u, v): return {'sum': self.b(self.a(u)*self.scale), 'v': (v,v)}
    model = Tied()
    s = ModelSummary(model, x, x)
    assert s.total==sum(p.numel() for p in model.parameters())==16*16+16+16==s.trainable
    rows = {o[0]: o for o in s.rows[-1:]}
    assert rows['Tied'][1]==[[90,16],[90,16]] and rows['Tied'][2]==[[90,16],[[90,16],[90,16]]]
    for p in model.parameters(): p.requires_grad_(False)
    assert ModelSummary(model, x, x).trainable==0 and ' no' in str(ModelSummary(model, x, x))
    with pytest.raises(ValueError, match='no batches'):
        learn = learner()
        learn.dls.train = DataLoader(Dataset(x[:0], y[:0]), 4)
        learn.summary()

def test_untouched_is_no_training():
    model = net().train()
    with untouched(model):
        assert not model.training and not torch.is_grad_enabled()
        model(x)
    assert model.training and torch.equal(model[1].running_mean, torch.zeros(8))


# The loop

def test_the_loop_is_printed_with_every_event_and_in_the_order_of_callbacks(capsys):
    class Late(Callback):
        order,run_valid = 99,False
        def before_fit(self): pass
        def after_batch(self): pass
    class Early(Late): order = -99
    learn = learner(cbs=[Late,Early])
    learn.show_training_loop()
    lines = capsys.readouterr().out.splitlines()
    shown = [o.split(':')[0].strip(' -') for o in lines if 'Start' not in o and 'End' not in o]
    assert set(shown)==set(events)-{'after_create'}
    assert shown.count('before_batch')==2 and shown.count('before_step')==1
    names = next(o for o in lines if 'before_fit' in o).split(': ')[1].split(', ')
    assert names[0]=='Early' and names[-1]=='Late'
    train,valid = [o for o in lines if '- after_batch' in o]
    assert 'Late' in train and 'Late' not in valid
    assert lines[0]=='Start Fit' and all(o==o.rstrip() for o in lines)


def test_hooks_take_fastais_arguments():
    from fastai.callback import hook as fh
    from digits_fastai.training.inspection import hook_output
    for grad in (False,True):
        kept = []
        for one,many in ((hook_output,hook_outputs), (fh.hook_output,fh.hook_outputs)):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(16,5), nn.ReLU(), nn.Linear(5,1))
            with one(model[1], grad=grad) as h, many([model[0],model[2]], cpu=True, grad=grad) as hs: model(x[:4]).sum().backward()
            kept.append([h.stored, *hs.stored])
        for a,b in zip(*kept): assert torch.equal(a[0] if grad else a, b[0] if grad else b)
    with Hook(m=model[0], hook_func=lambda m,i,o: o.shape, is_forward=True) as h: model(x[:4])
    assert h.stored==(4,5)


# What targets mean, and what a loss leaves out

def weighted(p, t): return F.cross_entropy(p, t, weight=torch.tensor([9.,1.,1.,1.,1.]))

def test_weights_count_in_the_top_losses_or_it_is_said():
    weight = torch.tensor([9.,1.,1.,1.,1.])
    want = F.cross_entropy(learner().model(x[:70]), y[:70], weight=weight, reduction='none')
    for loss in (nn.CrossEntropyLoss(weight=weight), partial(F.cross_entropy, weight=weight)):
        assert torch.allclose(interp(loss=loss).losses, want, atol=1e-5)
    weighted.activation = partial(torch.softmax, dim=1)
    with pytest.warns(UserWarning, match='weights or leaves out items'): interp(loss=weighted)

@pytest.mark.parametrize('loss', [nn.CrossEntropyLoss(ignore_index=2), partial(F.cross_entropy, ignore_index=2), nn.CrossEntropyLoss()], ids=range(3))
def test_items_that_the_loss_leaves_out_are_left_out(loss):
    ignored = 2 if 'CrossEntropyLoss(' not in str(loss) or loss.ignore_index==2 else -100
    targets = torch.where(torch.arange(90)%3==0, ignored, y)
    res = interp(loss=loss, targets=targets)
    counts = targets[:70]!=ignored
    said = learner().model(x[:70]).argmax(1)[counts]
    assert res.confusion_matrix().sum()==counts.sum() and torch.equal(res.targs, targets[:70][counts])
    assert torch.equal(res.decoded, said) and len(res.losses)==len(res.inputs)==counts.sum()

def test_soft_labels_count_as_the_class_with_the_largest_share():
    soft = F.one_hot(y, 5)*.8+.04
    assert (interp(targets=soft).confusion_matrix()==interp().confusion_matrix()).all()
    hard = F.one_hot(y, 5).float()
    assert (interp(targets=hard).confusion_matrix()==interp().confusion_matrix()).all()
    yes = (y>2).float()[:,None]
    given = dict(n=1, loss=mnist_loss, vocab=['no','yes'])
    want = interp(targets=yes, **given).confusion_matrix()
    assert (interp(targets=yes*.8+.1, loss=nn.BCEWithLogitsLoss(), n=1, vocab=['no','yes']).confusion_matrix()==want).all()
    assert want.sum()==70

@pytest.mark.parametrize('targs,n,said', [
    (torch.tensor([[1.,1.,0.],[0.,1.,0.]]), 3, 'and not several'), (torch.tensor([[0,0,0]]), 3, 'and not several'),
    (torch.tensor([[.5,.5]]), 2, 'same of two classes'), (torch.tensor([.5,1.]), 2, 'share of each class'),
    (torch.tensor([.9,.1]), 3, 'such as 0.9 were given for 3 classes'), (torch.tensor([1.2,0.]), 2, 'such as 1.2'),
    (torch.tensor([3,7]), 2, 'from 3 to 7'), (torch.tensor([-1,0]), 2, 'from -1 to 0'), (torch.tensor([3.,7.]), 2, 'from 3 to 7'),
    (torch.tensor([math.nan,0.]), 2, 'nan'), (torch.tensor([[math.inf],[0.]]), 2, 'inf'),
    (torch.zeros(4,2,dtype=torch.int64), 5, r'shape \[4, 2\]'), (torch.tensor([[1.5,-.5]]), 2, 'not several')], ids=str)
def test_targets_that_are_no_labels_are_refused(targs, n, said):
    with pytest.raises(ValueError, match=said): labels_of(targs, n)

def test_a_model_that_predicts_nan_is_refused():
    model = nn.Linear(16,5)
    nn.init.constant_(model.bias, math.nan)
    with pytest.raises(ValueError, match='predicts nan'): interp(model=model)

def test_top_losses_as_fastai_asks_for_them():
    res = interp()
    losses,idxs,items = res.top_losses(3, items=True)
    assert torch.equal(items, x[:70][idxs]) and len(res.top_losses())==2
    assert len(res.plot_top_losses([1,2], nrows=1))==2 and len(res.plot_top_losses(range(3)))==3
    assert res.plot_confusion_matrix(figsize=(3,2), dpi=50).figure.get_size_inches().tolist()==[3,2]

@pytest.mark.parametrize('include_paramless,n', [(False,3), (True,5)])
def test_layers_without_parameters_are_watched_when_asked_for(include_paramless, n):
    x = torch.randn(16, 1)
    net = nn.Sequential(nn.Linear(1,50), nn.ReLU(), nn.BatchNorm1d(50), nn.Linear(50,1), nn.Flatten())
    stats = ActivationStats(include_paramless=include_paramless)
    with Learner(DataLoaders([(x,x)], [(x,x)]), net, nn.MSELoss(), cbs=stats).no_logging() as learn: learn.fit(1)
    assert len(stats.modules)==n
