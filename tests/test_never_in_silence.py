"What gave a wrong answer without a word, tried in strangers' hands: the right value, or a refusal in a sentence."
import io
import math
import os
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn,tensor
from torch.utils.data import DataLoader as TorchDL,StackDataset,Subset,TensorDataset

from digits_fastai.baseline import class_accuracies
from digits_fastai.data.formats import read_csv
from digits_fastai.data.streams import shuffle_window
from digits_fastai.dataloaders import DataLoader,DataLoaders,Dataset,label_text,random_split
from digits_fastai.events import Callback
from digits_fastai.images import load_folder,load_images,open_picture,show_image,upright
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy,batch_weight,cross_entropy,ignored_label
from digits_fastai.metrics import AvgMetric
from digits_fastai.optimizer import Adam,BasicOptim,SGD,set_opt_lr
from digits_fastai.training.callbacks import GradientAccumulation,GradientClip
from digits_fastai.training.checkpoints import Checkpoint
from digits_fastai.training.interpretation import ClassificationInterpretation,probabilities_and_classes
from digits_fastai.training.lr_find import LRFinder
from digits_fastai.training.randomness import set_seed
from digits_fastai.training.schedules import ParamScheduler,SchedLin
from digits_fastai.training.stopping import EarlyStoppingCallback,SaveModelCallback,better

g = torch.Generator().manual_seed(0)
x = torch.randn(50,6, generator=g)
y = torch.randint(0, 3, (50,), generator=g)
weights = tensor([1.,5.,.2])

def learner(loss=None, ys=y, xs=x, bs=16, model=None, **kwargs):
    torch.manual_seed(0)
    dls = DataLoaders.from_tensors((xs,ys), (xs,ys), bs=bs, shuffle=False)
    learn = Learner(dls, model or nn.Linear(6,3), loss or nn.CrossEntropyLoss(), **{'opt_func': SGD, 'lr': .1, **kwargs})
    learn.logger = lambda row: None
    return learn

def some_ignored(ignored=-100):
    ys = y.clone()
    ys[:20] = ignored # one whole batch, and some
    return ys


# Labels that can't be right, and items that the loss leaves out or weights

preds = tensor([[3.,0,0],[0,3.,0],[0,0,3.],[3.,0,0]])

@pytest.mark.parametrize('labels', [[3,7,3,7], [-1,0,1,2], [0,1,2,-100], [.9,.1,.9,.1], [math.nan,1.,2.,0.], [True,False,True,True]])
def test_accuracy_refuses_labels_of_no_class(labels):
    with pytest.raises(ValueError, match='accuracy was given labels'): accuracy(preds, tensor(labels))

@pytest.mark.parametrize('kind', [torch.int8,torch.uint8,torch.int32,torch.int64,torch.float32])
def test_accuracy_takes_numbers_of_classes_in_any_kind_of_number(kind):
    assert accuracy(preds, tensor([0,1,2,1]).to(kind))==.75

def test_accuracy_of_256_classes_does_not_wrap_around():
    assert accuracy(torch.eye(300)[[255,1]], tensor([255,1], dtype=torch.uint8))==1

def test_nothing_is_the_largest_of_nan():
    assert accuracy(torch.full((4,3), math.nan), tensor([0,1,2,0])).isnan()

def test_class_accuracies_compare_each_picture_with_its_own_label():
    with pytest.raises(ValueError, match='one class a picture'): class_accuracies(tensor([[0],[1]]), tensor([0,1]), 2)

ways_to_ignore = [nn.CrossEntropyLoss(), F.cross_entropy, partial(F.cross_entropy, ignore_index=-100),
                  nn.CrossEntropyLoss(weight=weights), partial(F.cross_entropy, weight=weights),
                  partial(partial(F.cross_entropy), weight=weights, label_smoothing=.1)]

@pytest.mark.parametrize('loss', ways_to_ignore)
def test_a_validation_has_the_loss_of_the_whole_set(loss):
    ys = some_ignored()
    learn = learner(loss, ys, metrics=accuracy)
    counts = ys!=-100
    with torch.no_grad(): out = learn.model(x)
    want = loss(out, ys).item(),accuracy(out[counts], ys[counts]).item()
    assert learn.validate()==pytest.approx(want, rel=1e-5)

