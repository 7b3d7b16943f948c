"Shifted batches, portions of an epoch, pooling before batch norm, and a recipe that learns."
from copy import deepcopy
from dataclasses import replace
from itertools import chain,islice,repeat

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given,settings,strategies as st
from torch import nn

from digits_fastai.nets import seconds
from digits_fastai.nets.convolutions import conv_net
from digits_fastai.dataloaders import DataLoader,DataLoaders
from digits_fastai.download import digits_path
from digits_fastai.events import Callback
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy
from digits_fastai.nets.ten_digits import ten_digits


def dice(seed): return torch.Generator().manual_seed(seed)

@pytest.fixture(scope='module')
def data(): return ten_digits(digits_path(full=True))

def part_of(data, n, m):
    return replace(data, x=data.x[:n], y=data.y[:n], valid_x=data.valid_x[:m], valid_y=data.valid_y[:m])

# The comparisons. Each takes the module, in which the last test exchanges things.

shift_cases = st.tuples(st.integers(0, 10**6), st.integers(0, 4), st.integers(1, 3), st.integers(1, 6),
                        st.integers(1, 6), st.integers(0, 4))

def moved(im, right, down):
    "Roll, then blank what came round. A roll by more than the picture's size leaves nothing."
    res = im.roll((down,right), (-2,-1))
    h,w = im.shape[-2:]
    rows,cols = torch.arange(h),torch.arange(w)
    inside = ((rows>=down)&(rows<h+down))[:,None] & ((cols>=right)&(cols<w+right))
    return torch.where(inside, res, 0)

def same_as_rolling(m, case):
    seed,b,c,h,w,n = case
    x = torch.rand(b, c, h, w, generator=dice(seed)) + 1 # no zeros of its own
    before = x.clone()
    out = m.shift(x, n, dice(seed))
    row,col = torch.randint(0, 2*n+1, (2,b), generator=dice(seed))
    assert out.shape==x.shape and out.dtype==x.dtype and torch.equal(x, before)
    for im,new,r,d in zip(x, out, (n-col).tolist(), (n-row).tolist()): assert torch.equal(new, moved(im, r, d))

def all_places_equally_often(m):
    dot = torch.zeros(9000,1,5,5)
    dot[:,:,2,2] = 1
    counts = m.shift(dot, 1, dice(0)).sum((0,1))
    assert counts[1:4,1:4].min()>850 and counts.sum()==9000, counts # 1000 each, give or take five standard deviations

def flat_as_pictures(m):
    x = torch.rand(6, 1, 7, 7, generator=dice(0))
    assert torch.equal(m.shift(x.flatten(1), 2, dice(1)).view(x.shape), m.shift(x, 2, dice(1)))

def same_walk(m, n, batch_size, epochs):
    dl = DataLoader(range(n), batch_size)
    part = m.Portion(dl, epochs)
    batches = [b.tolist() for b in part]
    want = max(1, round(epochs*len(dl)))
    one = [list(range(i, min(i+batch_size, n))) for i in range(0, n, batch_size)]
    assert len(part)==want and batches==[one[i%len(one)] for i in range(want)]
    assert batches==[b.tolist() for b in part] # and again, for the next epoch

def each_walk_in_its_own_order(m):
    walked = torch.cat(list(m.Portion(DataLoader(range(100), 10, shuffle=True, generator=dice(0)), 2.5)))
    first,second,half = walked[:100],walked[100:200],walked[200:]
    assert torch.equal(first.sort().values, torch.arange(100)) and torch.equal(second.sort().values, torch.arange(100))
    assert not torch.equal(first, second) and len(half.unique())==50

