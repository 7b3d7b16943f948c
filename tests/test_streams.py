"""Data that doesn't fit in memory: every sample once, whatever the numbers; flat memory in real processes; hostile shards.

Where a check could be satisfied by code that does nothing, a twin breaks ours on purpose and sees the check fail."""
import gc,io,json,pickle,shutil,struct,tarfile
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given,settings,strategies as st
from PIL import Image

from conftest import python,root,run
from digits_fastai import streams
from digits_fastai.archives import ArchiveError
from digits_fastai.dataloaders import DataLoader,DataLoaders,Dataset
from digits_fastai.images import load_folder
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy,cross_entropy
from digits_fastai.models import linear_model
from digits_fastai.streams import (
    MappedDataset,ShardLoader,index_shards,mapped_folder,shard_samples,shuffle_window,write_shards)

many = settings(max_examples=150, deadline=None, derandomize=True, report_multiple_bugs=False)

def png(a):
    Image.fromarray(a).save(f := io.BytesIO(), 'PNG')
    return f.getvalue()

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "103 pictures of 12×10 pixels, no two alike, in three classes of different sizes."
    path,dice = tmp_path_factory.mktemp('folder'),np.random.default_rng(0)
    for name,n in dict(a=50, b=3, c=50).items():
        (path/name).mkdir()
        for i in range(n): (path/name/f'{i}.png').write_bytes(png(dice.integers(0, 256, (12,10), dtype=np.uint8)))
    return path

@pytest.fixture(scope='module')
def shards(folder, tmp_path_factory):
    dest = tmp_path_factory.mktemp('shards')
    write_shards(folder, dest, per_shard=20)
    return dest

def counted(*loaders):
    return Counter(x.numpy().tobytes()+bytes([y]) for dl in loaders for xb,yb in dl for x,y in zip(xb, yb))

@pytest.fixture(scope='module')
def everything(folder):
    x,y,_ = load_folder(folder, cache=False)
    return counted(DataLoader(Dataset(x.float().div_(255)[:,None], y), 16))

def seeded(n=0): return torch.Generator().manual_seed(n)


# A mapped file.

def test_a_mapped_folder_is_the_folder(folder, tmp_path):
    x,y,names = load_folder(folder, cache=False)
    ds,classes = mapped_folder(folder, tmp_path/'a.idx')
    made = (tmp_path/'a.idx').stat()
    assert classes==names and len(ds)==103 and torch.equal(ds.y, y)
    for flatten in (False,True):
        ds,_ = mapped_folder(folder, tmp_path/'a.idx', flatten)
        xb,yb = ds.get_batch(idxs := torch.tensor([5,102,0,5,*range(30)]))
        want = x[idxs].float().div_(255)
        assert torch.equal(xb, want.flatten(1) if flatten else want[:,None]) and torch.equal(yb, y[idxs])
    assert (tmp_path/'a.idx').stat().st_mtime_ns==made.st_mtime_ns, 'it was made a second time'
    again = pickle.loads(pickle.dumps(ds))
    assert torch.equal(again[7][0], ds[7][0])
    for xb,yb in DataLoader(ds, 50, num_workers=1): assert len(xb)==len(yb)

def test_portions_are_one_file(folder, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(streams, 'load_images', lambda files: asked.append(len(files)) or load_images(files))
    from digits_fastai.images import load_images
    ds,_ = mapped_folder(folder, tmp_path/'a.idx')
    assert sum(asked)==103+len(asked)
    (folder_of_two := tmp_path/'f'/'a').mkdir(parents=True)
    for i,shape in enumerate([(4,5),(5,4)]): (folder_of_two/f'{i}.png').write_bytes(png(np.zeros(shape, np.uint8)))
    with pytest.raises(ValueError, match='4×5'): mapped_folder(tmp_path/'f', tmp_path/'b.idx')
    assert not (tmp_path/'b.idx').exists()

@pytest.mark.parametrize('data', [b'', b'short', b'\0\0\x08\x01'+bytes(60), struct.pack('>4I', 0x803, 2, 3, 3)+bytes(17)])
def test_a_file_that_is_no_idx_or_not_whole_is_an_error(tmp_path, data):
    (tmp_path/'a.idx').write_bytes(data)
    with pytest.raises(ValueError, match='truncated, or no IDX'): MappedDataset(tmp_path/'a.idx', torch.zeros(2))

def test_another_number_of_pictures_is_an_error(folder, tmp_path):
    (tmp_path/'a.idx').write_bytes(struct.pack('>4I', 0x803, 2, 3, 3)+bytes(18))
    with pytest.raises(ValueError, match='Delete it'): mapped_folder(folder, tmp_path/'a.idx')


# Shards are tar files.

end = bytes(1024)

def member(name, data=b'', kind=tarfile.REGTYPE, size=None, format=tarfile.USTAR_FORMAT):
    "A file as it lies in a tar file, and what nobody would write: `size` is what its header says, as it stands there."
    m = tarfile.TarInfo(name)
    m.type,m.size = kind,len(data)
    head = bytearray(m.tobuf(format))
    if size is not None:
        head[124:136],head[148:156] = size,b' '*8
        head[148:156] = b'%06o\0 '%sum(head)
    return bytes(head)+data+bytes(-len(data)%512)

stems = st.text(st.characters(exclude_characters='\0\n/.', exclude_categories=['Cs']), min_size=1, max_size=150)

@many
@given(st.dictionaries(stems, st.tuples(st.binary(min_size=1, max_size=1500), st.binary(min_size=1, max_size=9)), max_size=4),
       st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), st.sampled_from(['', 'v1.0/']))
