"What a notebook does not show of the Learner: interruptions, odd loaders, odd models, other people's optimizers."
import functools,math,os,signal,sys,threading,warnings
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from fastai.optimizer import SGD as FastaiSGD
from torch import nn
from torch.utils.data import DataLoader as TorchDL

from conftest import python,run,visible_gpus
from digits_fastai.dataloaders import DataLoader,DataLoaders,Dataset
from digits_fastai.events import (
    Callback,CancelBatchException,CancelEpochException,CancelFitException,CancelTrainException,CancelValidException,
    Recorder)
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy,batch_accuracy,mnist_loss,mse
from digits_fastai.metrics import AvgMetric,AvgSmoothLoss
from digits_fastai.optimizer import SGD,BasicOptim

g = torch.Generator().manual_seed(0)
x = torch.randn(50,4, generator=g)
y = (x[:,:1]>0).float()


@pytest.fixture
def dls(): return DataLoaders(DataLoader(Dataset(x, y), 16), DataLoader(Dataset(x[:21], y[:21]), 8))

@pytest.fixture
def learn(dls):
    torch.manual_seed(0)
    with Learner(dls, nn.Linear(4,1), mnist_loss, opt_func=SGD, metrics=batch_accuracy, lr=.1).no_logging() as learn: yield learn

def two_classes(dl=None, **kwargs):
    torch.manual_seed(0)
    labels = y[:,0].long()
    dls = DataLoaders(dl or DataLoader(Dataset(x, labels), 16), DataLoader(Dataset(x[:21], labels[:21]), 8), **kwargs)
    return Learner(dls, nn.Linear(4,2), nn.CrossEntropyLoss(), opt_func=SGD, metrics=accuracy, lr=.1)

def weights(learn): return torch.cat([p.detach().flatten().clone() for p in learn.model.parameters()])

class Boom(Callback):
    "Raises `e` the first time that `at` comes by."
    def __init__(self, at='after_pred', e=KeyError): self.at,self.e,self.count = at,e,0
    def _boom(self):
        self.count += 1
        if self.count==1: raise self.e('boom')
    def __getattr__(self, k):
        if k==self.__dict__.get('at'): return self._boom
        return super().__getattr__(k)


# Whatever happens

def test_an_exception_names_the_callback_and_the_event(learn):
    with pytest.raises(KeyError, match=r"boom \[in Boom, at after_loss\]"): learn.fit(1, cbs=Boom('after_loss'))
    with pytest.raises(OSError) as caught: learn.fit(1, cbs=Boom('after_loss', lambda what: OSError(28, 'disk full')))
    assert caught.value.errno==28
    if sys.version_info>=(3,11): assert caught.value.__notes__==['[in Boom, at after_loss]']

class CleansUp(Callback):
    def __init__(self): self.cleaned = 0
    def before_fit(self): self.learn.on_exit.callback(self.clean)
    def clean(self): self.cleaned += 1

@pytest.mark.parametrize('e', [None,KeyError,KeyboardInterrupt,CancelFitException])
def test_on_exit_runs_whatever_happens(learn, e):
    cleans = CleansUp()
    learn.add_cbs(cleans)
    if e in (KeyError,KeyboardInterrupt):
        with pytest.raises(e): learn.fit(1, cbs=Boom('after_backward', e))
    else: learn.fit(1, cbs=Boom('after_backward', e) if e else None)
    assert cleans.cleaned==1
    learn.validate()
    assert cleans.cleaned==2

def test_a_validation_in_mid_fit_cleans_up_after_itself_only(learn):
    class Looks(Callback):
        def after_train(self):
            before = cleans.cleaned
            self.learn.validate()
            self.seen = before,cleans.cleaned
    cleans,looks = CleansUp(),Looks()
    learn.fit(1, cbs=[cleans, looks])
    assert looks.seen==(0,1) and cleans.cleaned==2

def test_an_exception_between_backward_and_step_leaves_no_gradients(learn, dls):
    torch.manual_seed(0)
    other = Learner(dls, nn.Linear(4,1), mnist_loss, opt_func=SGD, lr=.1)
    with pytest.raises(KeyError): learn.fit(1, cbs=Boom('after_backward'))
    with other.no_logging(): other.fit(1)
    learn.fit(1)
    assert torch.equal(weights(learn), weights(other))


# Ctrl-C

class Presses(Callback):
    "Ctrl-C at the `n`-th coming by of an event in training."
    run_valid = False
    def __init__(self, at, n=1): self.at,self.left = at,n
    def press(self):
        self.left -= 1
        if self.left==0: os.kill(os.getpid(), signal.SIGINT)
    def __getattr__(self, k):
        if k==self.__dict__.get('at'): return self.press
        return super().__getattr__(k)