def same_net(m):
    "Pooling first is pooling last, in evaluation, while no weight of batch norm is negative."
    torch.manual_seed(0)
    old,new = conv_net(stride=1, width=8),m.fast_net(widths=(8,16,32))
    for bn in (o for o in old.modules() if isinstance(o, nn.BatchNorm2d)):
        with torch.no_grad():
            for p in (bn.weight,bn.running_var): p.uniform_(.5, 2)
            for p in (bn.bias,bn.running_mean): p.normal_()
    theirs = [o for o in old.modules() if isinstance(o, (nn.Conv2d,nn.BatchNorm2d,nn.Linear))]
    ours = [o for o in new.modules() if isinstance(o, (nn.Conv2d,nn.BatchNorm2d,nn.Linear))]
    assert len(ours)==len(theirs)
    for a,b in zip(ours, theirs): a.load_state_dict(b.state_dict())
    x = torch.randn(20, 784, generator=dice(0))
    assert (old.eval()(x)-new.eval()(x)).abs().max()<1e-5

class Watch(Callback):
    "What the model sees, and at which rate."
    order = 70
    def before_fit(self): self.seen,self.rates = dict(train=[], valid=[]),[]
    def before_batch(self):
        self.seen['train' if self.training else 'valid'].append((self.xb[0].clone(),self.yb[0].clone()))
        if self.training: self.rates.append(self.opt.param_groups[0]['lr'])

def shifts_in_training_only(m):
    x,y = torch.rand(40, 784, generator=dice(0)),torch.arange(40)%10
    dls = DataLoaders.from_tensors((x,y), (x,y), batch_size=20, shuffle=False)
    learn = Learner(dls, nn.Linear(784,10), nn.CrossEntropyLoss(), cbs=[m.Shift(2), Watch()])
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 0.)
    pictures = {k: [xb for xb,_ in v] for k,v in learn.watch.seen.items()}
    assert all(torch.equal(xb, x[i%2*20:][:20]) for i,xb in enumerate(pictures['valid']))
    for i,xb in enumerate(pictures['train']):
        was = x[i%2*20:][:20]
        assert not torch.equal(xb, was)
        places = F.pad(was.view(-1,1,28,28), [2]*4).unfold(2, 28, 1).unfold(3, 28, 1).reshape(20, 25, 784)
        assert (xb[:,None]==places).all(2).any(1).all() # each is its own picture, at one of 25 places
    assert not torch.equal(pictures['train'][0], pictures['train'][2]) # anew in each epoch
    assert torch.equal(torch.cat([yb for _,yb in learn.watch.seen['train'][:2]]), y)

def five_looks(m, data):
    "In evaluation the mean of five probabilities, by themselves; in training, the model; and so it is in a recipe."
    torch.manual_seed(0)
    net,x = m.fast_net(widths=(4,8,8)),torch.rand(6, 784, generator=dice(0))
    two,pics = m.SecondLook(net),x.view(-1,1,28,28)
    moved = [pics, *(F.pad(pics, o) for o in ((1,-1),(-1,1),(0,0,1,-1),(0,0,-1,1)))]
    with torch.no_grad():
        out = two.eval()(x)
        assert (out.exp()-sum(net(o).softmax(1) for o in moved)/5).abs().max()<1e-6 and torch.equal(out, two(pics))
        assert torch.equal(two.train()(x), net.train()(x))
    learn = m.train_fast(part_of(data, 320, 50), replace(tiny, second_look=True), seed=3)
    y,(raw,targ) = data.valid_y[:50],learn.get_preds(act=lambda o: o)
    assert torch.equal(targ, y) and raw.exp().sum(1).sub(1).abs().max()<1e-5
    assert learn.recorder.values[-1][2]==pytest.approx(accuracy(raw, y).item())

tiny = seconds.FastRecipe((4,8,8), 1.5, .02, 1, batch_size=32)

