"Chapter 13: augmentation, seeds, folds, the log of runs and the search hold against torchvision, scikit-learn and SciPy."
import io,json,random
from contextlib import redirect_stdout
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given,settings,strategies as st
from sklearn.model_selection import ParameterGrid
from torch import nn

from digits_fastai.nets import augment as augment_module
from digits_fastai.nets.augment import Augment,affine,augment
from digits_fastai.training.checkpoints import Checkpoint
from digits_fastai.dataloaders import DataLoaders,Dataset
from digits_fastai.events import Callback
from digits_fastai.nets.experiments import (Experiment,check_folds,code_version,compare,cross_validate,difference,plot_runs,
                                       plot_spread,search,seed_spread,stratified_folds)
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy,cross_entropy
from digits_fastai.optimizer import Adam

modest = dict(degrees=15., shift=2., scale=.1, shear=10.)


def blobs(n=60, seed=0): # three classes, easily told apart
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n)%3
    return torch.rand(n, 784, generator=g)*.5 + F.one_hot(y, 784).float()*3,y

def learner(dls=None, cbs=None, shuffle=True, seed=0):
    torch.manual_seed(seed)
    x,y = blobs()
    dls = dls or DataLoaders.from_tensors((x[:40],y[:40]), (x[40:],y[40:]), batch_size=10, shuffle=shuffle)
    return Learner(dls, nn.Linear(784,3), cross_entropy, Adam, lr=1e-2, metrics=accuracy, cbs=cbs)

def quiet(learn, *args, **kwargs):
    with learn.no_bar(), learn.no_logging(), redirect_stdout(io.StringIO()): learn.fit(*args, **kwargs)
    return learn

def dice(seed=0): return torch.Generator().manual_seed(seed)


# Augmentation

numbers = st.tuples(st.floats(-180, 180), st.floats(-6, 6), st.floats(-6, 6), st.floats(.5, 2), st.floats(-40, 40))
sides = st.integers(5, 30)

def soft(seed, h, w): # without sharp edges, at which the last bit of a coordinate would matter
    return F.avg_pool2d(torch.rand(2,1,h,w, generator=dice(seed)), 3, 1, 1)

def same_as_torchvision(ours, seed, h, w, case):
    from torchvision.transforms.functional import InterpolationMode,affine as theirs
    angle,right,down,scale,shear = case
    x = soft(seed, h, w)
    out = ours(x, angle, right, down, scale, shear)
    ref = theirs(x, angle, [right,down], scale, [shear,0.], interpolation=InterpolationMode.BILINEAR)
    assert (out-ref).abs().max()<1e-3

@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), sides, sides, numbers)
def test_affine_is_torchvisions(seed, h, w, case): same_as_torchvision(affine, seed, h, w, case)

def corners_aligned(x, *case):
    def grid(theta, size, align_corners): return F.affine_grid(theta, size, align_corners=True)
    functions = SimpleNamespace(affine_grid=grid, grid_sample=F.grid_sample)
    with mock.patch.object(augment_module, 'F', functions): return affine(x, *case)

twins = {
    'turned the other way': lambda x,angle,right,down,scale,shear: affine(x, -angle, right, down, scale, shear),
    'not slanted': lambda x,angle,right,down,scale,shear: affine(x, angle, right, down, scale, 0.),
    'smaller instead of larger': lambda x,angle,right,down,scale,shear: affine(x, angle, right, down, 1/scale, shear),
    'moved the other way': lambda x,angle,right,down,scale,shear: affine(x, angle, -right, -down, scale, shear),
    'moved before it is turned': lambda x,angle,right,down,scale,shear: affine(affine(x, 0., right, down), angle, 0., 0.,
                                                                                scale, shear),
    'height for width': lambda x,angle,right,down,scale,shear: affine(x.mT, angle, right, down, scale, shear).mT,
    'corners aligned': corners_aligned}

@pytest.mark.parametrize('twin', twins)
def test_a_broken_affine_is_noticed(twin):
    case = 30.,2.,-3.,1.3,20.
    same_as_torchvision(affine, 0, 12, 20, case)
    with pytest.raises(AssertionError): same_as_torchvision(twins[twin], 0, 12, 20, case)

