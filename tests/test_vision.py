"Nets cut and headed as fastai's, ImageNet's weights over loopback, Grad-CAM, files that become digits."
import hashlib,io,json,zlib
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision.models import ResNet18_Weights,resnet18,resnet34

from conftest import python,run
from digits_fastai.nets.convolutions import conv_net
from digits_fastai.dataloaders import DataLoaders
from digits_fastai.download import DownloadError
from digits_fastai.nets.gradcam import grad_cam,saliency,show_maps
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy,mnist_loss
from digits_fastai.models import linear_model,simple_net
from digits_fastai.optimizer import Adam
from digits_fastai.nets.predict import Reader,as_pictures,export_reader,known_models,load_reader,predict_files
from digits_fastai.nets.transfer import Normalize,cnn_groups,make_cnn,new_head
from digits_fastai.vision import resnet18_learner
import digits_fastai.training.schedules # noqa: F401 it hangs methods on
from server import Reply,Server

pytestmark = pytest.mark.filterwarnings('ignore::UserWarning') # fastai's and torchvision's own


@pytest.fixture(scope='module')
def digits():
    "Forty made-up pictures, a bar across for a 3 and one down for a 7, uint8 [40,28,28], and their labels."
    g,y = torch.Generator().manual_seed(0),torch.arange(2).repeat(20)
    x = torch.zeros(40, 28, 28, dtype=torch.uint8)
    for i,c in enumerate(y.tolist()):
        at = int(torch.randint(6, 20, (1,), generator=g))
        (x[i,at:at+3,5:23] if c==0 else x[i,5:23,at:at+3]).fill_(230)
    return x,y

@pytest.fixture(scope='module')
def folder(digits, tmp_path_factory):
    "The same as PNGs, in train/ and valid/."
    where = tmp_path_factory.mktemp('digits')
    for i,(x,y) in enumerate(zip(*digits)):
        file = where/('train' if i<28 else 'valid')/'37'[y]/f'{i}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x.numpy()).save(file)
    return where

def loaders(x, y, **kwargs):
    data = x[:,None].float()/255,y
    return DataLoaders.from_tensors(data, data, batch_size=10, vocab=['3','7'], **kwargs)

def n_of(model): return sum(p.numel() for p in model.parameters())


# make_cnn

def held_against_fastai(ours, groups, arch, n_in):
    from fastai.vision.learner import _resnet_split,create_vision_model
    torch.manual_seed(0)
    theirs = create_vision_model(arch, 5, pretrained=False, n_in=n_in)
    assert [(k, o.shape) for k,o in ours.state_dict().items()]==[(k, o.shape) for k,o in theirs.state_dict().items()]
    assert [[p.shape for p in g] for g in groups(ours)]==[[p.shape for p in g] for g in _resnet_split(theirs)]
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(3, n_in, 64, 64)
    for train in (True,False):
        for m in (ours,theirs): m.train(train)
        torch.manual_seed(1)
        a = ours(x)
        torch.manual_seed(1)
        assert torch.equal(a, theirs(x))

@pytest.mark.parametrize('arch,n_in', [(resnet18,1),(resnet34,3)])
def test_the_net_is_fastais(arch, n_in): held_against_fastai(make_cnn(arch.__name__, 5, n_in), cnn_groups, arch, n_in)

def drop_more(m): m[1][7].p = .6
def mean_only(m): m[1][0].forward = lambda x: x.mean((2,3), keepdim=True).repeat(1,2,1,1)
def with_bias(m): m[1][-1].bias = nn.Parameter(torch.zeros(5))
def cut_late(m): m[0].append(nn.BatchNorm2d(512))

@pytest.mark.parametrize('spoil', [drop_more,mean_only,with_bias,cut_late], ids=lambda o: o.__name__)
def test_a_net_that_is_not_fastais_is_found_out(spoil):
    net = make_cnn('resnet18', 5)
    spoil(net)
    with pytest.raises(AssertionError): held_against_fastai(net, cnn_groups, resnet18, 3)