@pytest.mark.parametrize('at', ['after_pred','after_backward','before_step','after_step'])
def test_ctrl_c_ends_a_fit_after_a_whole_batch(dls, at):
    def trained(n):
        torch.manual_seed(0)
        learn = Learner(dls, nn.Linear(4,1), mnist_loss, opt_func=lambda ps, lr: SGD(ps, lr, mom=.9), lr=.1)
        class Stops(Callback):
            def after_batch(self):
                if self.training and self.train_iter==n: raise CancelFitException
        with learn.no_logging():
            if n: learn.fit(2, cbs=Stops())
            else:
                with pytest.raises(KeyboardInterrupt): learn.fit(2, cbs=Presses(at, 6)) # the second batch of epoch 1
        return learn
    stopped = trained(None)
    assert stopped.train_iter==6 and len(stopped.recorder.losses)==6 and len(stopped.recorder.values)==1
    assert torch.equal(weights(stopped), weights(trained(6))) and not stopped.fitting
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with stopped.no_logging(): stopped.fit(1)
    assert len(stopped.recorder.values)==1

def test_ctrl_c_is_announced_as_the_end_of_the_fit(learn):
    class Hears(Callback):
        def before_fit(self): self.heard = []
        def after_cancel_fit(self): self.heard.append('after_cancel_fit')
        def after_fit(self): self.heard.append('after_fit')
    hears = Hears()
    with pytest.raises(KeyboardInterrupt, match='can go on'): learn.fit(1, cbs=[hears, Presses('after_loss')])
    assert hears.heard==['after_cancel_fit','after_fit']

def test_ctrl_c_in_validation_keeps_the_weights(learn):
    with pytest.raises(KeyboardInterrupt): learn.fit(5, cbs=Presses('before_validate'))
    assert len(learn.recorder.losses)==4 and not learn.recorder.values

def test_the_second_ctrl_c_does_not_wait(learn):
    class Twice(Callback):
        def after_pred(self):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError('still here')
    with pytest.raises(KeyboardInterrupt): learn.fit(1, cbs=Twice())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

def test_somebody_elses_handler_is_left_alone(learn):
    pressed,before = [],signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda *_: pressed.append(1))
    try: learn.fit(1, cbs=Presses('after_pred'))
    finally: signal.signal(signal.SIGINT, before)
    assert pressed==[1] and len(learn.recorder.values)==1

def test_a_fit_in_a_thread_needs_no_signals(learn):
    done = []
    t = threading.Thread(target=lambda: done.append(learn.fit(1) or len(learn.recorder.values)))
    t.start()
    t.join()
    assert done==[1]


# Devices, groups, going on

def test_a_model_on_two_devices_is_refused_before_anything_happens(dls):
    learn = Learner(dls, nn.Sequential(nn.Linear(4,3), nn.Linear(3,1)), mnist_loss, opt_func=SGD)
    learn.model[1].to('meta')
    with pytest.raises(ValueError, match='lie on cpu, meta.*move both to one device'): learn.fit(1)
    learn = two_classes()
    learn.loss_func = nn.CrossEntropyLoss(weight=torch.ones(2, device='meta'))
    with pytest.raises(ValueError, match='lie on cpu, meta'): learn.fit(1)

@pytest.mark.parametrize('opt_func', [SGD, torch.optim.SGD, functools.partial(torch.optim.SGD, momentum=.5), FastaiSGD])
def test_groups_have_rates_of_their_own(dls, opt_func):
    def splitter(model): return [list(o.parameters()) for o in model]
    learn = Learner(dls, nn.Sequential(nn.Linear(4,3), nn.Linear(3,1)), mnist_loss, opt_func, splitter=splitter)
    before = [p.detach().clone() for p in learn.model.parameters()]
    with learn.no_logging(): learn.fit(1, [0.,.1])
    moved = [bool((a!=b).any()) for a,b in zip(before, learn.model.parameters())]
    assert moved==[False,False,True,True] and learn.recorder.lrs==[.1]*4
    with learn.no_logging(), pytest.raises(ValueError, match='3 values were given for 2 groups'): learn.fit(1, [.1,.2,.3])

def test_a_fit_that_starts_later_keeps_its_record_and_counts_on(learn):
    learn.fit(2)
    kept = list(learn.recorder.values)
    learn.fit(4, start_epoch=2)
    assert learn.recorder.values[:2]==kept and len(learn.recorder.values)==4
    assert learn.epoch==3 and learn.train_iter==16 and learn.recorder.iters==[4,8,12,16]
    learn.fit(1)
    assert len(learn.recorder.values)==1 and learn.train_iter==4

def test_reset_opt_begins_with_a_new_optimizer(learn):
    learn.fit(1)
    opt = learn.opt
    learn.fit(1)
    assert learn.opt is opt
    learn.fit(1, reset_opt=True)
    assert learn.opt is not opt


# Exceptions

@pytest.mark.parametrize('at', ['before_fit','before_epoch','before_batch','after_pred','after_backward','after_batch',
                                'after_train','after_validate','after_epoch','after_fit'])