def test_affine_takes_a_number_for_all_or_one_for_each():
    x = soft(0, 9, 9)
    each = affine(x, torch.tensor([10.,20.]), right=torch.tensor([1.,0.]))
    assert torch.allclose(each[:1], affine(x[:1], 10., 1.), atol=1e-6) and torch.allclose(each[1:], affine(x[1:], 20.), atol=1e-6)
    assert torch.allclose(affine(x), x, atol=1e-5)
    assert torch.allclose(affine(x.double(), 90), x.double().rot90(-1, (2,3)), atol=1e-9)

@pytest.mark.parametrize('bad', [torch.zeros(2,5,5), torch.zeros(2,1,5,5, dtype=torch.uint8)])
def test_affine_says_what_it_needs(bad):
    with pytest.raises(ValueError, match=r'float pictures \[B,C,H,W\] are needed'): affine(bad)

def test_the_same_generator_gives_the_same_pictures_and_another_others():
    x = soft(0, 28, 28)
    a,b,c = (augment(x, **modest, generator=dice(s)) for s in (1,1,2))
    assert torch.equal(a, b) and not torch.equal(a, c)
    torch.manual_seed(3)
    a = augment(x, **modest)
    torch.manual_seed(3)
    assert torch.equal(a, augment(x, **modest)) # no generator: PyTorch's own
    assert torch.equal(augment(x.flatten(1), **modest, generator=dice(1)), b.flatten(1))

def test_limits_are_kept_and_reached():
    x = torch.zeros(4000,1,15,15)
    x[:,:,7,7] = 1
    out = augment(x, shift=3., generator=dice())
    rows,cols = (out.sum((1,d))@torch.arange(15.) for d in (3,2)) # centres of mass
    for o in (rows-7, cols-7): assert -3.001<=o.min()<-2.9 and 2.9<o.max()<=3.001 and abs(o.mean())<.1
    assert abs(torch.corrcoef(torch.stack([rows,cols]))[0,1])<.06 # across and down have dice of their own

def test_a_picture_keeps_its_angle_when_something_else_is_added():
    x = soft(0, 28, 28)
    turned = augment(x, degrees=30, generator=dice())
    holed = augment(x, degrees=30, erase=5, generator=dice())
    assert torch.equal(turned[holed!=0], holed[holed!=0]) and (holed==0).sum()>=(turned==0).sum()

def test_nothing_to_do_gives_the_batch_itself():
    x = soft(0, 8, 8)
    assert augment(x) is x
    assert augment(x[:0], **modest).shape==(0,1,8,8)
    assert torch.allclose(augment(x, degrees=1e-7, generator=dice()), x, atol=1e-5)

def test_erased_squares_are_whole_and_everywhere():
    x = augment(torch.ones(3000,1,10,8), erase=4, generator=dice())
    assert ((x==0).sum((1,2,3))==16).all()
    share = (x==0).float().mean(0)[0]
    assert share.min()>0 and share[0,0]<share[5,4] # corners less often than the middle
    assert (augment(torch.ones(3,1,6,6), erase=6)==0).all()

@pytest.mark.parametrize('limits', [dict(degrees=-1), dict(shift=-.1), dict(scale=1.), dict(shear=90), dict(erase=29),
                                    dict(erase=2.5)])
def test_impossible_limits(limits):
    with pytest.raises(ValueError, match='were given: none may be negative'): augment(torch.zeros(2,1,28,28), **limits)

@pytest.mark.parametrize('shape', [(3,28,28), (3,700), (3,)])
def test_other_shapes(shape):
    with pytest.raises(ValueError, match=r'\[B,1,H,W\] are needed'): augment(torch.zeros(shape), degrees=1)

class Watch(Callback):
    order = 1
    def __init__(self): self.train,self.valid,self.labels = [],[],[]
    def before_batch(self):
        (self.train if self.training else self.valid).append(self.xb[0].clone())
        if self.training: self.labels.append(self.yb[0].clone())

def watched(epochs=2, **kwargs):
    learn = learner(cbs=[Augment(**kwargs), Watch()], shuffle=False)
    return quiet(learn, epochs)

def test_training_batches_are_new_in_each_epoch_and_nothing_else_changes():
    learn = watched(seed=1)
    x,y = blobs()
    for i in range(4):
        assert not torch.equal(learn.watch.train[i], learn.watch.train[4+i])
        assert torch.equal(learn.watch.labels[i], y[10*i:10*i+10]) and torch.equal(learn.watch.labels[4+i], learn.watch.labels[i])
    assert torch.equal(torch.cat(learn.watch.valid[:2]), x[40:])
    assert torch.equal(learn.dls.train_ds.x, x[:40]) # the data itself
    assert learn.validate()==learn.validate() and learn.validate(0)==learn.validate(0)
    again = watched(seed=1)
    assert all(map(torch.equal, learn.watch.train, again.watch.train))
    assert not torch.equal(watched(seed=2).watch.train[0], learn.watch.train[0])