def test_a_label_of_ones_own_may_be_ignored():
    learn = learner(nn.CrossEntropyLoss(ignore_index=2), metrics=accuracy)
    with torch.no_grad(): out = learn.model(x)
    assert learn.validate()[1]==pytest.approx(accuracy(out[y!=2], y[y!=2]).item())

def test_what_a_loss_ignores_and_weights():
    assert [ignored_label(o) for o in (cross_entropy, F.mse_loss, F.cross_entropy, nn.NLLLoss(ignore_index=3))]==[None,None,-100,3]
    assert batch_weight(nn.CrossEntropyLoss(weight=weights), tensor([0,1,-100]))==6
    assert batch_weight(nn.CrossEntropyLoss(reduction='sum'), tensor([0,1,-100]))==3
    assert batch_weight(nn.CrossEntropyLoss(), torch.ones(4,3)/3)==4 # shares of the classes

@pytest.mark.parametrize('loss', ways_to_ignore)
def test_accumulated_portions_count_as_the_loss_counts_them(loss):
    ys = y.clone()
    ys[3:7] = -100
    whole,portions = learner(loss, ys, bs=50),learner(loss, ys, bs=7)
    whole.fit(1)
    portions.fit(1, cbs=GradientAccumulation(50))
    assert torch.allclose(whole.model.weight, portions.model.weight, atol=1e-6)

def test_weights_within_a_function_are_refused_where_portions_are_added_up():
    learn = learner(lambda p,t: F.cross_entropy(p, t, weight=weights))
    with pytest.raises(ValueError, match='portions of a batch cannot be added up'): learn.fit(1, cbs=GradientAccumulation(48))

@pytest.mark.parametrize('loss', [nn.CrossEntropyLoss(weight=weights.double()), partial(F.cross_entropy, weight=weights.double())])
def test_class_weights_of_another_length_of_float_are_named(loss):
    with pytest.raises(ValueError, match=r'class weights of torch.float64 .* a model of float32: weight.to\(torch.float32\)'):
        learner(loss).fit(1)

def test_one_number_an_item_is_no_mean():
    learn = learner(metrics=lambda p,t: p.argmax(1)==t)
    with pytest.raises(ValueError, match='gives 16 numbers for 16 items'): learn.fit(1)

@pytest.mark.parametrize('name', ['valid_loss','train_loss','epoch','time'])
def test_a_metric_takes_no_columns_name(name):
    def f(p, t): return 0.
    f.__name__ = name
    with pytest.raises(ValueError, match='two have one name'): learner(metrics=f)

@pytest.mark.parametrize('label,name', [(1,'b'), (1.,'b'), ([0],'a'), (-1,'-1'), (.9,'0.9'), (2,'2'), ([0.,1.],'[0.0, 1.0]')])
def test_a_label_of_no_class_is_shown_as_it_is(label, name): assert label_text(label, ['a','b'])==name

def test_top_losses_say_which_items_of_the_set_they_are():
    ys = some_ignored()
    learn = learner(ys=ys)
    losses,numbers = ClassificationInterpretation.from_learner(learn).top_losses(5)
    with torch.no_grad(): each = F.cross_entropy(learn.model(x), ys, reduction='none')
    assert torch.allclose(losses, each[numbers]) and torch.allclose(losses, each.topk(5).values)

@pytest.mark.parametrize('k', [-1,5.5,'3',True,math.nan])
def test_so_many_top_losses_there_cannot_be(k):
    with pytest.raises(ValueError, match='k='): ClassificationInterpretation.from_learner(learner()).top_losses(k)

def test_a_reader_says_nothing_of_nan():
    with pytest.raises(ValueError, match='the model predicts nan'): probabilities_and_classes(torch.full((2,3), math.nan), torch.sigmoid)


# Data

class Doubled(Dataset):
    def __getitem__(self, i): return 2*self.x[i],self.y[i]
class DoubledTensors(TensorDataset):
    def __getitem__(self, i): return 2*self.tensors[0][i],self.tensors[1][i]
class DoubledBatches(TensorDataset):
    def __getitems__(self, idxs): return [(2*self.tensors[0][i],self.tensors[1][i]) for i in idxs]