def test_after_an_exception_in_fit_the_learner_can_go_on(learn, at):
    boom = Boom(at)
    with pytest.raises(KeyError): learn.fit(1, cbs=boom)
    assert boom not in learn.cbs and boom.learn is None and not hasattr(learn, 'boom')
    assert not learn.fitting
    learn.fit(2)
    assert len(learn.recorder.values)==2

def test_after_an_exception_in_validate_the_learner_can_go_on(learn):
    boom = Boom('after_pred')
    with pytest.raises(KeyError): learn.validate(cbs=boom)
    assert boom not in learn.cbs and torch.is_grad_enabled()
    learn.fit(1)
    assert len(learn.recorder.values)==1

in_batch = ['before_batch','after_pred','after_loss']
reaches = {CancelBatchException: in_batch, CancelTrainException: ['before_train', *in_batch],
           CancelValidException: ['before_validate'],
           CancelEpochException: ['before_epoch','before_train', *in_batch, 'before_validate'],
           CancelFitException: ['before_fit','before_epoch','before_train', *in_batch, 'before_validate']}

@pytest.mark.parametrize('cancel,at', [(cancel,at) for cancel,ats in reaches.items() for at in ats])
def test_whatever_is_called_off_first_thing_the_fit_ends_in_order(dls, cancel, at):
    "Before anything has happened nothing has been recorded; nobody may trip over that."
    learn = Learner(dls, nn.Linear(4,1), mnist_loss, opt_func=SGD)
    learn.fit(2, .1, cbs=Boom(at, cancel)) # prints its table, too
    assert not learn.fitting
    if cancel is not CancelFitException: assert len(learn.recorder.values[-1])==2

def test_bars_and_table_survive_an_exception(dls, monkeypatch, capsys):
    "Where there are bars, they draw the table as well; after a fit that broke off, one without bars prints it again."
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True, raising=False)
    learn = Learner(dls, nn.Linear(4,1), mnist_loss, opt_func=SGD)
    with pytest.raises(KeyError): learn.fit(1, cbs=Boom('after_epoch'))
    learn.fit(1)
    capsys.readouterr()
    with learn.no_bar(): learn.fit(1)
    out = capsys.readouterr().out.split()
    assert out[:4]==['epoch','train_loss','valid_loss','time'] and out[4]=='0'

@pytest.mark.parametrize('at', ['after_batch','after_train','after_validate','after_epoch'])
def test_bars_and_table_survive_a_validation_in_mid_fit(dls, monkeypatch, capsys, at):
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True, raising=False)
    learn = Learner(dls, nn.Linear(4,1), mnist_loss, opt_func=SGD, metrics=batch_accuracy)
    learn.fit(3, cbs=Asks(at))
    rows = [o.split() for o in capsys.readouterr().out.replace('\r', '\n').splitlines()]
    assert [o[0] for o in rows if len(o)==5] == ['epoch','0','1','2']
    with learn.no_bar(): learn.fit(1)
    assert capsys.readouterr().out.split()[5]=='0'


# Callbacks

def test_callbacks_for_one_fit_are_gone_afterwards(learn):
    class Count(Callback):
        n = 0
        def after_step(self): self.n += 1
    count = Count()
    learn.fit(1, cbs=count)
    learn.fit(1)
    assert count.n==len(learn.dls.train) and count not in learn.cbs and not hasattr(learn, 'count')

def test_a_visitor_does_not_take_the_name_of_a_resident_away(learn):
    resident = learn.recorder
    learn.fit(1, cbs=Recorder())
    assert learn.recorder is resident and len(resident.values)==1

def test_run_false_lasts_until_the_end_of_the_fit(learn):
    class Once(Callback):
        n = 0
        def before_batch(self):
            self.n += 1
            self.run = False
    learn.add_cbs(Once)
    learn.fit(2)
    assert learn.once.n==1 and learn.once.run
    learn.fit(1)
    assert learn.once.n==2

class Asks(Callback):
    "Validates in the middle of a fit."
    def __init__(self, at): self.asked,self.at = [],at
    def after_batch(self): self._ask('after_batch')
    def after_train(self): self._ask('after_train')
    def after_validate(self): self._ask('after_validate')
    def after_epoch(self): self._ask('after_epoch')
    def _ask(self, event):
        if event!=self.at or event in ('after_batch','after_train') and not self.training: return
        self.at = None
        self.asked.append(self.learn.validate())
        self.at = event

def test_who_switched_itself_off_stays_off_when_somebody_validates(learn):
    class Once(Callback):
        n = 0
        def after_train(self): self.n,self.run = self.n+1,False
    once = Once()
    learn.fit(3, cbs=[once, Asks('after_epoch')])
    assert once.n==1