def test_other_groups_are_found_out():
    with pytest.raises(AssertionError):
        held_against_fastai(make_cnn('resnet18', 5), lambda m: [list(o.parameters()) for o in m], resnet18, 3)

def test_one_channel_is_the_sum_of_three():
    x,three = torch.rand(4, 1, 28, 28),make_cnn('resnet18', 2).eval()
    one = make_cnn(lambda: nn.Sequential(*deepcopy(three)[0], nn.AdaptiveAvgPool2d(1)), 2, n_in=1).eval()
    one[1].load_state_dict(three[1].state_dict())
    torch.testing.assert_close(one(x), three(x.expand(-1,3,-1,-1)), atol=1e-4, rtol=1e-4)
    one[0][0].weight.data.mul_(1/3)
    assert (one(x)-three(x.expand(-1,3,-1,-1))).abs().max()>1e-2

def test_what_normalizes_has_nothing_to_save():
    stats = [.1,.2,.3],[.5,.6,.7]
    plain,inside = make_cnn('resnet8', 2).eval(),make_cnn('resnet8', 2, stats=stats).eval()
    assert [*plain.state_dict()]==[*inside.state_dict()] and [*map(len, cnn_groups(plain))]==[*map(len, cnn_groups(inside))]
    inside.load_state_dict(plain.state_dict())
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(inside(x), plain(Normalize(*stats)(x)))
    assert torch.allclose(Normalize(*stats)(x)[:,1], (x[:,0]-.2)/.6)

@pytest.mark.parametrize('args,said', [(('vgg', 2),'resnet8, resnet18'), (('resnet8', 2, 2),'1 channel or 3')])
def test_what_make_cnn_does_not_make(args, said):
    with pytest.raises(ValueError, match=said): make_cnn(*args)

def test_a_new_head_keeps_the_body_and_the_old_model():
    old = make_cnn('resnet8', 8, n_in=1)
    was = deepcopy(old.state_dict())
    for p in old.parameters(): p.requires_grad_(False)
    new = new_head(old, 2)
    assert all(torch.equal(a, b) for a,b in zip(old[0].state_dict().values(), new[0].state_dict().values()))
    assert new[-1][-1].weight.shape==(2,512) and all(p.requires_grad for p in new.parameters())
    new[0][0].weight.data.zero_()
    assert all(torch.equal(a, b) for a,b in zip(was.values(), old.state_dict().values()))

def test_a_frozen_body_keeps_its_filters(digits):
    learn = Learner(loaders(*digits), make_cnn('resnet8', 2, n_in=1), F.cross_entropy, opt_func=Adam, splitter=cnn_groups)
    learn.freeze()
    before = deepcopy(learn.model.state_dict())
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, .01)
    after = learn.model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert not {k for k in changed if k[0]=='0' and before[k].ndim==4} # convolutions
    assert {'0.1.weight','0.1.running_mean','1.8.weight'}<=changed
    learn.unfreeze()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, .01)
    assert not torch.equal(before['0.0.weight'], learn.model[0][0].weight)


# ImageNet's weights: a checkpoint of the right layout, served from loopback

@pytest.fixture(scope='module')
def checkpoint():
    torch.manual_seed(3)
    state,buffer = resnet18().state_dict(),io.BytesIO()
    torch.save(state, buffer)
    return state,buffer.getvalue()

@pytest.fixture
def hub(tmp_path, monkeypatch):
    "An empty cache of PyTorch's, and where its weights come from: `hub(url)`."
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    def come_from(url): monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, 'url', url)
    come_from.folder = tmp_path/'hub'/'checkpoints'
    return come_from

def named(data): return f'/resnet18-{hashlib.sha256(data).hexdigest()[:8]}.pth'