def test_samples_of_any_name_are_read_in_their_order(tmp_path_factory, samples, dialect, folder):
    data = member(folder, kind=tarfile.DIRTYPE)*bool(folder)
    for stem,(a,b) in samples.items():
        for name,o in (('png', a), ('json', b''), ('seg.cls', b'?'), ('cls', b)): data += member(f'{folder}{stem}.{name}', o, format=dialect)
    (file := tmp_path_factory.getbasetemp()/'any.tar').write_bytes(data+end)
    assert list(shard_samples(file))==[(f'{folder}{stem}.png of {file}', *o) for stem,o in samples.items()]

def cuts(read, file):
    "Where a shard can be cut off without `read` minding, short of its end mark."
    data = b''.join(member(f'{i}.{k}', bytes([65+i])*n, format=f) for i,f in enumerate((tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT))
                    for k,n in (('png', 700), ('cls', 1)))
    data += member('ä'*99+'.png', b'x', format=tarfile.PAX_FORMAT)+member('ä'*99+'.cls', b'1', format=tarfile.PAX_FORMAT)+end
    unnoticed = []
    for at in sorted({*range(0, len(data), 37), *range(0, len(data), 512), *range(1, len(data), 512), len(data)-1}):
        file.write_bytes(data[:at])
        try: list(read(file))
        except ArchiveError as e: assert str(file) in str(e)
        else: unnoticed.append(at)
    file.write_bytes(data)
    assert len(list(read(file)))==3
    return unnoticed

def trusting(file):
    "What tarfile alone makes of a shard."
    try:
        with tarfile.open(file, 'r|') as t: data = [(m.name, t.extractfile(m).read()) for m in t]
    except tarfile.TarError as e: raise ArchiveError(f'{file}: {e}') from e
    return zip(data[::2], data[1::2])

def test_a_cut_is_noticed_wherever_it_is(tmp_path):
    assert cuts(shard_samples, tmp_path/'cut.tar')==[]
    assert cuts(trusting, tmp_path/'cut.tar'), 'the twin that should fail did not'

def test_no_header_makes_us_read_more_than_a_picture_needs(tmp_path):
    "What it promises, and what is there: 80 MB of a long name, of a picture, and of a picture by PAX's word."
    size = 80*2**20
    pax = b'%d size=%d\n'%(len(str(size))+9, size)
    for i,head in enumerate((member('x', kind=b'L', size=b'%011o\0'%size), member('x', kind=b'x', size=b'%011o\0'%size),
                             member('0.png', size=b'%011o\0'%size), member('x', pax, kind=b'x')+member('0.png', b''))):
        with open(file := tmp_path/f'{i}.tar', 'wb') as f:
            f.write(head)
            f.truncate(size+10_000) # a file with holes takes no room
        with pytest.raises(ArchiveError, match=f'{i}.tar is damaged .*more than 64 MB'): list(shard_samples(file))
    with open(file := tmp_path/'large.tar', 'wb') as f: # in all it may be as large as it wants
        for i in range(4):
            f.write(member(f'{i}.png', size=b'%011o\0'%2**25))
            f.seek(2**25, 1)
            f.write(member(f'{i}.cls', b'0'))
        f.write(end)
    assert [len(o[1]) for o in shard_samples(file)]==[2**25]*4