def test_predicting_in_the_middle_of_a_fit_leaves_the_model_in_training_mode(dls):
    class Predicts(Callback):
        modes = ()
        def before_batch(self):
            if self.training:
                self.learn.predict(x[0])
                self.modes += (self.model.training,)
    predicts = Predicts()
    learn = Learner(dls, nn.Sequential(nn.Dropout(.5), nn.Linear(4,1)), mnist_loss, opt_func=SGD, cbs=predicts)
    with learn.no_logging(): learn.fit(1)
    assert predicts.modes and all(predicts.modes)

def test_a_callback_may_not_hide_what_the_learner_has(learn):
    with pytest.raises(ValueError, match='would hide learn.model'): learn.add_cbs(type('Model', (Callback,), {}))

def test_loaders_need_only_be_called_train_and_valid(dls):
    from types import SimpleNamespace
    learn = Learner(SimpleNamespace(train=dls.train, valid=dls.valid), nn.Linear(4,1), mnist_loss, opt_func=SGD)
    with learn.no_logging(): learn.fit(1)
    assert len(learn.validate())==1 and len(learn.get_preds()[0])==21

@pytest.mark.parametrize('at', ['after_batch','after_train','after_validate','after_epoch'])
def test_validating_in_the_middle_of_a_fit_changes_nothing_about_the_fit(dls, at):
    "As with a callback that looks every few batches whether it should stop."
    def fitted(*cbs):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4,6), nn.BatchNorm1d(6), nn.Dropout(.5), nn.Linear(6,1))
        learn = Learner(dls, model, mnist_loss, opt_func=lambda ps,lr: SGD(ps, lr, mom=.9), metrics=batch_accuracy)
        with learn.no_logging(): learn.fit(3, .1, cbs=list(cbs))
        r = learn.recorder
        counters = learn.epoch,learn.train_iter,learn.pct_train
        return weights(learn),r.values,[o.item() for o in r.losses],r.lrs,r.iters,counters
    asks = Asks(at)
    (w,*record),(w2,*record2) = fitted(),fitted(asks)
    assert len(asks.asked)>=3 and all(len(o)==2 for o in asks.asked)
    assert torch.equal(w, w2) and record==record2


# Validation changes nothing

def test_validate_leaves_weights_optimizer_record_and_dice_as_they_were(dls):
    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4,8), nn.BatchNorm1d(8), nn.Dropout(.5), nn.Linear(8,1))
        def forward(self, x): return self.layers(x)
    learn = Learner(dls, Moody(), mnist_loss, opt_func=lambda ps,lr: SGD(ps, lr, mom=.9), metrics=batch_accuracy)
    with learn.no_logging(): learn.fit(2, .1)
    r = learn.recorder
    def now():
        state = {k: v.clone() for k,v in learn.model.state_dict().items()}
        opt = [learn.opt.state[p]['grad_avg'].clone() for p in learn.opt.params]
        record = [list(o) for o in r.values],list(r.lrs),[o.item() for o in r.losses],list(r.iters)
        return [*state.values(), *opt, torch.get_rng_state()],record,[p.grad for p in learn.opt.params]
    tensors,record,grads = now()
    result,_,_ = learn.validate(),learn.validate(0),learn.get_preds()
    tensors2,record2,grads2 = now()
    assert all(torch.equal(a, b) for a,b in zip(tensors, tensors2))
    assert record==record2 and grads==grads2==[None]*len(grads)
    assert len(result)==2 and all(isinstance(o, float) for o in result)

def test_validate_and_get_preds_need_no_fit_before(learn):
    loss,acc = learn.validate()
    p,t = learn.get_preds()
    assert acc==pytest.approx(((p>.5)==t.bool()).float().mean().item())
    assert loss==pytest.approx((p-t).abs().mean().item(), abs=1e-6)


# Predictions

def test_predict_with_one_output(learn):
    learn.fit(5)
    label,index,probs = learn.predict(x[3])
    p,_ = learn.get_preds(dl=DataLoader(Dataset(x, y), 16))
    assert probs.shape==(2,) and probs.sum().item()==pytest.approx(1)
    assert probs[1].item()==pytest.approx(p[3].item(), abs=1e-6)
    assert label==index.item()==int(p[3]>.5) and index.dtype==torch.int64

def test_predict_with_several_outputs_and_names():
    learn = two_classes(vocab=['three','seven'])
    with learn.no_logging(): learn.fit(5)
    p,t = learn.get_preds()
    assert p.shape==(21,2) and torch.allclose(p.sum(1), torch.ones(21)) and t.shape==(21,)
    for i in (0,7):
        label,index,probs = learn.predict(x[i])
        assert torch.allclose(probs, p[i], atol=1e-6) and label==['three','seven'][index]

def test_predict_does_not_guess_what_makes_probabilities(dls):
    learn = Learner(dls, nn.Linear(4,1), mse, opt_func=SGD)
    with pytest.raises(ValueError, match='activation'): learn.predict(x[0])
    p,_ = learn.get_preds()
    assert torch.allclose(p, learn.model(x[:21]))