def test_pretrained_weights_are_fetched_once_and_fine_tuned(folder, hub, checkpoint):
    state,data = checkpoint
    with Server() as server:
        hub(server.at(named(data), Reply(data)))
        learn = resnet18_learner(folder, pretrained=True, batch_size=14)
        again = make_cnn(partial(resnet18, weights='DEFAULT'), 2, n_in=1)
        assert len(server.log)==1
    assert torch.equal(learn.model[0][0].weight.cpu(), state['conv1.weight'])
    assert torch.equal(again[0][0].weight, state['conv1.weight'].sum(1, keepdim=True))
    assert torch.equal(again[0][7][1].conv2.weight, state['layer4.1.conv2.weight'])
    assert not learn.model[0][0].weight.requires_grad and learn.dls.one_batch()[0].min()<-1 # frozen, normalized
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(1, 1e-3)
    assert learn.model[0][0].weight.requires_grad and not torch.equal(learn.model[0][0].weight.cpu(), state['conv1.weight'])

def test_its_weights_in_make_cnn_are_exported_and_normalize_by_themselves(folder, hub, checkpoint, tmp_path):
    hub.folder.mkdir(parents=True)
    (hub.folder/ResNet18_Weights.DEFAULT.url.split('/')[-1]).write_bytes(checkpoint[1])
    theirs = resnet18_learner(folder, pretrained=True, batch_size=14)
    norm = next(o for o in theirs.dls.after_batch.fs if type(o).__name__=='Normalize')
    args = dict(arch='resnet18', n_out=2, stats=[o.flatten().tolist() for o in (norm.mean,norm.std)])
    with pytest.raises(TypeError, match='make_cnn'): export_reader(theirs, tmp_path/'out')
    net = make_cnn(**args)
    net.load_state_dict(theirs.model.state_dict())
    export_reader(Learner(DataLoaders.from_folder(folder), net, F.cross_entropy), tmp_path/'out', args=args)
    with theirs.no_bar(): want = theirs.get_preds()[0].softmax(1)
    said = predict_files(tmp_path/'out', theirs.dls.valid_ds.items)
    got = torch.tensor([[*o['probabilities'].values()] for o in said])
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)

def refused(folder, hub):
    with pytest.raises(DownloadError, match='pretrained=False') as e: resnet18_learner(folder, pretrained=True)
    assert str(hub.folder) in str(e.value) and '\n' not in str(e.value)
    return str(e.value)

def test_weights_that_do_not_come(folder, hub, checkpoint):
    _,data = checkpoint
    with Server() as server:
        hub(server.url + '/resnet18-00000000.pth')
        assert 'Not Found' in refused(folder, hub)
        hub(server.at('/resnet18-00000000.pth', Reply(data)))
        assert 'hash' in refused(folder, hub)
        hub(server.at(named(data), Reply(data, cut=10**6)))
        assert 'hash' in refused(folder, hub)
        assert not [*hub.folder.glob('*')]
    assert 'refused' in refused(folder, hub).lower() # the server is gone

def test_a_damaged_file_in_the_cache_is_named(folder, hub, checkpoint):
    hub.folder.mkdir(parents=True)
    for data in (b'', b'<html>no such page</html>', checkpoint[1][:10**6]):
        (hub.folder/ResNet18_Weights.DEFAULT.url.split('/')[-1]).write_bytes(data)
        assert 'remove the file, which is damaged' in refused(folder, hub)

def test_another_error_is_not_called_a_download(folder):
    with pytest.raises(TypeError, match='no_such'): resnet18_learner(folder, no_such=1)

def test_one_channel_reaches_the_net(folder):
    learn = resnet18_learner(folder, n_in=1, batch_size=14)
    assert learn.dls.one_batch()[0].shape==(14,1,28,28)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert np.isfinite(learn.recorder.values[-1][0])


# our loop and fastai's

def record(learner, dls, opt_func, begin, **kwargs):
    torch.manual_seed(0)
    learn = learner(dls, deepcopy(begin), loss_func=F.cross_entropy, opt_func=opt_func, metrics=accuracy, **kwargs)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, .1)
    return torch.cat([torch.tensor([list(o) for o in learn.recorder.values]).flatten(),
                      *(o.double().flatten() for o in learn.model.state_dict().values())])