def test_members_are_forgotten(tmp_path):
    "A shard of very many is walked through with a few in memory: tarfile would keep them all."
    (tmp_path/'x.tar').write_bytes(b''.join(member(f'{i}.{k}', b'1') for i in range(3000) for k in ('png','cls'))+end)
    samples = shard_samples(tmp_path/'x.tar')
    for _ in range(2999): next(samples)
    gc.collect()
    assert sum(type(o) is tarfile.TarInfo for o in gc.get_objects())<20
    assert len(list(samples))==1

def test_shards_are_the_same_bytes_each_time_and_tarfile_reads_them(folder, shards, tmp_path):
    write_shards(folder, tmp_path/'again', per_shard=20)
    for o in sorted(shards.iterdir()): assert o.read_bytes()==(tmp_path/'again'/o.name).read_bytes()
    assert json.loads((shards/'index.json').read_bytes())['shards']=={f'shard-{i:06d}.tar': 20 if i<5 else 3 for i in range(6)}
    x,y,_ = load_folder(folder, cache=False)
    found = Counter()
    for o in shards.glob('*.tar'):
        with tarfile.open(o) as t:
            files = {m.name: t.extractfile(m).read() for m in t}
            assert all(m.mtime==0 and m.uid==0 and m.mode==0o644 for m in t.getmembers())
        for k in {n.split('.')[0] for n in files}:
            found[np.asarray(Image.open(io.BytesIO(files[k+'.png']))).tobytes()+bytes([int(files[k+'.cls'])])] += 1
    assert found==Counter(a.numpy().tobytes()+bytes([b]) for a,b in zip(x, y))
    write_shards(folder, tmp_path/'other', per_shard=20, seed=1)
    assert (tmp_path/'other'/'shard-000000.tar').read_bytes()!=(shards/'shard-000000.tar').read_bytes()
    with pytest.raises(FileExistsError, match='not empty'): write_shards(folder, tmp_path/'other')

def test_only_png_goes_into_shards(tmp_path):
    (tmp_path/'f'/'a').mkdir(parents=True)
    Image.new('L', (4,4)).save(tmp_path/'f'/'a'/'0.jpg')
    with pytest.raises(ValueError, match='0.jpg is not a PNG file'): write_shards(tmp_path/'f', tmp_path/'s')
    assert not (tmp_path/'s'/'index.json').exists()
    with pytest.raises(ArchiveError, match='missing or broken'): ShardLoader(tmp_path/'s')


# The window.

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


# The loader.

def test_every_sample_once_whatever_the_numbers(shards, everything):
    @settings(many, max_examples=60)
    @given(st.integers(1, 120), st.integers(1, 120), st.integers(1, 9), st.booleans())
    def check(batch_size, window, world, shuffle):
        ranks = [ShardLoader(shards, batch_size, window, shuffle, rank=i, world=world) for i in range(world)]
        assert counted(*ranks)==everything
        sizes = [[len(yb) for _,yb in dl] for dl in ranks]
        assert [len(o) for o in sizes]==[len(dl) for dl in ranks] and [sum(o) for o in sizes]==[dl.n for dl in ranks]
        assert max(map(sum, sizes))-min(map(sum, sizes))<=1
        assert all(o[:-1]==[batch_size]*(len(o)-1) for o in sizes)
    check()