def the_cycle_fits_the_portion(m, data):
    "The rate has come down when training ends; validation is read once; the clock has run."
    few = part_of(data, 640, 100)
    watch = Watch()
    learn = m.train_fast(few, tiny, seed=3, cbs=watch)
    rates = watch.rates
    assert len(rates)==30 and max(rates)==pytest.approx(.02, rel=.02) and rates[-1]<.0005
    assert sum(len(xb) for xb,_ in watch.seen['valid'])==100
    assert len(learn.recorder.values)==1 and learn.stopwatch.secs>0 and learn.stopwatch.cpu_secs>0
    again = m.train_fast(few, tiny, seed=3)
    assert again.recorder.values==learn.recorder.values
    assert m.train_fast(few, tiny, seed=4).recorder.values!=learn.recorder.values

@given(shift_cases)
@settings(max_examples=60, deadline=None)
def test_shifting_is_rolling_and_blanking(case): same_as_rolling(seconds, case)

def test_every_place_is_as_likely_as_the_others(): all_places_equally_often(seconds)
def test_flat_pictures_are_shifted_as_the_others_are(): flat_as_pictures(seconds)

@given(st.integers(1, 40), st.integers(1, 12), st.floats(.01, 4))
@settings(max_examples=60, deadline=None)
def test_a_portion_walks_as_far_as_it_says(n, batch_size, epochs): same_walk(seconds, n, batch_size, epochs)

def test_a_portion_is_shuffled_anew_in_each_walk(): each_walk_in_its_own_order(seconds)
def test_pooling_first_says_the_same_in_evaluation(): same_net(seconds)
def test_only_training_batches_are_shifted(): shifts_in_training_only(seconds)
def test_a_recipe_ends_its_cycle_and_can_be_repeated(data): the_cycle_fits_the_portion(seconds, data)

def test_a_second_look_is_the_mean_of_five(data): five_looks(seconds, data)

@pytest.mark.parametrize('epochs', [0, -1, float('nan')])
def test_no_portion_of_nothing(epochs):
    with pytest.raises(ValueError, match='more than 0'): seconds.Portion(DataLoader(range(9)), epochs)

def test_a_portion_of_an_empty_loader_is_empty():
    empty = seconds.Portion(DataLoader([]), 2)
    assert len(empty)==0 and list(empty)==[]
    learn = Learner(DataLoaders(empty, empty), nn.Linear(2,2), nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match='no batches'): learn.fit(1)

@pytest.mark.parametrize('shape', [(3,28,28), (4,783), (7,), (2,1,1,28,28)])
def test_what_is_no_batch_of_pictures_is_not_shifted(shape):
    with pytest.raises(ValueError, match='flat square'): seconds.shift(torch.zeros(shape), 1)

def test_an_unknown_recipe_is_refused(data):
    with pytest.raises(ValueError, match="'1s'.*'3s', '12s', '60s'"): seconds.train_fast(data, '1s')

@given(st.integers(0, 10**6), st.integers(2, 12), st.floats(0, .9))
@settings(max_examples=30, deadline=None)
def test_label_smoothing_is_cross_entropy_with_a_softer_target(seed, n, s):
    out,y = torch.randn(9, n, generator=dice(seed))*3,torch.randint(n, (9,), generator=dice(seed))
    def by_hand(share):
        target = F.one_hot(y, n)*(1-s) + share
        return -(target*out.log_softmax(1)).sum(1).mean()
    theirs = nn.CrossEntropyLoss(label_smoothing=s)(out, y)
    assert abs(by_hand(s/n)-theirs)<1e-4
    if s>.05: assert abs(by_hand(s/n*1.3)-theirs)>1e-4 # a little more for everyone would be seen

def test_a_recipe_learns_to_read(data):
    "Half of the digits would be chance's dream; a thirtieth of the training set is enough for nine of ten."
    few,recipe = part_of(data, 2000, 1000),replace(seconds.fast_recipes['3s'], epochs=3, batch_size=64)
    assert seconds.train_fast(few, recipe, seed=0).recorder.values[-1][2]>.93

# Each of the comparisons must be able to fail: something of the chapter's is exchanged for something that is wrong.