def test_one_cycle_of_resnet18_is_fastais(digits):
    from fastai.data.core import DataLoaders as FastaiDLs
    from fastai.learner import Learner as FastaiLearner
    from fastai.optimizer import Adam as FastaiAdam
    import fastai.callback.schedule # noqa: F401 it hangs methods on
    x,y = digits
    dls = loaders(x[:20], y[:20], shuffle=False)
    begin = make_cnn('resnet18', 2, n_in=1)
    want = record(FastaiLearner, FastaiDLs(*dls.loaders), FastaiAdam, begin)
    assert (record(Learner, dls, Adam, begin)-want).abs().max()<=1e-4
    assert (record(Learner, dls, partial(Adam, eps=1e-3), begin)-want).abs().max()>1e-3


# Grad-CAM, on a net of which the answer is known

class Known(nn.Module):
    "Two feature maps, the upper and the lower half of a picture; class 0 is the mean of the first, class 1 of the second."
    def __init__(self):
        super().__init__()
        self.maps,self.drop = nn.Conv2d(1, 2, 1, bias=False),nn.Dropout(.5)
        self.maps.weight.data.fill_(1.)
        self.mask = torch.zeros(1, 2, 4, 4)
        self.mask[0,0,:2],self.mask[0,1,2:] = 1,1

    def forward(self, x): return self.drop(self.maps(x)*self.mask).mean((2,3))

def test_the_map_of_a_known_net():
    net,x = Known(),torch.arange(32.).view(2,1,4,4)
    for target in (0,1):
        want = x[:,0]*torch.tensor([[1,1,0,0],[0,0,1,1]])[target][:,None]/16 # a weight of half a mean each, at all places
        got = grad_cam(net, x, target, layer=net.maps)
        torch.testing.assert_close(got, x[:,0]/32)
        torch.testing.assert_close(saliency(net, x, target), (want>=0)*net.mask[:,target].expand(2,-1,-1)/16)
    assert net.training and net.maps.weight.grad is None

def test_each_picture_has_its_own_map():
    torch.manual_seed(0)
    net,x = make_cnn('resnet8', 3, n_in=1),torch.rand(5, 1, 28, 28)
    for f in (grad_cam,saliency):
        alone = torch.cat([f(net, x[i:i+1], int(t)) for i,t in enumerate([0,1,2,0,1])])
        torch.testing.assert_close(f(net, x, torch.tensor([0,1,2,0,1])), alone, atol=1e-5, rtol=1e-4)
        assert (f(net, x, 0)-alone).abs().max()>1e-6

def test_a_single_output_has_two_sides():
    torch.manual_seed(0)
    net,x = make_cnn('resnet8', 1, n_in=1),torch.rand(2, 1, 28, 28)
    a,b = grad_cam(net, x, 1),grad_cam(net, x, 0)
    assert not torch.equal(a, b) and torch.equal(a, grad_cam(net, x))
    assert ((a>0)&(b>0)).sum()==0 # what speaks for one speaks against the other

def test_a_layer_without_places_is_refused():
    net,x = make_cnn('resnet8', 2, n_in=1),torch.rand(1, 1, 28, 28)
    with pytest.raises(ValueError, match='feature maps'): grad_cam(net, x, layer=net[-1][-1])
    with pytest.raises(ValueError, match='feature maps'): grad_cam(net, x, layer=nn.Conv2d(1, 1, 1)) # not of this net
    with pytest.raises(ValueError, match='single place'): grad_cam(net, x[...,:1,:1])
    assert all(m.training for m in net.modules())
    assert len(show_maps(x, grad_cam(net, x)))==1


# the reader

def exported(where, digits, model, name, args, loss=F.cross_entropy, flat=False, vocab=('3','7'), scale=lambda x: x):
    x,y = digits
    x = scale(x.float()/255)
    x,y = x.flatten(1) if flat else x[:,None],y if loss is F.cross_entropy else (1-y)[:,None]
    learn = Learner(DataLoaders.from_tensors((x,y), (x,y), vocab=vocab and list(vocab)), model, loss)
    learn.export(where, name, known_models(), args)
    return learn

