"""Data that doesn't fit in memory: mapped files, the window, webdataset's shards in our Learner, and flat memory.

Where a check could be satisfied by code that does nothing, a twin breaks ours on purpose and sees the check fail."""
import io,os,pickle,shutil
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given,settings,strategies as st
from PIL import Image
from torch import nn

from conftest import python,root,run
from digits_fastai.data import streams
from digits_fastai.dataloaders import DataLoader,DataLoaders,Dataset
from digits_fastai.images import load_folder,load_images
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy,cross_entropy
from digits_fastai.models import linear_model
from digits_fastai.optimizer import SGD
from digits_fastai.data.streams import MappedDataset,mapped_folder,shuffle_window

many = settings(max_examples=150, deadline=None, derandomize=True, report_multiple_bugs=False)

def seeded(n=0): return torch.Generator().manual_seed(n)

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "103 pictures of 12×10 pixels, no two alike, in three classes of different sizes."
    path,dice = tmp_path_factory.mktemp('folder'),np.random.default_rng(0)
    for name,n in dict(a=50, b=3, c=50).items():
        (path/name).mkdir()
        for i in range(n): Image.fromarray(dice.integers(0, 256, (12,10), dtype=np.uint8)).save(path/name/f'{i}.png')
    return path

@pytest.fixture(scope='module')
def data(folder):
    x,y,_ = load_folder(folder, cache=False)
    return x.float().div_(255)[:,None],y


# A mapped file

def test_a_mapped_folder_is_the_folder(folder, data, tmp_path):
    x,y = data
    ds,classes = mapped_folder(folder, tmp_path/'a.npy')
    made = (tmp_path/'a.npy').stat()
    assert classes==['a','b','c'] and len(ds)==103 and torch.equal(ds.y, y)
    idxs = torch.tensor([5,102,0,5,*range(30)])
    for flatten in (False,True):
        ds,_ = mapped_folder(folder, tmp_path/'a.npy', flatten)
        xb,yb = ds.get_batch(idxs)
        assert torch.equal(xb, x[idxs].flatten(1) if flatten else x[idxs]) and torch.equal(yb, y[idxs])
    assert (tmp_path/'a.npy').stat().st_mtime_ns==made.st_mtime_ns, 'it was made a second time'
    again = pickle.loads(pickle.dumps(ds))
    assert torch.equal(again[7][0], ds[7][0]) and len(pickle.dumps(ds))<10_000
    for xb,yb in DataLoader(ds, 50, num_workers=1): assert len(xb)==len(yb)

def test_it_is_written_in_portions_and_as_a_whole(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, '_portion', 20)
    asked = []
    monkeypatch.setattr(streams, 'load_images', lambda files: asked.append(len(files)) or load_images(files))
    ds,_ = mapped_folder(folder, tmp_path/'a.npy')
    assert max(asked)==21 and np.array_equal(ds.x, load_folder(folder, cache=False)[0])
    (tmp_path/'f'/'a').mkdir(parents=True)
    for i in range(40): Image.new('L', (4,5) if i<39 else (5,4)).save(tmp_path/'f'/'a'/f'{i:02d}.png')
    with pytest.raises(ValueError, match='4×5'): mapped_folder(tmp_path/'f', tmp_path/'b.npy')
    assert not (tmp_path/'b.npy').exists()

def test_what_is_no_file_of_pictures_is_an_error(folder, tmp_path):
    np.save(tmp_path/'whole.npy', np.zeros((2,3,3), np.uint8))
    whole = (tmp_path/'whole.npy').read_bytes()
    for bad in (b'', b'short', whole[:50], whole[:-1], b'\0\0\x08\x03'+bytes(60), pickle.dumps([1])):
        (tmp_path/'a.npy').write_bytes(bad)
        with pytest.raises(ValueError, match='a.npy is truncated, or no NumPy file'):
            MappedDataset(tmp_path/'a.npy', torch.zeros(2))
    for a in (np.zeros((2,3,3), np.float32), np.zeros((2,9), np.uint8)):
        np.save(tmp_path/'a.npy', a)
        with pytest.raises(ValueError, match='pictures are uint8'):
            MappedDataset(tmp_path/'a.npy', torch.zeros(2))
    with pytest.raises(ValueError, match='Delete it'): mapped_folder(folder, tmp_path/'whole.npy')
    (tmp_path/'f'/'empty').mkdir(parents=True)
    for o in ('f','f/empty'):
        with pytest.raises(ValueError, match='needs folders with images'): mapped_folder(tmp_path/o, tmp_path/'c.npy')


# The window

def check_window(f):
    @many
    @given(st.integers(0, 60), st.integers(1, 70), st.integers(0, 5))
    def check(n, window, seed):
        read,got = [],[]
        for o in f((read.append(i) or i for i in range(n)), window, seeded(seed)):
            got.append(o)
            assert len(read)-len(got)<=window
        assert sorted(got)==list(range(n))
        if window==1: assert got==list(range(n))
        if window>=n: assert got==torch.randperm(n, generator=seeded(seed)).tolist()
    check()

def no_rest(items, window, generator):
    items = list(items)
    return islice(shuffle_window(items, window, generator), max(0, len(items)-window))
def all_at_once(items, window, generator): return shuffle_window(list(items), window, generator)
def twice(items, window, generator):
    for o in shuffle_window(items, window, generator): yield from [o]*(1+(o==7))

def test_the_window_gives_all_once_and_holds_no_more(): check_window(shuffle_window)

@pytest.mark.parametrize('broken', [no_rest, all_at_once, twice])
def test_a_broken_window_is_noticed(broken):
    with pytest.raises(AssertionError): check_window(broken)