class Wrapped:
    "Whatever it doesn't have, what is in it has."
    def __init__(self, ds): self.ds = ds
    def __len__(self): return len(self.ds)
    def __getitem__(self, i): return 2*self.ds[i][0],self.ds[i][1]
    def __getattr__(self, k): return getattr(vars(self)['ds'], k)

@pytest.mark.parametrize('ds', [Doubled(x, y), DoubledTensors(x, y), DoubledBatches(x, y), Wrapped(Dataset(x, y)),
                                Subset(Doubled(x, y), range(50))])
def test_a_datasets_own_items_are_in_its_batches(ds):
    for xb,yb in ([b for b in DataLoader(ds, 50)][0], DataLoader(ds, 50).one_batch()):
        assert torch.equal(xb, 2*x) and torch.equal(yb, y)

@pytest.mark.parametrize('ds', [Subset(Dataset(x, y), [3,3,0]), StackDataset(x[[3,3,0]], y[[3,3,0]])])
def test_pytorchs_datasets_give_their_rows(ds):
    xb,yb = DataLoader(ds, 3).one_batch()
    assert torch.equal(xb, x[[3,3,0]]) and torch.equal(yb, y[[3,3,0]])

def test_pytorchs_loader_is_read_in_its_datasets_order():
    shuffled = TorchDL(TensorDataset(x, y), 16, shuffle=True, drop_last=True)
    learn = Learner(DataLoaders(shuffled, shuffled), nn.Linear(6,3), nn.CrossEntropyLoss())
    assert torch.equal(learn.get_preds(0)[1], y)
    losses,numbers = ClassificationInterpretation.from_learner(learn, 0).top_losses(3)
    with torch.no_grad(): assert torch.allclose(losses, F.cross_entropy(learn.model(x), y, reduction='none')[numbers])

def test_masked_numbers_are_refused():
    with pytest.raises(ValueError, match='masked'): Dataset(x[:3], np.ma.masked_array([1,2,3], [0,0,1]))
    Dataset(x[:3], np.ma.masked_array([1,2,3]))

@pytest.mark.parametrize('vocab', [pd.Series(['a','b','c'], index=[2,1,0]), np.array(['a','b','c']), 'abc', ('a','b','c')])
def test_names_of_classes_go_by_position(vocab):
    dls = DataLoaders.from_tensors((x,y), (x,y), vocab=vocab)
    assert list(dls.vocab)==['a','b','c']
    model = nn.Linear(6,3)
    nn.init.zeros_(model.weight)
    model.bias.data = tensor([0.,0,9])
    assert Learner(dls, model, nn.CrossEntropyLoss()).predict(x[0])[0]=='c'

def test_names_without_an_order_are_refused():
    for vocab in ({'a','b'}, {0: 'a'}):
        with pytest.raises(TypeError): DataLoaders.from_tensors((x,y), (x,y), vocab=vocab)

@pytest.mark.parametrize('share', [math.nan,0.,1.,1.5,-.2,True])
def test_a_share_that_leaves_a_set_empty_is_refused(share):
    with pytest.raises(ValueError, match='leaves one of the two sets empty'): random_split(10, share)

def test_seeds_may_be_numpys():
    assert all(torch.equal(a, b) for a,b in zip(random_split(10, .2, np.int64(3)), random_split(10, .2, 3)))
    set_seed(np.int64(3))
    first = torch.rand(3)
    set_seed(3)
    assert torch.equal(first, torch.rand(3))
    with pytest.raises(TypeError): set_seed(1.5)


# One item

class Squeezed(nn.Linear):
    def forward(self, x): return super().forward(x).squeeze(-1)

def test_several_items_are_never_taken_for_the_classes_of_one():
    learn = learner(nn.BCEWithLogitsLoss(), (y>0).float(), model=Squeezed(6,1))
    learn.predict(x[0])
    for some in (x[:2],x[:3]):
        with pytest.raises(ValueError, match='one input without a batch axis'): learn.predict(some)

def test_predict_says_nothing_of_nan():
    with pytest.raises(ValueError, match='the model predicts nan'): learner().predict(torch.full((6,), math.nan))