@pytest.fixture(scope='module')
def out(digits, tmp_path_factory):
    "An export of a trained little net."
    where = tmp_path_factory.mktemp('reader')/'export'
    torch.manual_seed(0)
    learn = Learner(loaders(*digits), make_cnn('resnet8', 2, n_in=1), F.cross_entropy, opt_func=Adam, metrics=accuracy)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(6, .01)
    export_reader(learn, where, args=dict(arch='resnet8', n_out=2, n_in=1), data='bars', about='Bars, not digits.')
    return where

kinds = {'linear_model': (linear_model, {}, mnist_loss, True, ('7','3')), 'simple_net': (simple_net, dict(n_out=2), F.cross_entropy, True, None),
         'conv_net': (conv_net, dict(n_out=2), F.cross_entropy, False, ('3','7')), 'flat conv_net': (conv_net, dict(n_out=2), F.cross_entropy, True, ('3','7')),
         'make_cnn': (make_cnn, dict(arch='resnet8', n_out=2, stats=[[.1]*3,[.3]*3]), F.cross_entropy, False, ('3','7'))}

@pytest.mark.parametrize('kind', kinds)
def test_every_model_of_the_course_reads_pictures(kind, digits, tmp_path):
    make,args,loss,flat,vocab = kinds[kind]
    learn = exported(tmp_path/'out', digits, make(**args), make.__name__, args, loss, flat, vocab)
    reader,x = load_reader(tmp_path/'out'),digits[0]
    assert reader.vocab==list(vocab or '01')
    got,want = reader(x),learn.get_preds()[0]
    if want.shape[1]==1: want = torch.cat([1-want,want], 1)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=0)
    for same in (x.numpy(), x.float()/255, (x.double()/255).numpy(), x[:,None], x.clone().requires_grad_(False)):
        torch.testing.assert_close(reader(same, batch_size=7), got, atol=1e-5, rtol=0)
    assert reader(x[3]).shape==(1,2) and reader(x[:0]).shape==(0,2) and reader.predict(x[:0])==[]
    row = reader.predict(x[3])[0]
    assert row['probability']==row['probabilities'][row['label']]==max(row['probabilities'].values())
    assert json.loads(json.dumps(row))==row and abs(sum(row['probabilities'].values())-1)<1e-5

def test_three_channels_are_made_of_one(digits, tmp_path):
    x,y = digits
    colour = (x[:,None].float()/255).expand(-1,3,-1,-1).contiguous(),y
    learn = Learner(DataLoaders.from_tensors(colour, colour, vocab=['3','7']), make_cnn('resnet8', 2), F.cross_entropy)
    learn.export(tmp_path/'out', 'make_cnn', known_models(), dict(arch='resnet8', n_out=2))
    torch.testing.assert_close(load_reader(tmp_path/'out')(x), learn.get_preds()[0], atol=1e-6, rtol=0)

def test_threads_and_repetition_change_nothing(out, digits):
    reader,x = load_reader(out),digits[0]
    want = reader(x)
    with ThreadPoolExecutor(4) as pool: results = [*pool.map(lambda i: reader(x), range(12))]
    assert all(torch.equal(o, want) for o in results) and not any(m.training for m in reader.model.modules())

@pytest.mark.parametrize('x,said', [
    (torch.zeros(784), r'\[784\]'), (torch.zeros(2,28,29), r'\[2, 28, 29\]'), (torch.zeros(2,3,28,28), r'\[2, 3'),
    (np.zeros((28,28), np.int64), 'int64'), (torch.full((28,28), 255.), 'to 255'), (torch.full((1,28,28), -.5), 'from -0.5'),
    (torch.full((28,28), float('nan')), 'nan'), (np.zeros((28,28), bool), 'bool'), (torch.zeros(()), r'\[\]')], ids=str)