def moves(x, n, generator): return torch.randint(0, 2*n+1, (2,len(x)), generator=generator)

def rolled(x, n, generator=None):
    row,col = moves(x, n, generator)
    return torch.stack([im.roll((n-r,n-c), (-2,-1)) for im,r,c in zip(x, row.tolist(), col.tolist())])

def all_alike(x, n, generator=None):
    row,col = moves(x, n, generator)
    return torch.stack([moved(im, (n-col[0]).item(), (n-row[0]).item()) for im in x])

def exchanged(x, n, generator=None): return whole_shift(x.mT, n, generator).mT
def too_near(x, n, generator=None): return whole_shift(x, max(0, n-1), generator)
whole_shift,whole_net,whole_training = seconds.shift,seconds.fast_net,seconds.train_fast

class ShiftsAlways(seconds.Shift): run_valid = True

class ABatchTooMany(seconds.Portion):
    def __iter__(self):
        yield from super().__iter__()
        yield next(iter(self.dl))

class OneWalkAtMost(seconds.Portion):
    def __iter__(self): return islice(self.dl, self.n)

class TheSameWalk(seconds.Portion):
    def __iter__(self): return islice(chain.from_iterable(repeat(list(self.dl))), self.n)

class SaysTheWholeLength(seconds.Portion):
    def __len__(self): return len(self.dl)

def mean_pooling(*args, **kwargs):
    net = whole_net(*args, **kwargs)
    for block in (net.block1,net.block2,net.block3): block[1] = nn.AvgPool2d(2)
    return net

class OneLook(seconds.SecondLook):
    def forward(self, x): return self.model(x).log_softmax(1)

class FiveLooksInTraining(seconds.SecondLook):
    def forward(self, x): return seconds.SecondLook.forward(deepcopy(self).eval(), x)

def constant_rate(learn, n_epoch, lr): learn.fit(n_epoch, lr)
def forgetful(data, recipe, seed=None, cbs=None): return whole_training(data, recipe, torch.seed(), cbs)

def shifts_as_rolling(m, data): [same_as_rolling(m, (s,3,2,4,4,n)) for s in range(5) for n in (1,2)]
def walks(m, data): [same_walk(m, 20, 3, e) for e in (.5,1,2.5)]
def without_data(f): return lambda m, data: f(m)

twins = {
    'what leaves on one side comes in on the other': ('shift', rolled, shifts_as_rolling),
    'all move alike': ('shift', all_alike, shifts_as_rolling),
    'rows and columns exchanged': ('shift', exchanged, shifts_as_rolling),
    'one place too few': ('shift', too_near, without_data(all_places_equally_often)),
    'validation is shifted, too': ('Shift', ShiftsAlways, without_data(shifts_in_training_only)),
    'a batch too many': ('Portion', ABatchTooMany, walks),
    'one walk at most': ('Portion', OneWalkAtMost, walks),
    'the first walk over and over': ('Portion', TheSameWalk, without_data(each_walk_in_its_own_order)),
    'the length of the whole': ('Portion', SaysTheWholeLength, the_cycle_fits_the_portion),
    'the mean, not the largest': ('fast_net', mean_pooling, without_data(same_net)),
    'one look': ('SecondLook', OneLook, five_looks),
    'five looks in training, too': ('SecondLook', FiveLooksInTraining, five_looks),
    'a constant rate': ('quick_cycle', constant_rate, the_cycle_fits_the_portion),
    'the seed is forgotten': ('train_fast', forgetful, the_cycle_fits_the_portion)}

@pytest.mark.parametrize('what', twins)
def test_what_is_broken_is_noticed(what, data, monkeypatch):
    name,broken,comparison = twins[what]
    comparison(seconds, data)
    monkeypatch.setattr(seconds, name, broken)
    with pytest.raises((AssertionError,ValueError,RuntimeError)): comparison(seconds, data)