def test_augmented_training_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    for seed in (None,5):
        whole = quiet(learner(cbs=Augment(seed=seed)), 4)
        quiet(learner(cbs=[Augment(seed=seed), Checkpoint(tmp_path/'half'), Stop()]), 4)
        late = learner(cbs=Augment(seed=seed), seed=9)
        late.load(tmp_path/'half')
        quiet(late, 4, start_epoch=late.done_epochs)
        assert late.recorder.values==whole.recorder.values and len(whole.recorder.values)==4

class Stop(Callback):
    order = 99
    def after_epoch(self):
        if self.fitting and self.epoch==1: raise_cancel()

def raise_cancel():
    from digits_fastai.events import CancelFitException
    raise CancelFitException


# Seeds

def test_seed_spread_sets_all_dice_and_puts_them_back():
    def roll(seed): return dict(t=torch.rand(1).item(), p=random.random(), n=np.random.rand(), seed_was=seed)
    states = torch.get_rng_state(),random.getstate(),np.random.get_state()[1].tolist()
    a,b = seed_spread(roll, 3, first=4),seed_spread(roll, 3, first=4)
    assert a.equals(b) and list(a.index)==[4,5,6,'mean','spread'] and list(a.seed_was[:3])==[4,5,6]
    assert a.t[:3].nunique()==3
    assert a.t['mean']==pytest.approx(a.t[:3].mean()) and a.t['spread']==pytest.approx(np.std(list(a.t[:3]), ddof=1))
    assert torch.equal(states[0], torch.get_rng_state()) and states[1]==random.getstate()
    assert states[2]==np.random.get_state()[1].tolist()

def test_seed_spread_takes_learners_and_numbers():
    t = seed_spread(lambda seed: quiet(learner(seed=seed), 1), 2)
    assert list(t.columns)==['train_loss','valid_loss','accuracy']
    assert seed_spread(lambda seed: torch.tensor(float(seed)), 3).value.tolist()==[0,1,2,1,1]
    with pytest.raises(ValueError, match='one run has no spread'): seed_spread(float, 1)

figures = st.lists(st.floats(0, 1), min_size=2, max_size=8)

@settings(max_examples=30, deadline=None)
@given(figures, figures, st.sampled_from([.5,.9,.95]))
def test_difference_is_scipys(a, b, confidence):
    from scipy.stats import ttest_ind
    if min(np.std(a), np.std(b))<1e-3: return
    d,margin = difference(a, b, confidence=confidence)
    ref = ttest_ind(a, b, equal_var=False).confidence_interval(confidence)
    assert [d-margin,d+margin]==pytest.approx([ref.low,ref.high], abs=1e-9)

@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8))
def test_paired_difference_is_scipys(pairs):
    from scipy.stats import ttest_rel
    a,b = map(list, zip(*pairs))
    if np.std(np.array(a)-b)<1e-3: return
    d,margin = difference(a, b, paired=True)
    ref = ttest_rel(a, b).confidence_interval(.95)
    assert [d-margin,d+margin]==pytest.approx([ref.low,ref.high], abs=1e-9)

def test_difference_of_tables_and_of_figures_that_do_not_move():
    a,b = (seed_spread(lambda seed: dict(accuracy=seed*k), 3) for k in (1.,2.))
    assert difference(a, b)==difference([0.,1.,2.], [0.,2.,4.])
    assert difference([1.,1.], [.5,.5])==(.5,0)
    for args in (([1.],[2.,3.]), ([1.,2.,3.],[1.,2.])):
        with pytest.raises(ValueError, match='2 or more each'): difference(*args, paired=True)

def test_plot_spread_by_name_and_by_number():
    import matplotlib.pyplot as plt
    ax = plot_spread({'a': [1.,2.,3.], 'b': [2.,2.5]})
    assert [o.get_text() for o in ax.get_yticklabels()]==['a','b'] and ax.get_xlabel()=='accuracy'
    ax = plot_spread({1: [1.,2.,3.], 4: [2.,2.5]}, label='line')
    line = ax.get_lines()[0]
    assert line.get_xdata().tolist()==[1,4] and line.get_ydata().tolist()==[2,2.25]
    assert len(ax.collections[-1].get_offsets())==5
    plt.close('all')