def test_arrays_that_are_no_pictures(x, said):
    with pytest.raises(ValueError, match=said): as_pictures(x)

def test_what_is_no_array():
    for o in ('3.png', [[0]*28]*28, None):
        with pytest.raises(TypeError, match=type(o).__name__): as_pictures(o)

def test_models_that_read_no_pictures(digits, tmp_path):
    exported(tmp_path/'a', digits, conv_net(2), 'conv_net', dict(n_out=2), scale=lambda x: (x-.13)/.31)
    with pytest.raises(ValueError, match='normalized'): load_reader(tmp_path/'a')
    exported(tmp_path/'b', digits, conv_net(10), 'conv_net', dict(n_out=10))
    with pytest.raises(ValueError, match='10 outputs'): load_reader(tmp_path/'b')
    x = torch.rand(4, 9)
    learn = Learner(DataLoaders.from_tensors((x,torch.arange(4)%2), (x,torch.arange(4)%2)), linear_model(9, 2), F.cross_entropy)
    learn.export(tmp_path/'c', 'linear_model', known_models(), dict(n_in=9, n_out=2))
    with pytest.raises(ValueError, match=r'shape \[9\]'): load_reader(tmp_path/'c')
    with pytest.raises(FileNotFoundError): load_reader(tmp_path/'d')

def rewritten(out, where, **changes):
    "The export with something else in its model.json."
    where.mkdir()
    for o in out.iterdir(): (where/o.name).write_bytes(o.read_bytes())
    info = json.loads((where/'model.json').read_text())
    (where/'model.json').write_text(json.dumps({**info, **changes}))
    return where

@pytest.mark.parametrize('changes', [
    dict(input=None), dict(input={}), dict(input={'shape': [28,28,1]}), dict(input={'shape': 784}), dict(input=[1]), dict(model='resnet18'),
    dict(args=dict(arch='get_model', n_out=2, n_in=1)), dict(args=dict(arch='resnet18', n_out=2, n_in=1)),
    dict(args=dict(arch='resnet8', n_out=10**9, n_in=1)), dict(args=dict(arch=['resnet8'], n_out=2)), dict(args=dict(n_out=2)),
    dict(vocab=['3']), dict(input={'shape': [1,28,28], 'low': 'x', 'high': 1})], ids=str)
def test_a_folder_that_was_tampered_with(changes, out, tmp_path):
    with pytest.raises(ValueError): load_reader(rewritten(out, tmp_path/'out', **changes))


# files

@pytest.fixture(scope='module')
def sent(digits, tmp_path_factory):
    "What people send, by name."
    where,good = tmp_path_factory.mktemp('sent'),Image.fromarray(digits[0][1].numpy())
    for name,im in dict(grey=good, coloured=good.convert('RGB'), palette=good.convert('P'), sixteen=Image.fromarray(np.asarray(good).astype(np.uint16)*257),
                        inverted=Image.fromarray(255-np.asarray(good)), large=good.resize((56,56)), thin=good.resize((28,27)),
                        blank=Image.new('L', (28,28)), white=Image.new('RGB', (28,28), 'white'),
                        ink=Image.merge('RGBA', [Image.new('L', (28,28))]*3 + [good]),
                        opaque=Image.merge('RGBA', [good]*3 + [Image.new('L', (28,28), 255)])).items(): im.save(where/f'{name}.png')
    good.save(where/'lossless.bmp')
    data = (where/'grey.png').read_bytes()
    (where/'truncated.png').write_bytes(data[:-20])
    (where/'flipped.png').write_bytes(data[:60] + bytes([data[60]^1]) + data[61:])
    (where/'letter.png').write_text('Dear digits')
    (where/'nothing.png').write_bytes(b'')
    for side in (10_000,60_000): (where/f'bomb{side}.png').write_bytes(bomb(side, side, 10**6))
    (where/'bomb28.png').write_bytes(bomb(28, 28, 10**8))
    (where/'empty').mkdir()
    return where

