"Gradients by hand are autograd's, in numbers, layers, losses and a Learner, whoever else listens; what isn't known is refused."
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given,settings,strategies as st
from torch import nn

from digits_fastai.backward import BackwardByHand,NetByHand,Value,cross_entropy_gradient,loss_gradient
from digits_fastai.dataloaders import DataLoaders
from digits_fastai.events import Callback,CancelBatchException,CancelFitException,CancelTrainException
from digits_fastai.learner import Learner
from digits_fastai.losses import cross_entropy,mnist_loss,mse
from digits_fastai.optimizer import SGD,Adam
from digits_fastai.training.callbacks import GradientAccumulation,GradientClip,MixedPrecision,ShapeGuard,StepGuard
from digits_fastai.training.lr_find import LRFinder # noqa: F401 it hangs lr_find on the Learner
from digits_fastai.training.schedules import ParamScheduler # noqa: F401 and this one fit_one_cycle

# Numbers

numbers = st.floats(-3, 3).filter(lambda o: abs(o)>1e-2)

def grown(draw_step, leaves):
    "An expression that grows step by step out of what is there already."
    seen = list(leaves)
    for op,i,j,c in draw_step:
        a,b = seen[i%len(seen)],seen[j%len(seen)]
        seen.append([lambda: a+b, lambda: a*b, lambda: a-b, lambda: a*c, lambda: c-a, lambda: a+c, lambda: a.relu(),
                     lambda: a.sigmoid(), lambda: a.sigmoid()**2, lambda: b/(a.sigmoid()+1), lambda: -a][op]())
    total = seen[0]*0
    for o in seen: total = total+o.sigmoid()
    return total

steps = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 99), st.integers(0, 99), numbers), min_size=1, max_size=12)

@settings(max_examples=60, deadline=None)
@given(steps, st.lists(numbers, min_size=1, max_size=3))
def test_any_expression_has_pytorchs_value_and_gradients(steps, data):
    ours,theirs = [Value(o) for o in data],[torch.tensor(o, dtype=torch.float64, requires_grad=True) for o in data]
    y,z = grown(steps, ours),grown(steps, theirs)
    y.backward()
    z.backward()
    assert y.data==pytest.approx(z.item(), rel=1e-9, abs=1e-12)
    for a,b in zip(ours, theirs): assert a.grad==pytest.approx(b.grad.item(), rel=1e-9, abs=1e-12)

def test_a_second_walk_doubles_every_gradient_and_not_more():
    w = Value(3)
    y = (w*w + w)*w
    y.backward()
    once = w.grad
    y.backward()
    assert w.grad==2*once and y.grad==2

def test_a_long_chain_needs_no_deep_recursion():
    x = Value(1)
    y = x
    for _ in range(5000): y = y+0
    y.backward()
    assert x.grad==1

def test_what_is_no_real_number_is_refused():
    with pytest.raises(ValueError, match='no real number'): Value(-2)**.5
    with pytest.raises(TypeError, match='plain number'): Value(2)**Value(3)
    with pytest.raises(ZeroDivisionError): 1/Value(0)

def test_a_constant_power_has_slope_zero():
    x = Value(0)
    (x**0).backward()
    assert x.grad==0

# Nets

def gradients(model): return [None if p.grad is None else p.grad.clone() for p in model.parameters()]

def both(model, x, g=None):
    "All parameters' gradients by autograd, and by hand."
    model.zero_grad()
    y = model(x)
    g = torch.randn_like(y) if g is None else g
    y.backward(g)
    wanted = gradients(model)
    model.zero_grad()
    net = NetByHand(model)
    assert torch.allclose(net.forward(x), y.detach(), atol=1e-6)
    net.backward(g)
    return gradients(model),wanted

def equal(ours, theirs):
    for a,b in zip(ours, theirs, strict=True):
        assert (a is None)==(b is None)
        if a is not None: torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)

nets = {'a layer': lambda: nn.Linear(6,1), 'no bias': lambda: nn.Sequential(nn.Linear(6,3, bias=False), nn.ReLU(), nn.Linear(3,2)),
        'nested': lambda: nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(6,4)), nn.Sequential(nn.Sequential(nn.Sigmoid()))),
        'a bend first': lambda: nn.Sequential(nn.ReLU(), nn.Linear(6,2), nn.Sigmoid()),
        'in place': lambda: nn.Sequential(nn.Linear(6,4), nn.ReLU(inplace=True), nn.Linear(4,2)),
        'double': lambda: nn.Sequential(nn.Linear(6,4), nn.Sigmoid(), nn.Linear(4,2)).double()}