# The Learner, from a mapped file and from webdataset's shards

def fit(train, data, valid=None):
    torch.manual_seed(0)
    valid = valid or DataLoader(Dataset(*data), 64)
    model = nn.Sequential(nn.Flatten(), linear_model(120, 3))
    learn = Learner(DataLoaders(train, valid), model, cross_entropy, opt_func=SGD, lr=.1, metrics=accuracy)
    with learn.no_logging(): learn.fit(3)
    return learn

def same_training(a, b):
    return torch.equal(a.model[1].weight, b.model[1].weight) and a.recorder.values==b.recorder.values

def test_the_learner_trains_on_a_mapped_file_as_in_memory(folder, data, tmp_path):
    ds,_ = mapped_folder(folder, tmp_path/'a.npy')
    want,got = (fit(DataLoader(o, 16, shuffle=True, generator=seeded()), data) for o in (Dataset(*data), ds))
    assert same_training(want, got)

def array(member): return torch.from_numpy(np.load(io.BytesIO(member)))
def floats(member): return array(member).float().div_(255)[:,None]

@pytest.fixture
def shards(folder, tmp_path):
    "The pictures in their order as blocks of 16, in shards of two blocks; the last block has 7."
    wds = pytest.importorskip('webdataset')
    x,y,_ = load_folder(folder, cache=False)
    with wds.ShardWriter(f'{tmp_path}/%06d.tar', maxcount=2, verbose=0) as out:
        for i,rows in enumerate(torch.arange(len(y)).split(16)):
            out.write({'__key__': f'{i:06d}', 'x.npy': x[rows].numpy(), 'y.npy': y[rows].numpy()})
    return sorted(map(str, tmp_path.glob('*.tar')))

def pipeline(shards):
    import webdataset as wds
    return wds.WebDataset(shards, shardshuffle=False).to_tuple('x.npy','y.npy').map_tuple(floats, array)

def test_the_learner_trains_on_shards_as_in_memory(shards, data):
    want = fit(DataLoader(Dataset(*data), 16), data)
    assert same_training(want, fit(pipeline(shards).with_length(7, silent=True), data))
    assert not same_training(want, fit(pipeline(shards[1:]).with_length(5, silent=True), data))
    mixed = pipeline(shards).compose(partial(shuffle_window, window=3, generator=seeded())).with_length(7, silent=True)
    a,b = (torch.cat([yb for _,yb in mixed]) for _ in range(2))
    assert not torch.equal(a, b) and a.sort()[0].tolist()==b.sort()[0].tolist()==data[1].tolist()

def test_a_pipeline_without_a_length_is_refused_before_anything_is_trained(shards, data):
    known = DataLoader(Dataset(*data), 16)
    for train,valid in ((pipeline(shards),known), (known,pipeline(shards))):
        with pytest.raises(TypeError, match=r'WebDataset does not say .*with_length\(n\)'): fit(train, data, valid)
    learn = fit(known, data, pipeline(shards).with_length(7, silent=True))
    assert learn.validate()==learn.validate(dl=DataLoader(Dataset(*data), 16))
    with pytest.raises(TypeError, match='with_length'): learn.validate(dl=pipeline(shards))


# Memory, in processes of their own

ways = {
    'in memory': "x = torch.from_numpy(numpy.load(file)).float().div_(255)[:,None]\n"
                 "dl = DataLoader(Dataset(x, torch.zeros(n)), 64, shuffle=True)",
    'in a mapped file': "dl = DataLoader(MappedDataset(file, torch.zeros(n)), 64, shuffle=True)"}
walk = '''import sys,numpy,torch
from digits_fastai.dataloaders import DataLoader,Dataset
from digits_fastai.data.streams import MappedDataset
def own(): return next(int(o.split()[1]) for o in open('/proc/self/status') if o.startswith('RssAnon'))
file,n = sys.argv[1],int(sys.argv[2])
{way}
most = seen = 0
for xb,yb in dl:
    most = max(most, own())
    seen += len(xb)
assert seen==n
print(most)
'''

@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='memory is read from /proc, which is Linux')
@pytest.mark.parametrize('way', ways)
def test_ten_times_the_data_needs_no_more_memory(tmp_path, way):
    "2,000 and 20,000 pictures of 64×64. (The pages of a mapped file don't count: the system can have them back.)"
    peaks = []
    for n in (2000, 20_000):
        np.save(tmp_path/f'{n}.npy', np.zeros((n,64,64), np.uint8))
        res = run(python, '-W', 'ignore', '-c', walk.format(way=ways[way]), tmp_path/f'{n}.npy', n, cwd=root,
                  timeout=120, OMP_NUM_THREADS='1')
        peaks.append(int(res.stdout.split()[-1]))
    if way=='in memory': assert peaks[1]>1.3*peaks[0], 'the twin that should fail did not: this measures nothing'
    else: assert peaks[1]<1.2*peaks[0], f'{peaks} kB'

def test_a_map_of_pictures_that_have_changed_is_refused(folder, tmp_path):
    folder = shutil.copytree(folder, tmp_path/'folder')
    mapped_folder(folder, tmp_path/'a.npy')
    mapped_folder(folder.parent/'.'/'folder', tmp_path/'a.npy')
    file = sorted(folder.rglob('*.png'))[0]
    was,stat = file.read_bytes(),file.stat()
    file.write_bytes(was[:-1]+bytes([was[-1]^1]))
    os.utime(file, ns=(stat.st_atime_ns,stat.st_mtime_ns)) # the same size, and the same time to look at
    with pytest.raises(ValueError, match='they have changed. Delete it'): mapped_folder(folder, tmp_path/'a.npy')