def bomb(w, h, n):
    "A PNG that says it has w×h pixels, and unpacks to n bytes."
    def chunk(kind, body): return len(body).to_bytes(4, 'big')+kind+body+zlib.crc32(kind+body).to_bytes(4, 'big')
    head = w.to_bytes(4, 'big')+h.to_bytes(4, 'big')+b'\x08\0\0\0\0'
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(bytes(n), 9)) + chunk(b'IEND', b'')

errors = {'large.png': '56×56', 'thin.png': '28×27', 'blank.png': 'is empty', 'white.png': 'is empty', 'inverted.png': 'invert=True',
          'ink.png': 'invert=True', 'truncated.png': 'truncated', 'flipped.png': 'damaged', 'letter.png': 'no image', 'nothing.png': 'is empty',
          'bomb10000.png': '10000×10000', 'bomb60000.png': 'exceeds limit', 'bomb28.png': 'more than', 'empty': 'without images', 'gone.png': 'not there'}

def test_what_people_send(out, sent):
    good = ['grey.png','coloured.png','palette.png','sixteen.png','opaque.png','lossless.bmp']
    rows = predict_files(load_reader(out), [sent/o for o in (*good, *errors)])
    want = predict_files(out, sent/'grey.png')[0]
    assert want['label'] in ('3','7') and want['file']==str(sent/'grey.png')
    for name,row in zip(good, rows): # in a batch the seventh digit may differ
        assert row['file']==str(sent/name) and row['label']==want['label']
        assert row['probabilities']==pytest.approx(want['probabilities'], abs=1e-6)
    for (name,said),row in zip(errors.items(), rows[len(good):]):
        assert set(row)=={'file','error'} and said in row['error'] and row['file']==str(sent/name), row
        assert str(sent) not in row['error']
    assert json.loads(json.dumps(rows))==rows

def test_dark_ink_is_read_if_you_say_so(out, sent):
    want = predict_files(out, sent/'grey.png')[0]['probabilities']
    assert predict_files(out, str(sent/'inverted.png'), invert=True)[0]['probabilities']==want
    assert predict_files(out, sent/'ink.png', invert=True)[0]['label']==max(want, key=want.get)
    assert 'leave out' in predict_files(out, sent/'grey.png', invert=True)[0]['error']

def test_a_picture_of_pillow_is_an_array(out, sent):
    im = Image.open(sent/'grey.png')
    assert load_reader(out).predict(np.array(im))==[{k: v for k,v in predict_files(out, sent/'grey.png')[0].items() if k!='file'}]

def test_a_folder_is_read_in_order(out, sent, folder):
    rows = predict_files(out, [folder/'valid', sent/'gone.png', folder/'valid'/'3'])
    files = [r['file'] for r in rows]
    assert len(rows)==12+1+6 and files[:12]==sorted(files[:12]) and 'error' in rows[12] and all('label' in r for r in rows[13:])
    right = [r['label']==r['file'].split('/')[-2] for r in rows if 'label' in r]
    assert sum(right)>=.8*len(right)

def test_a_fresh_process_says_the_same(out, folder):
    code = f'''
import json,sys
from digits_fastai.nets.predict import predict_files
print(json.dumps(predict_files({str(out)!r}, {str(folder/"valid")!r})))
print([o for o in ('fastai','matplotlib','pandas','sklearn') if o in sys.modules])'''
    said,heavy = run(python, '-c', code).stdout.splitlines()
    assert heavy=='[]'
    for a,b in zip(json.loads(said), predict_files(out, folder/'valid'), strict=True):
        assert a['file']==b['file'] and abs(a['probability']-b['probability'])<1e-5

def test_the_card_says_what_was_learned_from(out):
    card = (out/'card.md').read_text(encoding='utf-8')
    for said in ('Bars, not digits.', 'bars, 40 pictures', '| 3 | 20 |', '| 7 | 20 |', '| all | 40 |', 'torch ', 'Python 3'): assert said in card, said
    assert Reader.__doc__ and (out/'model.json').exists()