@pytest.mark.parametrize('name', nets)
def test_a_net_by_hand_has_autograds_gradients(name):
    torch.manual_seed(0)
    model = nets[name]()
    equal(*both(model, torch.randn(5,6, dtype=next(model.parameters()).dtype)))

def test_more_axes_than_two():
    torch.manual_seed(0)
    equal(*both(nn.Sequential(nn.Linear(6,4), nn.ReLU(), nn.Flatten(1,2), nn.Linear(12,1)), torch.randn(5,3,6)))

def test_one_layer_in_two_places_gets_the_sum():
    torch.manual_seed(0)
    layer = nn.Linear(6,6)
    equal(*both(nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(6,1)), torch.randn(5,6)))

@pytest.mark.parametrize('frozen', [[0], [2], [0,2], [4]])
def test_frozen_layers_get_no_gradient_and_the_others_the_same(frozen):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6,5), nn.ReLU(), nn.Linear(5,4), nn.Sigmoid(), nn.Linear(4,1))
    for i in frozen: model[i].requires_grad_(False)
    ours,theirs = both(model, torch.randn(7,6))
    equal(ours, theirs)
    assert sum(o is None for o in ours)==2*len(frozen)

def test_a_frozen_bias_alone():
    model = nn.Sequential(nn.Linear(6,5), nn.ReLU(), nn.Linear(5,1))
    model[0].weight.requires_grad_(False)
    model[2].bias.requires_grad_(False)
    equal(*both(model, torch.randn(7,6)))

def test_gradients_add_up():
    torch.manual_seed(0)
    model,x = nn.Linear(3,2),torch.randn(4,3)
    once,_ = both(model, x, torch.ones(4,2))
    net = NetByHand(model)
    net.forward(x)
    net.backward(torch.ones(4,2))
    equal(gradients(model), [2*o for o in once])

class Doubled(nn.Linear):
    def forward(self, x): return 2*super().forward(x)

@pytest.mark.parametrize('model,says', [
    (nn.Conv2d(1,2,3), 'the model is a Conv2d'), (nn.Sequential(nn.Linear(2,2), nn.BatchNorm1d(2)), '1 is a BatchNorm1d'),
    (nn.Sequential(nn.Sequential(nn.Linear(2,2), nn.Tanh())), '0.1 is a Tanh'), (Doubled(2,2), 'the model is a Doubled')])
def test_what_is_not_known_is_refused_by_name(model, says):
    with pytest.raises(ValueError, match=says): NetByHand(model)

def test_what_would_not_be_called_is_refused():
    for hook in ('register_forward_hook','register_forward_pre_hook','register_full_backward_hook'):
        model = nn.Sequential(nn.Linear(2,2))
        getattr(model[0], hook)(lambda *_: None)
        with pytest.raises(ValueError, match='0 has a hook'): NetByHand(model)
    model = nn.Sequential(nn.Linear(2,2))
    model[0].weight.register_hook(lambda g: 2*g)
    with pytest.raises(ValueError, match='0.weight has a hook'): NetByHand(model)
    with pytest.raises(ValueError): NetByHand(nn.utils.parametrizations.weight_norm(nn.Linear(2,2)))

# Losses

def of_loss(loss_func, preds, targets):
    preds = preds.clone().requires_grad_()
    return torch.autograd.grad(loss_func(preds, targets), preds)[0]

ignored = torch.tensor([1,7,2,7,0])
labels = torch.tensor([1,3,2,2,0])
shares = torch.rand(5,8, generator=torch.Generator().manual_seed(0)).softmax(1)
weight = torch.arange(1., 9.)
cross_entropies = [F.cross_entropy, nn.CrossEntropyLoss(), cross_entropy, partial(F.cross_entropy, reduction='sum'),
    nn.CrossEntropyLoss(label_smoothing=.3), nn.CrossEntropyLoss(weight=weight), nn.CrossEntropyLoss(ignore_index=7),
    nn.CrossEntropyLoss(weight=weight, ignore_index=7, label_smoothing=.1, reduction='sum'),
    partial(F.cross_entropy, weight=weight, ignore_index=7)]