@pytest.mark.parametrize('kwargs', [dict(drop_last=True), dict(shuffle=True), dict(shuffle=True, drop_last=True)])
def test_get_preds_gives_all_rows_in_order(kwargs):
    learn = two_classes(DataLoader(Dataset(x, y[:,0].long()), 16, **kwargs))
    p,t = learn.get_preds(0)
    assert torch.equal(t, y[:,0].long())
    assert torch.allclose(p, learn.model(x).softmax(1), atol=1e-6)

def test_get_preds_without_targets(learn):
    for dl in (DataLoader(x, 16), TorchDL(x, 16), [x[:16],x[16:]]):
        p,t = learn.get_preds(dl=dl)
        assert t is None and torch.allclose(p, learn.model(x).sigmoid(), atol=1e-6)

def test_get_preds_of_nothing_is_an_error_that_says_so(learn):
    with pytest.raises(ValueError, match='batches'): learn.get_preds(dl=DataLoader(Dataset(x[:0], y[:0]), 16))


# Odd loaders

def test_fit_zero_epochs_does_nothing(learn):
    before = weights(learn)
    learn.fit(0)
    assert learn.recorder.values==[] and torch.equal(weights(learn), before)

def test_an_empty_training_set_is_refused_before_anything_happens(learn):
    learn.dls = DataLoaders(DataLoader(Dataset(x[:3], y[:3]), 16, drop_last=True), learn.dls.valid)
    before = weights(learn)
    with pytest.raises(ValueError, match='no batches.*drop_last'): learn.fit(1)
    assert torch.equal(weights(learn), before) and learn.opt is None
    assert 0<=learn.validate()[1]<=1

def test_an_empty_validation_set_gives_no_figures(learn):
    learn.dls = DataLoaders(learn.dls.train, DataLoader(Dataset(x[:0], y[:0]), 16))
    learn.fit(1)
    (train_loss,*rest), = learn.recorder.values
    assert train_loss>0 and rest==[None,None]

def test_the_table_is_printed_even_when_a_figure_is_missing(dls, capsys):
    learn = Learner(DataLoaders(dls.train, DataLoader(Dataset(x[:0], y[:0]), 16)), nn.Linear(4,1), mnist_loss, opt_func=SGD)
    learn.fit(1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()==['epoch','train_loss','valid_loss','time'] and len(lines)==2 and '\r' not in ''.join(lines)

def test_batches_without_targets_train_nothing(learn):
    learn.dls = DataLoaders(DataLoader(x, 16), DataLoader(x, 16))
    before = weights(learn)
    learn.fit(1)
    assert torch.equal(weights(learn), before) and learn.recorder.losses==[]

def test_a_plain_list_of_batches_is_a_loader(learn):
    learn.dls = DataLoaders([(x[:25],y[:25]), (x[25:],y[25:])], [(x,y)])
    learn.fit(2)
    assert len(learn.recorder.losses)==4

def test_two_inputs_are_both_handed_to_the_model():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4,1)
        def forward(self, x, z): return self.a(x)+z
    batches = [(x,x[:,:1],y)]
    learn = Learner(DataLoaders(batches, batches), Sum(), mnist_loss, opt_func=SGD)
    with learn.no_logging(): learn.fit(1, .1)
    assert len(learn.recorder.values)==1


# Odd models, metrics and optimizers

def test_a_model_without_parameters_can_be_measured_but_not_trained(dls):
    class First(nn.Module):
        def forward(self, x): return x[:,:1]
    learn = Learner(dls, First(), mnist_loss, opt_func=SGD, metrics=batch_accuracy)
    assert learn.validate()[1]==1. and learn.get_preds()[0].shape==(21,1)
    with pytest.raises(ValueError, match='no parameter that requires a gradient'): learn.fit(1)
    assert not learn.fitting

def test_frozen_parameters_stay(dls):
    model = nn.Sequential(nn.Linear(4,3), nn.ReLU(), nn.Linear(3,1))
    model[0].requires_grad_(False)
    before = [p.detach().clone() for p in model.parameters()]
    with Learner(dls, model, mnist_loss, opt_func=SGD).no_logging() as learn: learn.fit(2, .5)
    same = [torch.equal(a, b) for a,b in zip(before, model.parameters())]
    assert same==[True,True,False,False]

def test_a_plain_function_is_trained_through_its_own_tensors(dls):
    w,b = torch.zeros(4,1).requires_grad_(),torch.zeros(1).requires_grad_()
    learn = Learner(dls, lambda x: x@w+b, mnist_loss, opt_func=BasicOptim, params=[w,b], metrics=batch_accuracy)
    with learn.no_logging(): learn.fit(10, 1.)
    assert w.abs().sum()>0 and learn.recorder.values[-1][-1]>.8
    with pytest.raises(TypeError, match='params='): Learner(dls, lambda x: x@w+b, mnist_loss)

def test_two_metrics_of_one_name_are_refused(dls):
    with pytest.raises(ValueError, match='one name'): Learner(dls, nn.Linear(4,1), mnist_loss, metrics=[mse,mse])