def test_a_loader_that_loses_or_repeats_is_noticed(shards, everything):
    class Rounded(ShardLoader):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.first,self.stop,self.share = 0,103,[(o, 20*i) for i,o in enumerate(self.counts)][self.rank*2:self.rank*2+2]
    class Early(ShardLoader):
        def __iter__(self): return islice(super().__iter__(), self.n//self.batch_size)
    assert counted(*(Rounded(shards, rank=i, world=3) for i in range(3)))==everything # 6 shards, by chance
    assert counted(*(Rounded(shards, rank=i, world=2) for i in range(2)))!=everything
    assert counted(Early(shards, 64))!=everything
    assert counted(*(ShardLoader(shards, rank=0, world=2) for _ in range(2)))!=everything

def test_a_seed_decides_and_epochs_differ(shards):
    def epochs(seed):
        dl = ShardLoader(shards, 16, window=30, generator=seeded(seed))
        return [torch.cat([xb for xb,_ in dl]) for _ in range(2)]
    a,b,c = epochs(0),epochs(0),epochs(1)
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    assert not torch.equal(a[0], a[1]) and not torch.equal(a[0], c[0])

def test_the_shards_come_in_random_order_too(shards):
    dl = ShardLoader(shards, 20, window=1, generator=seeded())
    epochs = [[o.numpy().tobytes() for xb,_ in dl for o in xb] for _ in range(2)]
    plain = [o.numpy().tobytes() for xb,_ in dl.new(shuffle=False) for o in xb]
    assert epochs[0]!=epochs[1] and sorted(epochs[0])==sorted(epochs[1])==sorted(plain)
    at = [epochs[0].index(plain[i]) for i in range(0, 103, 20)]
    assert all(epochs[0][a:a+20][:3]==plain[i:i+3] for a,i in zip(at, range(0, 103, 20))) and at!=sorted(at)

def test_the_learner_trains_on_shards_as_in_memory(folder, tmp_path):
    x,y,names = load_folder(folder, cache=False)
    x = x.flatten(1).float().div_(255)
    write_shards(folder, tmp_path/'s', per_shard=200, seed=None)
    ds,_ = mapped_folder(folder, tmp_path/'a.idx', flatten=True)
    def fit(train):
        torch.manual_seed(0)
        learn = Learner(DataLoaders(train, DataLoader(Dataset(x, y), 64), vocab=names), linear_model(120, 3), cross_entropy,
                        lr=.1, metrics=accuracy)
        with learn.no_logging(): learn.fit(3)
        state = train.generator.get_state()
        seen = learn.validate(0)
        assert torch.equal(state, train.generator.get_state()), 'to validate on the training set threw dice'
        return learn.model.weight.detach(),learn.recorder.losses,seen
    want,losses,seen = fit(DataLoader(Dataset(x, y), 16, shuffle=True, generator=seeded()))
    for dl in (ShardLoader(tmp_path/'s', 16, window=103, flatten=True, generator=seeded()),
               DataLoader(ds, 16, shuffle=True, generator=seeded())):
        got,theirs,now = fit(dl)
        assert torch.equal(got, want) and torch.equal(torch.stack(losses), torch.stack(theirs)) and seen==now
    got,*_ = fit(ShardLoader(tmp_path/'s', 16, window=50, flatten=True, generator=seeded()))
    assert not torch.equal(got, want)

@pytest.mark.parametrize('kwargs', [dict(batch_size=0), dict(window=0), dict(window=1.5), dict(world=0), dict(rank=2, world=2), dict(rank=-1)])
def test_impossible_numbers_are_errors(shards, kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))): ShardLoader(shards, **kwargs)

def test_large_pictures_and_fancy_ones(tmp_path):
    big = np.random.default_rng(0).integers(0, 256, (70,90), dtype=np.uint8)
    for name,data in {'big': png(big), 'colour': png(np.zeros((70,90,3), np.uint8))}.items():
        (tmp_path/name).mkdir()
        (tmp_path/name/'x.tar').write_bytes(member('0.png', data)+member('0.cls', b'0')+end)
        index_shards(tmp_path/name, ['a'])
    (xb,_), = ShardLoader(tmp_path/'big')
    assert torch.equal(xb[0,0], torch.from_numpy(big).float().div_(255))
    with pytest.raises(ArchiveError, match='0.png of .*x.tar is of mode RGB'): list(ShardLoader(tmp_path/'colour'))


# Hostile and broken shards.

good = png(np.zeros((12,10), np.uint8))
pair = member('0.png', good)+member('0.cls', b'1')