def takes_shares(loss_func): # where no label is to be left out; ours takes labels only
    set_to = getattr(loss_func, 'ignore_index', getattr(loss_func, 'keywords', {}).get('ignore_index', -100))
    return loss_func is not cross_entropy and set_to==-100

pairs = [(f, t) for f in cross_entropies for t in (labels, ignored, shares) if t is not shares or takes_shares(f)]

@pytest.mark.parametrize('loss_func,targets', pairs, ids=range(len(pairs)))
def test_cross_entropy_has_autograds_gradient(loss_func, targets):
    torch.manual_seed(0)
    preds = torch.randn(5,8)
    torch.testing.assert_close(loss_gradient(loss_func)(preds, targets), of_loss(loss_func, preds, targets))

def test_it_leaves_predictions_and_targets_as_they_are():
    preds,targets = torch.randn(5,8),labels.clone()
    old = preds.clone()
    cross_entropy_gradient(preds, targets)
    assert torch.equal(preds, old) and torch.equal(targets, labels)

@pytest.mark.parametrize('loss_func', [mse, mnist_loss])
@pytest.mark.parametrize('shape', [(5,1), (5,), (5,3)])
@pytest.mark.parametrize('reduction', ['mean','sum'])
def test_ours_with_either_reduction(loss_func, shape, reduction, monkeypatch):
    torch.manual_seed(0)
    preds,targets = torch.randn(shape),torch.randint(0, 2, shape)
    monkeypatch.setattr(loss_func, 'reduction', reduction)
    torch.testing.assert_close(loss_gradient(loss_func)(preds, targets), of_loss(loss_func, preds, targets))

@pytest.mark.parametrize('loss_func,says', [
    (F.mse_loss, 'gradient of mse_loss'), (nn.BCEWithLogitsLoss(), 'gradient of BCEWithLogitsLoss'),
    (lambda p,t: ((p-t)**2).mean(), 'gradient of <lambda>'), (nn.CrossEntropyLoss(reduction='none'), "reduction='none'"),
    (partial(F.cross_entropy, size_average=True), 'size_average')])
def test_a_loss_or_a_setting_that_is_not_known_is_refused(loss_func, says):
    with pytest.raises(ValueError, match=says): loss_gradient(loss_func)

# The Learner

def data(n=70, n_in=6, n_out=1):
    torch.manual_seed(3)
    x = torch.randn(n, n_in)
    y = torch.randint(0, 2, (n,1)) if n_out==1 else torch.randint(0, n_out, (n,))
    return DataLoaders.from_tensors((x,y), (x[:20],y[:20]), batch_size=16)

def small(n_out=1): return nn.Sequential(nn.Linear(6,5), nn.ReLU(), nn.Linear(5,n_out))

class Events(Callback):
    order = 101
    def __init__(self):
        self.seen = []
        for e in ('before_backward','after_cancel_backward','after_backward','before_step','after_step','after_batch','after_fit'):
            setattr(self, e, partial(self.seen.append, e))

def fit(by_hand, *cbs, model=small, loss_func=mnist_loss, opt_func=SGD, dls=None, splitter=None, frozen=(), how=None):
    torch.manual_seed(1)
    learn = Learner(dls or data(), model(), loss_func=loss_func, opt_func=opt_func, lr=.1, splitter=splitter,
                    cbs=[*([BackwardByHand()] if by_hand else []), *(cb() for cb in cbs)])
    for i in frozen: learn.model[i].requires_grad_(False)
    torch.manual_seed(2)
    with learn.no_bar(), learn.no_logging(): (how or (lambda o: o.fit(3)))(learn)
    return learn

def same(*args, eps=1e-6, **kwargs):
    ours,theirs = fit(True, *args, **kwargs),fit(False, *args, **kwargs)
    for a,b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True): assert (a-b).abs().max()<=eps
    torch.testing.assert_close(torch.tensor(ours.recorder.losses), torch.tensor(theirs.recorder.losses), rtol=1e-4, atol=1e-6)
    return ours

class Doubles(Callback):
    def after_loss(self): self.learn.loss_grad = 2*self.loss_grad

class DoublesInPlace(Callback):
    def after_loss(self): self.learn.loss_grad *= 2

class Decays(Callback):
    def after_loss(self): self.learn.loss_grad = self.loss_grad + .01*sum((p**2).sum() for p in self.model.parameters())

class Squares(Callback):
    def after_pred(self): self.learn.pred = self.pred**2

class Validates(Callback):
    def before_backward(self): self.learn.validate()