def test_predict_wants_a_name_for_each_class():
    for names in (['a','b'], list('abcd')):
        learn = learner()
        learn.dls.vocab = names
        with pytest.raises(ValueError, match='3 classes apart'): learn.predict(x[0])

def test_predict_takes_floats_of_any_length_and_the_bytes_of_a_picture():
    learn = learner()
    assert torch.equal(learn.predict(x[0].numpy().astype(np.float64))[2], learn.predict(x[0])[2])
    out = io.BytesIO()
    picture = Image.fromarray(np.arange(0, 240, 40, dtype=np.uint8).reshape(2,3))
    picture.save(out, 'PNG')
    assert torch.equal(learn.predict(out.getvalue())[2], learn.predict(picture)[2])
    with pytest.raises(FileNotFoundError): learn.predict('nowhere.png')

def test_a_blank_picture_is_named():
    with pytest.warns(UserWarning, match='nothing is to be seen'): learner().predict(Image.new('L', (3,2), 9))


# Pictures

upright_pixels = np.zeros((9,6), np.uint8)
upright_pixels[1:4,2:5] = 200
stored = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}

@pytest.mark.parametrize('orientation', stored)
@pytest.mark.parametrize('mode', ['L','RGB','P','CMYK','RGBA'])
def test_a_plain_tiff_on_its_side_is_read_as_others_are(tmp_path, orientation, mode):
    im = Image.fromarray(upright_pixels).transpose(stored[orientation]).convert(mode)
    exif = im.getexif()
    exif[0x112] = orientation
    file = tmp_path/'a.tif'
    im.save(file, exif=exif)
    for read in (open_picture(file), upright(Image.open(file))):
        assert np.array_equal(np.asarray(read.convert('L')), upright_pixels)
    assert np.array_equal(load_images([file])[0], upright_pixels)