@pytest.mark.parametrize('data,said', [
    (b'', 'its first byte.*empty'), (pair, "'0.cls'.*no end mark"), (pair+bytes(512), 'no end mark'), (pair+end+pair, 'no end mark'),
    (pair[:-700], "'0.png'"), (b'<html>'*200, 'its first byte'), (pair[:512]+pair[512:1024][::-1]+pair[1024:]+end, 'not a PNG'),
    (member('l', kind=b'2')+end, 'is a link'), (member('l', kind=b'1')+end, 'is a link'), (pair+member('d', kind=b'3')+end, "'d'.*a device"),
    (member('s', kind=b'S')+end, 'holes'), (member('?', kind=b'?')+end, 'holes'),
    (member('x', b'22 GNU.sparse.map=0,1\n', kind=b'x')+pair+end, '0.png.*holes'),
    (member('0.png', size=b'77777777777\0')+end, 'damaged .*0.png'), (member('0.png', size=b'-0000000001\0')+end, 'an empty one'),
    (member('0.png', size=b'-0000001000\0')+end, 'damaged'), (member('x', kind=b'x')*3000+pair+end, 'damaged'),
    (member('0.png', size=b'\x80'+b'\xff'*11)+end, 'damaged'), (member('l\udcff', kind=b'2')+end, 'is a link'), (member('x\udcff.png', good)+end, 'no x�.cls'), (member('0.png', size=b'\xff'*12)+end, 'an empty one'),
    (member('0.png', good)+end, 'no 0.cls'), (member('0.cls', b'0')+end, 'no 0.png'), (member('0.png', good)+member('1.cls', b'0')+end, 'no 0.cls'),
    (member('0.png', good)+member('0.cls', b'3')+end, 'label b.3'), (member('0.png', good)+member('0.cls', b'-1')+end, 'label'),
    (member('0.png', good)+member('0.cls')+end, 'no 0.cls, or an empty one'),
    (member('0.png')+member('0.cls', b'0')+end, 'no 0.png, or an empty one'),
    (member('0.png', good[:-20])+member('0.cls', b'0')+end, 'truncated'),
    (member('0.png', png(np.zeros((10,12), np.uint8)))+member('0.cls', b'0')+end, 'index.json says'),
    (pair+pair.replace(b'0.', b'1.')+end, 'no end mark'), (end, 'has 0 samples'),
    (pair+member('1.png', good)+member('1.cls', b'1')+end, 'has 2 samples')])
def test_a_broken_shard_says_which_and_what(tmp_path, data, said):
    (tmp_path/'bad.tar').write_bytes(data)
    (tmp_path/'index.json').write_text(json.dumps(dict(classes=['a','b'], size=[12,10], shards={'bad.tar': 1})))
    with pytest.raises(ArchiveError, match=said) as e: list(ShardLoader(tmp_path))
    assert 'bad.tar' in str(e.value) and str(e.value).encode(), 'it can be printed'
    assert sorted(o.name for o in tmp_path.iterdir())==['bad.tar','index.json'], 'something was unpacked'

@pytest.mark.parametrize('index', ['', '[]', '{}', '{"classes": ["a"], "size": [12,10], "shards": [1]}',
                                   '{"classes": ["a"], "size": 3, "shards": {}}', '{"classes": ["a"], "size": [0,9], "shards": {}}',
                                   '{"classes": ["a"], "size": [9,9], "shards": {"a": -1}}', '['*50,
                                   '{"classes": 1, "size": [1,1], "shards": {"a": "b"}}'])
def test_a_broken_index_says_so(tmp_path, index):
    (tmp_path/'index.json').write_text(index)
    with pytest.raises(ArchiveError, match='index.json is missing or broken'): ShardLoader(tmp_path)

def test_an_index_does_not_lead_out_of_its_folder(tmp_path, shards):
    (tmp_path/'in').mkdir()
    shutil.copy(shards/'shard-000000.tar', tmp_path/'out.tar')
    (tmp_path/'in'/'index.json').write_text(json.dumps(dict(classes=[*'abc'], size=[12,10], shards={'../out.tar': 20})))
    with pytest.raises(FileNotFoundError): list(ShardLoader(tmp_path/'in'))

def test_names_that_lead_out_are_only_names(tmp_path):
    data = member('../../evil.png', good)+member('../../evil.cls', b'0')+end
    (tmp_path/'a'/'b').mkdir(parents=True)
    (tmp_path/'a'/'b'/'x.tar').write_bytes(data)
    index_shards(tmp_path/'a'/'b', ['a'])
    assert len(list(ShardLoader(tmp_path/'a'/'b')))==1
    assert sorted(o.name for o in tmp_path.rglob('*'))==['a','b','index.json','x.tar']

def test_one_byte_changed_is_an_error_or_the_same_picture(tmp_path):
    "Tar has no checksum for data: the label's byte may change, and the zeros that fill up; all else is noticed."
    whole = pair+end
    (tmp_path/'index.json').write_text(json.dumps(dict(classes=['a','b'], size=[12,10], shards={'x.tar': 1})))
    (tmp_path/'x.tar').write_bytes(whole)
    want,_ = next(iter(ShardLoader(tmp_path)))
    @settings(many, max_examples=400)
    @given(st.integers(0, len(whole)-1), st.integers(1, 255))
    def check(at, change):
        (tmp_path/'x.tar').write_bytes(whole[:at]+bytes([whole[at]^change])+whole[at+1:])
        try: (x,_), = ShardLoader(tmp_path)
        except ArchiveError as e:
            assert 'x.tar' in str(e)
            return
        assert torch.equal(x, want)
    check()