# Folds

def make(dls): return learner(dls)

def test_folds_are_scikit_learns():
    from sklearn.model_selection import StratifiedKFold
    y = torch.arange(100)%7
    for (a,b),(c,d) in zip(stratified_folds(y, 4, 3), StratifiedKFold(4, shuffle=True, random_state=3).split(y, y)):
        assert a.tolist()==c.tolist() and b.tolist()==d.tolist()
    with pytest.raises(ValueError): stratified_folds(y, 50)

def test_cross_validate_trains_once_for_each_fold_from_the_same_start():
    x,y = blobs()
    starts,parts = [],[]
    def watched_make(dls):
        learn = make(dls)
        starts.append(learn.model.weight.detach().clone())
        parts.append((len(dls.train_ds.x),len(dls.valid_ds.x)))
        return learn
    t = cross_validate(watched_make, Dataset(x, y), k=3, epochs=4, batch_size=4)
    assert list(t.index)==[0,1,2,'mean','spread'] and parts==[(40,20)]*3 and t.accuracy['mean']>.9
    assert all(torch.equal(o, starts[0]) for o in starts)
    assert t.equals(cross_validate(make, Dataset(x, y), k=3, epochs=4, batch_size=4))
    assert not t.equals(cross_validate(make, Dataset(x, y), k=3, epochs=4, batch_size=4, seed=1))

def test_cross_validation_with_shuffled_labels_is_guessing():
    x,y = blobs(300)
    y = y[torch.randperm(300, generator=dice(1))]
    x = torch.rand(300, 784, generator=dice(2)) # nothing in them
    assert cross_validate(make, Dataset(x, y), k=3, epochs=3).accuracy['mean']<.45

def test_leaky_folds_are_noticed():
    x,y = blobs()
    good = stratified_folds(y, 3)
    check_folds(good, x)
    (a,b),*rest = good
    for folds,said in (([(torch.cat([a,b[:1]]),b), *rest], '1 items train and validate'),
                       ([(a,b[1:]), *rest], '1 items validate never'), ([(a,b), *rest, (a,b)], '20 more than once')):
        with pytest.raises(ValueError, match=said): cross_validate(make, Dataset(x, y), folds=folds)
    copied = x.clone()
    copied[b[0]] = copied[a[0]]
    with pytest.raises(ValueError, match='fold 0: 1 of 20 validation items have an exact copy'):
        cross_validate(make, Dataset(copied, y), folds=good)


# The log of runs

def test_an_experiment_keeps_everything(tmp_path):
    learn = quiet(learner(cbs=Experiment(tmp_path/'a', dict(idea='none'))), 2)
    note = json.loads((tmp_path/'a'/'run.json').read_text())
    assert note['status']=='done' and note['config']['idea']=='none' and note['config']['n_params']==784*3+3
    assert note['metrics']==dict(zip(['train_loss','valid_loss','accuracy'], learn.recorder.values[-1]))
    assert set(note['code'])=={'commit','changed','digits_fastai'} and note['seconds']>=0
    history = learn.experiment.read_log()
    assert history.valid_loss.tolist()==pytest.approx([o[1] for o in learn.recorder.values])
    assert sorted(o.name for o in (tmp_path/'a').iterdir())==['history.csv','run.json']
    quiet(learn, 1) # a second fit of the same run goes below the first
    assert len(learn.experiment.read_log())==3

def test_a_run_is_never_written_over(tmp_path):
    quiet(learner(cbs=Experiment(tmp_path/'a')), 1)
    before = {o.name: o.read_bytes() for o in (tmp_path/'a').iterdir()}
    with pytest.raises(FileExistsError, match='a folder of its own'): quiet(learner(cbs=Experiment(tmp_path/'a')), 1)
    assert before=={o.name: o.read_bytes() for o in (tmp_path/'a').iterdir()}