@pytest.mark.parametrize('cbs', [(), (StepGuard,), (ShapeGuard,), (partial(GradientClip, .1),), (partial(GradientAccumulation, 40),),
    (Doubles,), (DoublesInPlace,), (Decays,), (Squares,), (Validates,), (StepGuard, partial(GradientAccumulation, 32), Doubles)],
    ids=lambda cbs: ', '.join(getattr(o, '__name__', None) or o.func.__name__ for o in cbs) or 'alone')
def test_whoever_else_listens_the_weights_and_the_record_are_autograds(cbs): same(*cbs)

@pytest.mark.parametrize('opt_func', [partial(SGD, mom=.9, wd=.1), torch.optim.SGD, partial(torch.optim.AdamW, eps=1e-3)])
def test_with_every_optimizer(opt_func): same(opt_func=opt_func)

def test_with_adam(): same(opt_func=Adam, eps=1e-5)

@pytest.mark.parametrize('loss_func', [cross_entropy, F.cross_entropy, nn.CrossEntropyLoss(label_smoothing=.1)])
def test_with_classes(loss_func): same(model=partial(small, 3), loss_func=loss_func, dls=data(n_out=3))

def test_with_frozen_layers_and_one_cycle():
    same(frozen=[0])
    same(how=lambda learn: learn.fit_one_cycle(3, .2), opt_func=partial(SGD, mom=.9))

def test_a_search_for_the_rate_finds_the_same_and_leaves_everything_as_it_was():
    def search(learn):
        old = [p.clone() for p in learn.model.parameters()]
        learn.lr_find(num_it=20, show_plot=False)
        assert all(map(torch.equal, old, learn.model.parameters())) and 'forward' not in vars(learn.model)
        learn.fit(1)
    same(how=search)

def test_the_events_are_those_of_a_cancelled_backward_pass():
    ours,theirs = fit(True, Events),fit(False, Events)
    batch = ['after_cancel_backward','after_backward','before_step','after_step','after_batch']
    assert [o for o in ours.events.seen if o!='after_fit'][:5]==[o for o in batch]
    assert [o for o in ours.events.seen if o!='after_cancel_backward']==[o for o in theirs.events.seen if o!='before_backward']

class Ends(Callback):
    def __init__(self, event, e):
        setattr(self, event, self.end)
        self.e = e
    def end(self):
        if self.training: raise self.e

@pytest.mark.parametrize('event', ['before_batch','after_pred','after_loss','after_backward','before_step','after_batch'])
@pytest.mark.parametrize('e', [CancelBatchException, CancelTrainException, CancelFitException, KeyboardInterrupt, ValueError('mine')],
                         ids=lambda e: getattr(e, '__name__', 'error'))
def test_however_a_fit_ends_gradients_are_on_again(event, e):
    learn = Learner(data(), small(), loss_func=mnist_loss, opt_func=SGD, cbs=[BackwardByHand(), Ends(event, e)])
    with learn.no_bar(), learn.no_logging():
        try: learn.fit(1)
        except (KeyboardInterrupt, Exception): pass # a cancellation after its time ends the fit, too
    assert torch.is_grad_enabled() and 'forward' not in vars(learn.model)
    assert learn.model(torch.randn(2,6)).requires_grad

@pytest.mark.parametrize('kwargs,says', [
    (dict(model=lambda: nn.Sequential(nn.Linear(6,5), nn.Dropout(), nn.Linear(5,1))), '1 is a Dropout'),
    (dict(loss_func=F.mse_loss), 'gradient of mse_loss')])
def test_what_can_not_be_done_is_refused_before_the_fit(kwargs, says):
    class Began(Callback):
        def before_epoch(self): raise AssertionError('the fit began')
    with pytest.raises(ValueError, match=says): fit(True, Began, **kwargs)

def test_mixed_precision_is_refused():
    with pytest.raises(ValueError, match='mixed precision|forward of its own'): fit(True, MixedPrecision)

def test_another_loss_in_the_middle_of_a_fit_is_refused():
    class Swaps(Callback):
        def before_batch(self): self.learn.loss_func = mse
    with pytest.raises(ValueError, match='replaced'): fit(True, Swaps)

def test_inputs_that_ask_for_a_gradient_are_refused():
    class Asks(Callback):
        def before_batch(self): self.learn.xb = (self.xb[0].clone().requires_grad_(),)
    with pytest.raises(ValueError, match='inputs ask'): fit(True, Asks)