def optimizers():
    from fastai import optimizer as fo
    return dict(ours=SGD, basic=BasicOptim, torch=torch.optim.SGD, torch_adam=torch.optim.Adam,
                fastai=fo.SGD, fastai_adam=fo.Adam)

@pytest.mark.parametrize('name', ['ours','basic','torch','torch_adam','fastai','fastai_adam'])
def test_anybodys_optimizer_trains_and_keeps_the_rate_of_each_fit(dls, name):
    torch.manual_seed(0)
    learn = Learner(dls, nn.Linear(4,1), mnist_loss, opt_func=optimizers()[name], lr=.2)
    start = learn.validate()[0]
    with learn.no_logging():
        learn.fit(3)
        assert set(learn.recorder.lrs)=={.2}
        opt = learn.opt
        learn.fit(1, .05)
    assert set(learn.recorder.lrs)=={.05} and learn.opt is opt
    assert learn.recorder.values[-1][1]<start

def test_a_gpu_is_used_when_there_is_one(tmp_path):
    look = '''
import torch
from torch import nn
from digits_fastai.dataloaders import DataLoader,DataLoaders,Dataset
from digits_fastai.learner import Learner
from digits_fastai.losses import mnist_loss
from digits_fastai.optimizer import SGD
if not torch.cuda.is_available(): raise SystemExit('no GPU')
x = torch.randn(50,4)
dls = DataLoaders(*(DataLoader(Dataset(x, (x[:,:1]>0).float()), 16) for _ in range(2)))
learn = Learner(dls, nn.Linear(4,1), mnist_loss, opt_func=SGD)
with learn.no_logging(): learn.fit(3, 1.)
p,t = learn.get_preds()
print(*(o.device.type for o in (next(learn.model.parameters()), p, t, learn.predict(x[0])[2])))
'''
    res = run(python, '-c', look, cwd=tmp_path, ok=False, CUDA_VISIBLE_DEVICES=visible_gpus)
    if 'no GPU' in res.stderr: pytest.skip('there is no GPU here')
    assert res.stdout.split()==['cuda','cpu','cpu','cpu'], res.stderr


# What could mean a wrong answer in silence

def classes_learner(model=None, **kwargs):
    torch.manual_seed(0)
    xs,ys = torch.randn(40,9),torch.arange(40)%3
    dls = DataLoaders(DataLoader(Dataset(xs, ys), 8), DataLoader(Dataset(xs, ys), 8), vocab=['a','b','c'])
    learn = Learner(dls, model or nn.Linear(9,3), nn.CrossEntropyLoss(), **kwargs)
    learn.logger = lambda row: None
    return learn

def test_predict_takes_one_item_and_refuses_a_batch():
    learn = classes_learner()
    item = torch.randn(9)
    label,i,p = learn.predict(item)
    assert label=='abc'[i] and p.sum().isclose(torch.tensor(1.)) and len(p)==3
    for several in (item[None], torch.stack([item, item])):
        with pytest.raises(ValueError, match='one input without a batch axis'): learn.predict(several)

def test_a_flattening_model_takes_a_picture_with_or_without_its_channel():
    learn = classes_learner(nn.Sequential(nn.Flatten(), nn.Linear(9,3)))
    item = torch.randn(3,3)
    assert torch.equal(learn.predict(item)[2], learn.predict(item[None])[2])

def test_a_picture_that_is_opened_already_is_turned_as_its_file_is(tmp_path):
    from PIL import Image
    torch.manual_seed(0)
    learn = Learner(DataLoaders.from_tensors((torch.rand(8,12), torch.ones(8,1)), (torch.rand(8,12), torch.ones(8,1))),
                    nn.Linear(12,1), mnist_loss, opt_func=SGD)
    notes = Image.Exif()
    notes[0x0112] = 6
    upright = (torch.arange(12)*20).to(torch.uint8).view(3,4)
    Image.fromarray(upright.numpy()).transpose(Image.Transpose.ROTATE_90).save(tmp_path/'a.png', exif=notes)
    want = learn.predict(upright.flatten().float()/255)[2]
    for given in (tmp_path/'a.png', Image.open(tmp_path/'a.png')): assert torch.equal(learn.predict(given)[2], want)

def test_predict_takes_pictures_and_their_files(tmp_path):
    from PIL import Image
    learn = classes_learner()
    array = (torch.arange(9).view(3,3)*25).to(torch.uint8)
    picture = Image.fromarray(array.numpy())
    picture.save(tmp_path/'a.png')
    want = learn.predict(array.flatten().float()/255)[2]
    for given in (picture, tmp_path/'a.png', str(tmp_path/'a.png')): assert torch.equal(learn.predict(given)[2], want)
    with pytest.raises(ValueError, match='5×3 pixels'): learn.predict(Image.new('L', (3,5)))