def test_how_a_run_ended(tmp_path):
    class Trip(Callback):
        order = 70
        def __init__(self, e): self.e = e
        def before_train(self):
            if self.epoch==1: raise self.e
        def before_fit(self): self.seen = json.loads((tmp_path/'x'/'run.json').read_text())['status']
    for e,status in ((RuntimeError('no'),'failed: RuntimeError'), (KeyboardInterrupt(),'interrupted')):
        learn = learner(cbs=[Experiment(tmp_path/'x'), Trip(e)])
        with pytest.raises(type(e)): quiet(learn, 3)
        assert learn.trip.seen=='running'
        row = compare(tmp_path).loc['x']
        assert row.status==status and row.epochs==1
        for o in (tmp_path/'x').iterdir(): o.unlink()
    with pytest.raises(RuntimeError): # before the first epoch was done
        quiet(learner(cbs=[Experiment(tmp_path/'x'), type('Early', (Callback,), {'before_train': trip})()]), 3)
    assert compare(tmp_path).loc['x', 'epochs']==0

def trip(self): raise RuntimeError('at once')

def test_compare_shows_what_differs(tmp_path):
    for lr in (.1,.2): quiet(learner(cbs=Experiment(tmp_path/f'lr {lr}', dict(n=1))), 2, lr)
    t = compare(tmp_path)
    assert list(t.index)==['lr 0.1','lr 0.2'] and t.lr.tolist()==[.1,.2] and 'n' not in t and 'seed' not in t
    assert compare([tmp_path/'lr 0.2']).index.tolist()==['lr 0.2']
    ax = plot_runs(tmp_path, 'accuracy')
    assert [len(o.get_xdata()) for o in ax.get_lines()]==[2,2]
    with pytest.raises(ValueError, match='there are no runs'): compare(tmp_path/'nothing')

def test_code_version_outside_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
    assert code_version()['commit'] is None and code_version()['changed'] is None
    monkeypatch.setenv('PATH', str(tmp_path)) # and without git
    assert code_version()['commit'] is None

def test_code_version_in_a_repository(tmp_path, monkeypatch):
    from conftest import run
    monkeypatch.chdir(tmp_path)
    names = {f'GIT_{who}_{what}': 'a@b' for who in ('AUTHOR','COMMITTER') for what in ('NAME','EMAIL')}
    (tmp_path/'f').write_text('1')
    for cmd in ('init -q', 'add f', 'commit -qm one'): run('git', *cmd.split(), cwd=tmp_path, **names)
    v = code_version()
    assert len(v['commit'])==40 and v['changed'] is False
    (tmp_path/'f').write_text('2')
    assert code_version()=={**v, 'changed': True}


# The search

def test_a_search_goes_on_where_it_was_stopped(tmp_path):
    calls,log = [],tmp_path/'log.csv'
    def run(a, b, c):
        calls.append((a,b,c))
        if len(calls)==4: raise KeyboardInterrupt
        return dict(figure=a+.1, word=f'{b}, "{c}"')
    configs = ParameterGrid(dict(a=[1,2e-5], b=['x',None,True]))
    configs = [dict(o, c=0.) for o in configs]
    with pytest.raises(KeyboardInterrupt): search(run, configs, log)
    assert len(log.read_text().splitlines())==4
    found = search(run, configs, log)
    assert len(calls)==7 and len(set(map(str, calls)))==6 and found.figure.tolist()==[1.1]*3+[2e-5+.1]*3
    bytes_then = log.read_bytes()
    assert search(run, configs[::-1], log).figure.tolist()==found.figure.tolist()[::-1]
    assert len(calls)==7 and log.read_bytes()==bytes_then # nothing is run again, nothing is written
    assert found.equals(search(run, configs, log))
    new = search(run, configs+[dict(a=3, b='x', c=0.)], log)
    assert len(calls)==8 and len(new)==7

def test_a_search_wants_the_same_names(tmp_path):
    for configs in ([], [dict(a=1),dict(b=1)]):
        with pytest.raises(ValueError, match='with the same names'): search(float, configs, tmp_path/'log.csv')
    search(lambda a: a, ParameterGrid(dict(a=[1])), tmp_path/'log.csv')
    with pytest.raises(ValueError, match='has the columns'): search(lambda b: b, [dict(b=1)], tmp_path/'log.csv')

def test_the_log_of_the_chapter_is_whole():
    import pandas as pd
    from conftest import root
    log = pd.read_csv(root/'nbs'/'nets'/'experiments_search.csv')
    assert len(log)==94 and not log.isna().any().any() and log.accuracy.between(.5, 1).all()
    assert not log.duplicated(['net','width','depth','lr','drop','degrees','seed']).any()