dialects = [b''.join(member('ä'*60+f'/{i}.{k}', bytes(600), format=o) for i in range(2) for k in ('png','cls'))+end
            for o in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]

@settings(many, max_examples=600)
@given(st.one_of(st.binary(max_size=2000), st.sampled_from(dialects)),
       st.lists(st.tuples(st.integers(0, 20), st.one_of(st.sampled_from([0, 124, 130, 135, 156, 345, 482, 483]), st.integers(0, 511)),
                          st.one_of(st.sampled_from(b'0157xgSLK\xff\x80\n='), st.integers(0, 255))), max_size=4), st.integers(0, 14_000))
def test_any_bytes_are_samples_or_an_error(tmp_path_factory, data, changes, cut):
    "Also headers that lie, with checksums that are right."
    data = bytearray(data)
    for block,at,byte in changes:
        if len(data)<(at := 512*block+at)+1 or len(data)<512*block+512: continue
        data[at] = byte
        head = data[512*block:512*block+148]+b' '*8+data[512*block+156:512*block+512]
        data[512*block+148:512*block+156] = b'%06o\0 '%sum(head)
    (file := tmp_path_factory.getbasetemp()/'any.tar').write_bytes(data[:cut])
    try: list(shard_samples(file))
    except ArchiveError as e: assert 'any.tar' in str(e) and str(e).encode()


# Memory, in processes of their own.

told = "\nprint(next(int(o.split()[1]) for o in open('/proc/self/status') if o.startswith('VmHWM')))"
ways = {
    'in memory': "x = torch.from_numpy(read_idx(sys.argv[1]+'/x.idx')).float().div_(255)[:,None]\n"
                 "dl = DataLoader(Dataset(x, torch.zeros(len(x))), 64, shuffle=True)",
    'in a mapped file': "dl = DataLoader(MappedDataset(sys.argv[1]+'/x.idx', torch.zeros(int(sys.argv[2]))), 64, shuffle=True)",
    'in shards': "dl = ShardLoader(sys.argv[1], 64, window=1000)"}
before = '''import sys,torch
from digits_fastai.formats import read_idx
from digits_fastai.dataloaders import DataLoader,Dataset
from digits_fastai.streams import MappedDataset,ShardLoader
'''
after = "\nn = 0\nfor xb,yb in dl: n += len(xb)\nassert n==int(sys.argv[2])"

@pytest.fixture(scope='module')
def ten_times(tmp_path_factory):
    "2,000 and 20,000 pictures of 64×64 pixels, as an IDX file and as shards of 500, ever the same ones."
    pictures = np.repeat(np.arange(500).astype(np.uint8), 64*64).reshape(500, 64, 64) # quick to decode: 0 to 255, 0 to 243
    shard = b''.join(member(f'{i}.png', png(o))+member(f'{i}.cls', b'0') for i,o in enumerate(pictures))+end
    made = {}
    for n in (2000, 20_000):
        made[n] = dest = tmp_path_factory.mktemp(str(n))
        with open(dest/'x.idx', 'wb') as f:
            f.write(struct.pack('>4I', 0x803, n, 64, 64))
            for _ in range(n//500): f.write(pictures.tobytes())
        for i in range(n//500): (dest/f'{i}.tar').write_bytes(shard)
        index = dict(classes=['a'], size=[64,64], shards={f'{i}.tar': 500 for i in range(n//500)})
        (dest/'index.json').write_text(json.dumps(index))
    yield made
    for o in made.values(): shutil.rmtree(o)

@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='peak memory is read from /proc, which is Linux')
@pytest.mark.parametrize('way', ways)
def test_ten_times_the_data_needs_no_more_memory(ten_times, way):
    peaks = [int(run(python, '-W', 'ignore', '-c', before+ways[way]+after+told, dest, n, cwd=root, timeout=120,
                     OMP_NUM_THREADS='1').stdout.split()[-1]) for n,dest in ten_times.items()]
    if way=='in memory': assert peaks[1]>1.3*peaks[0], 'the twin that should fail did not: this measures nothing'
    else: assert peaks[1]<1.2*peaks[0], f'{peaks} kB'