def test_predict_gives_colour_models_the_grey_in_each_channel(tmp_path):
    from PIL import Image
    xs = torch.rand(12,3,4,4)
    dls = DataLoaders(DataLoader(Dataset(xs, torch.arange(12)%2), 4), DataLoader(Dataset(xs, torch.arange(12)%2), 4))
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(48,2)), nn.CrossEntropyLoss())
    picture = Image.new('L', (4,4), 51)
    assert torch.equal(learn.predict(picture)[2], learn.predict(torch.full((3,4,4), .2))[2])

def test_predict_refuses_a_model_of_several_outputs():
    class Pair(nn.Linear):
        def forward(self, x): return super().forward(x),x
    with pytest.raises(ValueError, match='gives a tuple'): classes_learner(Pair(9,3)).predict(torch.randn(9))

def test_predict_takes_a_tuple_for_a_model_of_several_inputs():
    class Sum(nn.Linear):
        def forward(self, a, b): return super().forward(a+b)
    learn = classes_learner(Sum(9,3))
    a,b = torch.randn(2,9)
    assert torch.equal(learn.predict((a,b))[2], learn.predict((a+b, torch.zeros(9)))[2])

def test_predictions_of_a_model_that_gives_a_tuple_come_as_a_tuple():
    class Pair(nn.Linear):
        def forward(self, x): return super().forward(x),x[:,:1]
    learn = classes_learner(Pair(9,3))
    learn.loss_func = lambda preds, targs: nn.functional.cross_entropy(preds[0], targs)
    learn.fit(1)
    (first,second),targs = learn.get_preds()
    assert first.shape==(40,3) and second.shape==(40,1) and targs.shape==(40,)

@pytest.mark.parametrize('n,lr,wd', [(-1,None,None), (1,math.nan,None), (1,math.inf,None), (1,-.1,None), (1,[.1,math.nan],None),
                                     (1,slice(.1,math.nan),None), (1,None,math.nan), (1,None,-1.)])
def test_a_fit_that_makes_no_sense_is_refused_and_changes_nothing(n, lr, wd):
    learn = classes_learner()
    before = learn.model.weight.detach().clone()
    with pytest.raises(ValueError, match='was given'): learn.fit(n, lr, wd)
    assert torch.equal(learn.model.weight, before) and learn.opt is None

def test_a_rate_of_the_learner_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match='lr=nan'): classes_learner(lr=math.nan).fit(1)

def test_decay_is_refused_by_an_optimizer_that_has_none():
    with pytest.raises(ValueError, match='no weight decay'): classes_learner(opt_func=BasicOptim, wd=.1).fit(1)
    classes_learner(opt_func=BasicOptim, wd=0.).fit(1)

def test_a_layer_put_in_the_place_of_another_is_trained():
    learn = classes_learner(nn.Sequential(nn.Linear(9,4), nn.ReLU(), nn.Linear(4,3)))
    learn.fit(1)
    old = learn.opt
    learn.model[2] = nn.Linear(4,3)
    before = learn.model[2].weight.detach().clone()
    with pytest.warns(UserWarning, match='a new optimizer is made'): learn.fit(1)
    assert learn.opt is not old and not torch.equal(before, learn.model[2].weight)

def test_a_parameter_thawed_by_hand_is_trained():
    model = nn.Sequential(nn.Linear(9,4), nn.ReLU(), nn.Linear(4,3))
    model[0].requires_grad_(False)
    learn = classes_learner(model)
    learn.fit(1)
    model[0].requires_grad_(True)
    before = model[0].weight.detach().clone()
    with pytest.warns(UserWarning, match='thawed by hand'): learn.fit(1)
    assert not torch.equal(before, model[0].weight)

def test_the_same_layers_keep_their_optimizer():
    learn = classes_learner()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        learn.fit(1)
        old = learn.opt
        learn.fit(1)
    assert learn.opt is old

def test_one_callback_listens_to_one_learner():
    class Counts(Callback):
        n = 0
        def after_step(self): self.n += 1
    cbs = [Counts()]
    a = classes_learner(cbs=cbs)
    with pytest.raises(ValueError, match='listens to another Learner'): classes_learner(cbs=cbs)
    a.remove_cbs(cbs)
    b = classes_learner(cbs=cbs)
    b.fit(1)
    assert b.counts.n==len(b.dls.train)
    other = classes_learner()
    for learn in (a, other): learn.fit(1, cbs=Counts) # a class: each has one of its own

@pytest.mark.parametrize('name', 'xb yb pred loss loss_grad epoch iter training dl opt model train_iter pct_train n_epoch'.split())
def test_a_callback_that_hides_what_the_learner_has_warns(name):
    cb = type('Hides', (Callback,), {'before_batch': lambda self: setattr(self, name, 0)})()
    with pytest.warns(UserWarning, match=f'self.learn.{name} = … changes the Learner'): classes_learner(cbs=cb).fit(1)