@pytest.mark.parametrize('mode', ['P','1','CMYK','YCbCr','LA'])
def test_a_picture_is_shown_as_it_is_and_not_by_its_palette(mode):
    import matplotlib
    matplotlib.use('Agg')
    pixels = Image.fromarray(upright_pixels//200*255)
    shown = show_image(pixels.convert(mode).quantize(4) if mode=='P' else pixels.convert(mode)).images[0].get_array()
    assert np.array_equal(np.asarray(shown).reshape(9,6,-1)[...,0], pixels)

def test_a_pipe_keeps_nobody_waiting(tmp_path):
    (tmp_path/'a').mkdir()
    os.mkfifo(tmp_path/'a'/'p.png')
    with pytest.raises(ValueError, match='p.png is empty'): load_folder(tmp_path)

def test_links_that_lead_elsewhere_now_are_noticed(tmp_path):
    "Two files of one size, written in one tick of the clock: only their inodes differ."
    folder,out = tmp_path/'set'/'3',tmp_path/'out'
    folder.mkdir(parents=True)
    out.mkdir()
    for name,value in (('a',10), ('b',20)):
        Image.fromarray(np.array([[value,0]], np.uint8)).save(out/f'{name}.bmp')
        os.utime(out/f'{name}.bmp', ns=(10**18,10**18))
    entries = {}
    from digits_fastai.images import _entries,_key
    for name in 'ab':
        link = folder/'x.bmp'
        link.unlink(missing_ok=True)
        link.symlink_to(out/f'{name}.bmp')
        entries[name] = _entries(folder)[0]
        stat = entries[name][0].stat()
        assert stat.st_ino==(out/f'{name}.bmp').stat().st_ino
    assert len({_key(folder, o, True)[0] for o in entries.values()})==2


# Numbers

parameters = partial(nn.Parameter, torch.ones(2))

@pytest.mark.parametrize('make', [lambda v: SGD([parameters()], v), lambda v: Adam([parameters()], .1, mom=v),
    lambda v: Adam([parameters()], .1, eps=v), lambda v: BasicOptim([parameters()], v), lambda v: SGD([parameters()], .1, wd=v),
    lambda v: SGD([[parameters()],[parameters()]], [.1,v]), lambda v: set_opt_lr(torch.optim.SGD([parameters()], .1), v),
    lambda v: set_opt_lr(SGD([parameters()], .1), v)])
@pytest.mark.parametrize('value', [math.nan,math.inf,-1.,True,'0.1',1j,slice(None)])
def test_a_hyperparameter_that_cannot_be_meant_is_refused(make, value):
    with pytest.raises(ValueError, match='was given: finite numbers, not negative'): make(value)

def test_momentum_above_1_is_refused():
    with pytest.raises(ValueError, match='up to 1'): SGD([parameters()], .1, mom=1.5)

@pytest.mark.parametrize('value', [.1, 0, np.float32(.1), tensor(.1), np.array([.1,.2]), [.1,.2], slice(.1,.2), slice(.2), pd.Series([.1,.2])])
def test_other_peoples_numbers_are_rates(value): SGD([[parameters()],[parameters()]], value)

def test_a_parameter_takes_one_step_at_a_time():
    p = parameters()
    for make in (lambda: SGD([p,p], .1), lambda: Adam([[p],[p]], .1), lambda: BasicOptim([p,p], .1)):
        with pytest.raises(ValueError, match='given a parameter twice'): make()
    with pytest.raises(TypeError, match='both parameters and lists of them'): SGD([[p],parameters()], .1)

@pytest.mark.parametrize('fit', [lambda l: l.fit(1, start_epoch=-1), lambda l: l.fit(True), lambda l: l.fit('2'), lambda l: l.fit(1.),
    lambda l: l.fit(1, 'abc'), lambda l: l.fit_one_cycle(1, .1, moms=(math.nan,.9,.9)), lambda l: l.fit_one_cycle(1, .1, moms=(2,2,2)),
    lambda l: l.fit_one_cycle(1, .1, moms=(.9,.8)), lambda l: l.fine_tune(-1), lambda l: l.fine_tune(1.5),
    lambda l: l.fine_tune(1, freeze_epochs=-1), lambda l: l.fit_sgdr(1.5, 2), lambda l: l.fit_sgdr(2, 2, cycle_mult=.5),
    lambda l: l.fit(1, cbs=ParamScheduler({'lr': lambda pos: math.nan})), lambda l: l.fit(1, cbs=GradientClip(math.nan)),
    lambda l: l.fit(1, cbs=GradientClip(-1)), lambda l: l.fit(1, cbs=GradientClip(1, 0)), lambda l: l.fit(1, cbs=GradientAccumulation(-1)),
    lambda l: l.fit(1, cbs=GradientAccumulation(math.nan)), lambda l: l.fit(1, cbs=EarlyStoppingCallback(patience=math.nan)),
    lambda l: l.fit(1, cbs=EarlyStoppingCallback(min_delta=math.nan)), lambda l: l.fit(1, cbs=Checkpoint('c', every=0)),
    lambda l: l.fit(1, cbs=SaveModelCallback(every_epoch=-2)), lambda l: l.fit(1, cbs=LRFinder(num_it=10.5))])
def test_a_fit_that_cannot_be_meant_is_refused_before_a_step(fit):
    learn = learner(opt_func=Adam)
    before = learn.model.weight.detach().clone()
    with pytest.raises(ValueError): fit(learn)
    assert torch.equal(learn.model.weight, before)

def test_a_schedule_that_leaves_the_numbers_ends_the_fit():
    learn = learner()
    with pytest.raises(ValueError, match='lr=-'): learn.fit(1, cbs=ParamScheduler({'lr': SchedLin(.1, -.1)}))
    assert learn.model.weight.isfinite().all()

@pytest.mark.parametrize('window', [0,-1,math.nan,1.5])
def test_a_window_that_holds_nothing_is_refused(window):
    with pytest.raises(ValueError, match='window='): next(shuffle_window([1,2], window))

def test_without_patience_a_fit_goes_on_while_it_gets_better():
    learn = learner()
    learn.fit(3, cbs=EarlyStoppingCallback(patience=0))
    assert len(learn.recorder.values)==3

@pytest.mark.parametrize('name', ['inaccuracy','neg_mean_squared_error','neg_log_loss','minus_accuracy','non_error','lossless_share'])
def test_a_name_that_says_both_leaves_doubt(name):
    with pytest.raises(ValueError, match='nobody says'): better(name)

def test_a_score_may_be_better_when_less():
    assert all(better(o)(0, 1) for o in ('brier_score','fid_score','davies_bouldin_score','wer','CrossEntropyLossFlat'))


# An optimizer for the model as it is now

def net(): return nn.Sequential(nn.Linear(6,4), nn.ReLU(), nn.Linear(4,3))
def two(m): return [list(m[0].parameters()),list(m[2].parameters())]

@pytest.mark.parametrize('name,value', [('opt_func',SGD), ('splitter',two)])
def test_another_optimizer_is_made_where_another_is_asked_for(name, value):
    learn = learner(model=net(), opt_func=Adam)
    learn.fit(1)
    setattr(learn, name, value)
    with pytest.warns(UserWarning, match='another opt_func or splitter'): learn.fit(1)
    assert isinstance(learn.opt, SGD) if name=='opt_func' else len(learn.opt.param_groups)==2

def test_what_a_splitter_leaves_out_is_said_once_and_the_optimizer_lives_on():
    learn = learner(model=net(), splitter=lambda m: two(m)[:1])
    with pytest.warns(UserWarning, match='leaves out 2 of the parameters'): learn.fit(1)
    opt = learn.opt
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        learn.fit(1)
    assert learn.opt is opt

def test_a_splitter_gives_lists():
    with pytest.raises(ValueError, match='a list of parameters for each group'): learner(splitter=lambda m: m.parameters()).fit(1)

def test_tied_weights_in_two_groups_are_refused():
    model = nn.Sequential(nn.Linear(6,6, bias=False), nn.Linear(6,6, bias=False), nn.Linear(6,3))
    model[1].weight = model[0].weight
    learn = learner(model=model, splitter=lambda m: [list(o.parameters()) for o in m])
    with pytest.raises(ValueError, match='given a parameter twice'): learn.fit(1)


# Callbacks

def test_a_callback_hears_of_everything_once():
    class Counts(Callback):
        n = 0
        def after_step(self): self.n += 1
    cb,other = Counts(),Counts()
    with pytest.raises(ValueError, match='given twice'): learner(cbs=[cb,cb])
    learn = learner(cbs=cb)
    with pytest.raises(ValueError, match='given twice'): learn.fit(1, cbs=[other,cb])
    assert other.learn is None and cb in learn.cbs # neither half added nor taken away
    learn.fit(1)
    assert cb.n==len(learn.dls.train)

def test_a_learner_does_not_take_over_anothers_callbacks():
    import digits_fastai.training.as_fastai # noqa: F401 cbs can be set
    a,b = learner(),learner()
    with pytest.raises(ValueError, match='callbacks of another Learner'): b.cbs = a.cbs
    a.cbs = list(a.cbs)
    a.fit(1)

def test_one_metric_may_serve_two_learners():
    metric = AvgMetric(accuracy)
    a,b = learner(metrics=metric),learner(metrics=metric)
    assert a.validate()==b.validate()


# Tables

rows = '0,0,0,0,0\n1,10,10,10,10\n2,20,20,20,20\n'

@pytest.mark.parametrize('text', [rows.encode('utf-16'), ('\ufeff'+rows).encode(), rows.replace('\n', '\r\n').encode(), rows.replace(',', ' , ').encode()])
def test_a_table_is_read_in_the_spellings_of_others(tmp_path, text):
    (tmp_path/'a.csv').write_bytes(text)
    xs,ys = read_csv(tmp_path/'a.csv', (2,2))
    assert ys.tolist()==[0,1,2] and xs[:,0,0].tolist()==[0,10,20]

def test_numbers_of_columns_are_a_header(tmp_path):
    (tmp_path/'a.csv').write_text('0,1,2,3,4\n'+rows) # as pandas writes a table without names
    with pytest.raises(ValueError, match="a header"): read_csv(tmp_path/'a.csv', (2,2))

def test_a_compressed_table_says_that_it_is(tmp_path):
    import gzip
    (tmp_path/'a.csv').write_bytes(gzip.compress(rows.encode()))
    with pytest.raises(ValueError, match='is gzipped'): read_csv(tmp_path/'a.csv', (2,2))
    (tmp_path/'b.csv.gz').write_bytes(rows.encode())
    assert read_csv(tmp_path/'b.csv.gz', (2,2))[1].tolist()==[0,1,2]