def test_a_callback_may_have_names_of_its_own():
    class Own(Callback):
        def before_fit(self): self.seen,self._hidden,self.run_valid = [],0,False
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        classes_learner(cbs=Own).fit(1)

def test_what_a_metric_refuses_is_refused_at_the_first_batch():
    learn = classes_learner(metrics=batch_accuracy) # of one output, not of three
    seen = []
    with pytest.raises(ValueError): learn.fit(3, cbs=Callback(after_step=lambda self: seen.append(1)))
    assert len(seen)<=1

def test_a_metric_may_be_a_class_and_be_changed():
    class Ones(AvgMetric):
        def __init__(self): super().__init__(lambda p, t: 1.)
        name = 'ones'
    learn = classes_learner(metrics=Ones)
    learn.fit(1)
    assert learn.recorder.values[-1][-1]==1
    learn.metrics = []
    learn.fit(1)
    assert learn.recorder.metric_names==['epoch','train_loss','valid_loss','time']

def test_no_validation_set_is_no_error():
    learn = classes_learner()
    learn.dls.valid = []
    learn.fit(2)
    assert len(learn.recorder.values)==2
    with pytest.raises(ValueError, match='no batches to predict'): learn.get_preds()

def test_the_loaders_loss_is_taken_or_missed():
    learn = classes_learner()
    with pytest.raises(ValueError, match='no loss was given'): Learner(learn.dls, nn.Linear(9,3))
    learn.dls.train_ds.loss_func = nn.functional.cross_entropy
    assert Learner(learn.dls, nn.Linear(9,3)).loss_func is nn.functional.cross_entropy

def test_the_rate_of_a_partial_is_the_learners():
    learn = classes_learner(opt_func=partial(SGD, lr=.25))
    learn.fit(1)
    assert learn.lr==.25 and set(learn.recorder.lrs)=={.25}

def test_a_function_is_a_callback_for_one_event():
    seen = []
    classes_learner().fit(1, cbs=Callback(after_epoch=lambda self: seen.append(self.epoch)))
    assert seen==[0]
    with pytest.raises(TypeError, match='no event after_epochs'): Callback(after_epochs=print)

def test_losses_of_items_have_the_mean_that_validate_gives():
    for loss_func in (nn.CrossEntropyLoss(), nn.functional.cross_entropy, lambda p, t: nn.functional.cross_entropy(p, t)):
        learn = classes_learner()
        learn.loss_func = loss_func
        *_,losses = learn.get_preds(with_loss=True)
        assert losses.shape==(40,) and losses.mean().item()==pytest.approx(learn.validate()[0], abs=1e-6)
        assert learn.loss_func is loss_func and getattr(loss_func, 'reduction', 'mean')=='mean'


# The moving average is brought up to date when somebody asks

@pytest.mark.parametrize('dtypes', [[torch.float32]*9, [torch.float16]*9, [torch.float32]*4+[torch.float64]*5])
def test_the_average_of_many_batches_is_that_of_one_after_the_other_to_the_last_digit(dtypes):
    losses = [torch.rand(3 if i%2 else (), dtype=t) for i,t in enumerate(dtypes)]
    at_once,alone = AvgSmoothLoss(),AvgSmoothLoss()
    for o in (at_once,alone): o.reset()
    expected = []
    for o in losses:
        alone.accumulate(SimpleNamespace(loss=o))
        expected.append(alone.value)
    found = at_once.extend(losses[:4]) + at_once.extend([]) + at_once.extend(losses[4:])
    assert [(o.dtype,o.item()) for o in found]==[(o.dtype,o.item()) for o in expected]
    assert at_once.count==alone.count and torch.equal(at_once.val, alone.val)

class Reads(Callback):
    "Reads the record after each batch."
    order = 55
    def after_batch(self): self.learn.seen = len(self.recorder.losses),self.recorder.smooth_loss.count

def test_a_record_that_is_read_at_each_batch_is_the_same(dls):
    def record(*cbs):
        torch.manual_seed(0)
        learn = Learner(dls, nn.Linear(4,1), mnist_loss, opt_func=SGD, metrics=batch_accuracy, lr=.1, cbs=cbs)
        with learn.no_logging(): learn.fit(3)
        if cbs: assert learn.seen==(12,12)
        return [o.item() for o in learn.recorder.losses],learn.recorder.values
    assert record(Reads())==record()

@pytest.mark.parametrize('bad', [.5,-1,2,math.inf,-math.inf,math.nan,1e-40,1+1e-6])
def test_targets_are_zeros_and_ones(bad):
    preds = torch.zeros(3,1)
    for f in (mnist_loss,batch_accuracy):
        with pytest.raises(ValueError, match='it takes 1 for'): f(preds, torch.tensor([[0.],[1.],[bad]]))
        for dtype in (torch.uint8,torch.int8,torch.int64,torch.float16,torch.bool):
            f(preds, torch.tensor([[0],[1],[1]], dtype=dtype))
