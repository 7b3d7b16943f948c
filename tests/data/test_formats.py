"""IDX, CSV, contact sheets: what is written comes back exactly, and what is broken is an error, never other numbers.

Where a check could be satisfied by code that does nothing, a twin breaks ours on purpose and sees the check fail."""
import gzip,hashlib,os,shutil,struct,sys,tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import Phase,given,settings,strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from conftest import python,root,run
from digits_fastai.data import formats
from digits_fastai.data.formats import contact_sheet,idx_to_csv,mnist_arrays,read_csv,read_idx,write_idx

many = settings(max_examples=100, deadline=None, derandomize=True)
until_it_fails = settings(many, phases=[Phase.generate]) # twins: that it fails is enough, no need to simplify how

types = {0x08: 'uint8', 0x09: 'int8', 0x0B: 'int16', 0x0C: 'int32', 0x0D: 'float32', 0x0E: 'float64'}
names = ['train-images-idx3-ubyte','train-labels-idx1-ubyte','t10k-images-idx3-ubyte','t10k-labels-idx1-ubyte']
md5s = ['6bbc9ace898e44ae57da46a324031adb','a25bea736e30d166cdddb491f175f624',
        '2646ac647ad5339dbf082846283269ea','27ae3e4e09519cfbb04c329615203637']

arrays = st.sampled_from(sorted(types.values())).flatmap(
    lambda t: hnp.arrays(t, hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=4)))

@contextmanager
def a_file(data=None, name='a.idx'):
    with tempfile.TemporaryDirectory() as tmp:
        if data is not None: (Path(tmp)/name).write_bytes(data)
        yield Path(tmp)/name

def same(a, b):
    "Type, shape and every bit: also of what is not a number."
    return a.dtype==b.dtype and a.shape==b.shape and a.tobytes()==b.tobytes()

def by_hand(a):
    "The format written number by number, from its description."
    kind = {v: k for k,v in types.items()}[a.dtype.name]
    one = {0x08: 'B', 0x09: 'b', 0x0B: 'h', 0x0C: 'i', 0x0D: 'f', 0x0E: 'd'}[kind]
    head = bytes([0,0,kind,a.ndim]) + b''.join(struct.pack('>I', o) for o in a.shape)
    return head + b''.join(struct.pack('>'+one, o) for o in a.flatten().tolist())


# IDX.

def check_round_trip(read, write, examples=until_it_fails):
    @examples
    @given(arrays, st.booleans(), st.sampled_from(['as it is','tensor','backwards in memory','big-endian']))
    def check(a, zipped, how):
        given = {'as it is': a, 'tensor': torch.from_numpy(a), 'backwards in memory': a[::-1].copy()[::-1],
                 'big-endian': a.astype(a.dtype.newbyteorder('>'))}[how]
        with a_file(name='a.idx.gz' if zipped else 'a.idx') as file:
            assert write(given, file)==file
            data = file.read_bytes()
            assert (data[:2]==b'\x1f\x8b')==zipped
            got = read(file)
            assert same(got, a) and got.dtype.isnative and got.flags.writeable
            if not np.isnan(a).any(): assert (gzip.decompress(data) if zipped else data)==by_hand(a)
            assert [o.name for o in file.parent.iterdir()]==[file.name], 'something else was left'
    check()

def test_every_array_comes_back_bit_for_bit(): check_round_trip(read_idx, write_idx, many)

def test_a_writer_that_forgets_the_order_of_bytes_is_noticed():
    def little(a, path):
        a = np.asarray(a)
        return write_idx(a.astype(a.dtype.newbyteorder('=')).byteswap(), path)
    with pytest.raises(AssertionError): check_round_trip(read_idx, little)

def test_a_reader_that_forgets_the_order_of_bytes_is_noticed():
    with pytest.raises(AssertionError): check_round_trip(lambda o: read_idx(o).byteswap(), write_idx)

def test_two_wrongs_that_undo_each_other_are_noticed():
    def turned(a, path): return write_idx(np.ascontiguousarray(np.asarray(a).T), path)
    with pytest.raises(AssertionError): check_round_trip(lambda o: np.ascontiguousarray(read_idx(o).T), turned)

def outcome(read, data):
    "What was read, or the error's words, which must name the file."
    with a_file(data) as file:
        try: return read(file)
        except ValueError as e:
            assert str(e).startswith(str(file)), f'{e} does not name the file'
            return str(e).replace(str(file), 'FILE')

def check_corrupted(read, examples=until_it_fails):
    @examples
    @given(arrays, st.booleans(), st.sampled_from(['header','cut','longer','inserted','anywhere']),
           st.integers(0, 10**6), st.integers(1, 255))
    def check(a, zipped, how, at, byte):
        data = by_hand(a)
        n = 4+4*a.ndim
        if how=='header':
            bad = bytearray(data)
            bad[at%n] ^= byte
        if how=='cut': bad = data[:at%len(data)]
        if how=='longer': bad = data+bytes([byte])*(1+at%9)
        if how=='inserted': bad = data[:at%(n+1)]+bytes([byte])+data[at%(n+1):]
        if how=='anywhere':
            bad = bytearray(gzip.compress(data, mtime=0) if zipped else data[:n])
            if zipped: bad[10+at%(len(bad)-10)] ^= byte # the first ten say nothing about the content
            else: bad[at%n] ^= byte
        elif zipped: bad = gzip.compress(bytes(bad), mtime=0)
        got = outcome(read, bytes(bad))
        if isinstance(got, str): return
        # an array came out. It must be the one that was written, or what the changed header says in so many words
        raw = gzip.decompress(bytes(bad)) if zipped else bytes(bad)
        assert how in ('header','inserted','anywhere') and (raw==data and same(got, a) or raw==by_hand_again(raw, got))
    check()

def by_hand_again(raw, got):
    "What the array that was read should have been read from."
    kind = {v: k for k,v in types.items()}[got.dtype.name]
    numbers = got.astype(got.dtype.newbyteorder('>')).tobytes()
    return bytes([0,0,kind,got.ndim]) + struct.pack(f'>{got.ndim}I', *got.shape) + numbers

def test_a_damaged_file_is_never_an_array_that_it_does_not_hold(): check_corrupted(read_idx, many)

def trusting(path):
    "How most readers of this format are written."
    data = Path(path).read_bytes()
    if data[:2]==b'\x1f\x8b': data = gzip.decompress(data)
    shape = struct.unpack(f'>{data[3]}I', data[4:4+4*data[3]])
    a = np.frombuffer(data, '>'+np.dtype(types[data[2]]).str[1:], offset=4+4*data[3], count=int(np.prod(shape)))
    return a.reshape(shape).astype(a.dtype.newbyteorder('='))

def test_a_trusting_reader_is_caught():
    def read(path):
        try: return trusting(path)
        except Exception as e: raise ValueError(f'{path} {e}') from e
    with pytest.raises(AssertionError): check_corrupted(read)

head = struct.pack('>4I', 0x803, 2, 28, 28)
good = head+bytes(2*784)
huge = struct.pack('>4I', 0x803, 2**32-1, 2**32-1, 2**32-1)+bytes(99)
noise = struct.pack('>4I', 0x803, 10, 28, 28)+np.random.default_rng(0).bytes(7840) # can't be made much smaller
broken = {
    'empty': (b'', 'begins with nothing, being empty'),
    'two bytes': (b'\0\0', 'begins with 00 00,'),
    'gzip of nothing': (gzip.compress(b''), 'being empty'),
    'a web page': (b'<!DOCTYPE html>'+bytes(9000), 'seems to be a web page'),
    'an error page in capitals': (b'<HTML>404', 'seems to be a web page'),
    'a PNG': (b'\x89PNG\r\n\x1a\n', 'seems to be a PNG picture'),
    'a zip': (b'PK\3\4'+bytes(99), 'seems to be a zip archive'),
    'an .npy': (b'\x93NUMPY\1\0', 'seems to be a NumPy file'),
    'gzipped twice': (gzip.compress(gzip.compress(good)), 'seems to be gzipped twice'),
    'little-endian': (struct.pack('<4I', 0x803, 2, 28, 28)+bytes(2*784), 'wrong byte order (little-endian)'),
    'a type that is not': (b'\0\0\x0a\x03'+good[4:], 'begins with 00 00 0a 03, not with 00 00, a type (08, 09, 0b'),
    'no dimensions': (b'\0\0\x08\0\5', '1 to 32 dimensions'),
    'too many dimensions': (b'\0\0\x08\x21'+bytes(200), '1 to 32 dimensions'),
    'half a header': (good[:10], 'ends within its header of 3 sizes'),
    'one byte short': (good[:-1], 'promises 2×28×28 numbers, 1,568 bytes, but has 1,567'),
    'one byte long': (good+b'\0', 'promises 2×28×28 numbers, 1,568 bytes, but has 1,569'),
    'gzipped, one byte short': (gzip.compress(good[:-1]), 'but has 1,567'),
    'gzipped, one byte long': (gzip.compress(good+b'\0'), 'but has more'),
    'gzip, cut off at once': (gzip.compress(noise)[:12], 'cannot be decompressed: Compressed file ended'),
    'gzip, cut off later': (gzip.compress(noise)[:5000], 'cannot be decompressed: Compressed file ended'),
    'gzip, wrong checksum': (gzip.compress(good)[:-5]+b'\1'+gzip.compress(good)[-4:], 'decompressed: CRC check failed'),
    'gzip, then something else': (gzip.compress(good)+b'more', 'cannot be decompressed: Not a gzipped file'),
    'a bomb of dimensions': (huge, 'but has 99'),
    'a bomb, gzipped': (gzip.compress(huge), 'but has room for'),
    'nothing times everything': (struct.pack('>9I', 0x808, 0, *[2**32-1]*7), 'a shape that no array can have'),
}

@pytest.mark.parametrize('name', broken)
def test_a_broken_file_says_what_is_wrong_with_it(name):
    data,words = broken[name]
    said = outcome(read_idx, data)
    assert isinstance(said, str), 'it was read'
    assert words in said

def test_the_good_one_of_that_table_is_good(): assert outcome(read_idx, good).shape==(2,28,28)

def test_bombs_do_not_fill_the_memory():
    import tracemalloc
    for data in (broken['a bomb of dimensions'][0], broken['a bomb, gzipped'][0], gzip.compress(head+bytes(10**8))):
        tracemalloc.start()
        assert isinstance(outcome(read_idx, data), str)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak<2e6

def test_the_content_counts_and_not_the_name():
    for data,name in ((gzip.compress(good), 'a.idx'), (good, 'a.idx.gz')):
        with a_file(data, name) as file: assert read_idx(file).shape==(2,28,28)

@pytest.mark.parametrize('a,words', [
    (np.arange(3), 'no type for int64'), (torch.arange(3), 'no type for int64'), (np.zeros(2, bool), 'type for bool'),
    (np.zeros(2, np.float16), 'no type for float16'), (np.zeros(2, np.uint16), 'no type for uint16'),
    (['a'], 'no type for <U1'), (np.uint8(3), '0 were given'), (np.zeros((1,)*33, np.uint8), '33 were given')])
def test_what_the_format_has_no_place_for_is_refused(a, words):
    with a_file() as file:
        with pytest.raises(ValueError, match=words): write_idx(a, file)
        assert not list(file.parent.iterdir())

ones = np.ones((2,3,3), np.uint8)

@pytest.mark.parametrize('write', [lambda o: write_idx(ones, o), lambda o: contact_sheet(ones, o),
                                   lambda o: idx_to_csv(ones, [1,2], o)])
def test_a_write_that_fails_leaves_what_was_there(write, tmp_path, monkeypatch):
    file = tmp_path/'a.out'
    file.write_bytes(b'precious')
    def full(*args): raise OSError(28, 'No space left on device')
    with monkeypatch.context() as m:
        m.setattr(os, 'replace', full)
        with pytest.raises(OSError, match='No space'): write(file)
    assert file.read_bytes()==b'precious' and len(list(tmp_path.iterdir()))==1
    write(file)
    assert file.read_bytes()!=b'precious' and len(list(tmp_path.iterdir()))==1

def test_gzipped_twice_the_same_gives_the_same_bytes(tmp_path):
    a = np.arange(200, dtype=np.uint8)
    assert write_idx(a, tmp_path/'a.gz').read_bytes()==write_idx(a, tmp_path/'b.gz').read_bytes()


# Four arrays.

@pytest.fixture
def idx(tmp_path):
    "Four small IDX files under the usual names."
    rng = np.random.default_rng(0)
    for name,n in zip(names, (7,7,4,4)):
        write_idx(rng.integers(0, 10, (n,28,28) if 'images' in name else n).astype(np.uint8), tmp_path/name)
    return tmp_path

@pytest.mark.parametrize('dot', ['-','.'])
@pytest.mark.parametrize('zipped', ['','.gz'])
def test_both_spellings_zipped_or_not_are_taken(dot, zipped, idx):
    want = mnist_arrays(idx)
    assert [o.shape for o in want]==[(7,28,28),(7,),(4,28,28),(4,)]
    for name,a in zip(names, want):
        (idx/name).unlink()
        write_idx(a, idx/(name.replace('-idx', dot+'idx')+zipped))
    assert all(map(same, mnist_arrays(idx), want))

def test_a_missing_file_is_named_and_what_is_there_listed(idx):
    (idx/names[1]).rename(idx/'labels-train')
    words = r'lacks train-labels-idx1-ubyte \(.*It has: labels-train, t10k-images'
    with pytest.raises(FileNotFoundError, match=words): mnist_arrays(idx)
    for o in idx.iterdir(): o.unlink()
    with pytest.raises(FileNotFoundError, match='lacks train-images.*t10k-labels.*It has: nothing'): mnist_arrays(idx)
    with pytest.raises(FileNotFoundError, match='there is no folder'): mnist_arrays(idx/'gone')

def test_files_that_do_not_go_together_are_refused(idx):
    shutil.copy(idx/names[3], idx/names[1])
    words = 'train-images-idx3-ubyte has 7 pictures, but there are 4 labels'
    with pytest.raises(ValueError, match=words): mnist_arrays(idx)
    shutil.copy(idx/names[0], idx/names[1])
    words = r'train-labels-idx1-ubyte has uint8 of shape \(7, 28, 28\): uint8 with 1 dim'
    with pytest.raises(ValueError, match=words): mnist_arrays(idx)
    write_idx(np.zeros(7, np.int32), idx/names[1])
    with pytest.raises(ValueError, match='has int32'): mnist_arrays(idx)

def folders(to, arrays):
    "The same as folders of PNG files, named by their place."
    for part,x,y in (('training',*arrays[:2]), ('testing',*arrays[2:])):
        for i,(im,c) in enumerate(zip(x, y)):
            (to/part/str(c)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(im).save(to/part/str(c)/f'{i}.png')
    return to

def check_order(idx, tmp_path):
    rng = np.random.default_rng(1)
    want = [rng.integers(0, 256, (123,28,28)).astype(np.uint8), rng.integers(0, 10, 123).astype(np.uint8),
            rng.integers(0, 256, (12,28,28)).astype(np.uint8), rng.integers(0, 10, 12).astype(np.uint8)]
    assert all(map(same, mnist_arrays(folders(tmp_path/'png', want)), want))

def test_folders_give_the_original_order(idx, tmp_path): check_order(idx, tmp_path)

def test_the_order_of_names_as_text_is_noticed(idx, tmp_path, monkeypatch):
    def as_text(path):
        x,y,classes = formats.load_folder(path)
        return x.numpy(),np.array([int(o) for o in classes], np.uint8)[y]
    monkeypatch.setattr(formats, '_from_folders', as_text)
    with pytest.raises(AssertionError): check_order(idx, tmp_path)

def test_folders_that_are_not_mnists_are_refused(tmp_path):
    a = np.zeros((2,28,28), np.uint8),np.array([3,7], np.uint8)
    folders(tmp_path, (*a, *a))
    (tmp_path/'training'/'3'/'0.png').rename(tmp_path/'training'/'3'/'x.png')
    with pytest.raises(ValueError, match='x.png: its name is not a number'): mnist_arrays(tmp_path)
    (tmp_path/'training'/'3'/'x.png').rename(tmp_path/'training'/'3'/'1.png')
    with pytest.raises(ValueError, match='two pictures numbered 1'): mnist_arrays(tmp_path)
    (tmp_path/'training'/'3'/'1.png').rename(tmp_path/'training'/'3'/'0.png')
    (tmp_path/'training'/'3').rename(tmp_path/'training'/'three')
    with pytest.raises(ValueError, match="has a folder 'three', which is no digit"): mnist_arrays(tmp_path)

def test_digits_of_any_folders_become_labels_and_others_are_refused(tmp_path):
    for where in ('train/3/a.png','train/7/b.png','valid/7/c.png','mine/8/x.png','mine/3/y.png'):
        (tmp_path/where).parent.mkdir(parents=True, exist_ok=True)
        Image.new('L', (28,28), len(where)).save(tmp_path/where)
    got = formats.digit_arrays(tmp_path)
    assert {k: y.tolist() for k,(_,y) in got.items()}=={'train': [3,7], 'test': [7]} and got['train'][0].shape==(2,28,28)
    assert formats.digit_arrays(tmp_path/'mine')['all'][1].tolist()==[3,8]
    (tmp_path/'mine'/'8').rename(tmp_path/'mine'/'q')
    with pytest.raises(ValueError, match="has a folder 'q', which is no digit"): formats.digit_arrays(tmp_path/'mine')


# CSV and sheets.

def check_csv(read, write, examples=until_it_fails):
    @examples
    @given(hnp.arrays('uint8', st.tuples(st.integers(1, 6), st.just(3), st.just(4))), st.integers(0, 2**32-1),
           st.sampled_from(['arrays','tensors','files','int64']))
    def check(x, seed, how):
        y = np.random.default_rng(seed).integers(0, 256, len(x)).astype(np.uint8)
        with a_file(name='a.csv') as file:
            a,b = {'arrays': (x,y), 'tensors': (torch.from_numpy(x),torch.from_numpy(y).long()),
                   'int64': (x.astype(np.int64),y.astype(np.int64)),
                   'files': (file.with_name('x'),file.with_name('y'))}[how]
            if how=='files': write_idx(x, a),write_idx(y, b)
            assert write(a, b, file)==file
            lines = file.read_text().split('\n')
            assert lines==[','.join(map(str, [l, *im.flatten()])) for im,l in zip(x, y)]+['']
            gx,gy = read(file, (3,4))
            assert gx.dtype==torch.uint8 and gy.dtype==torch.int64
            assert (gx.numpy()==x).all() and gx.shape==x.shape and (gy.numpy()==y).all()
    check()

def test_every_table_comes_back(): check_csv(read_csv, idx_to_csv, many)

def test_a_table_with_the_label_last_is_noticed():
    def label_last(x, y, out):
        idx_to_csv(x, y, out)
        out.write_text(''.join(f'{o.split(",", 1)[1]},{o.split(",", 1)[0]}\n' for o in out.read_text().splitlines()))
        return out
    with pytest.raises(AssertionError): check_csv(read_csv, label_last)

line = ','.join(['7']+['0']*783+['255'])
tables = {
    'a header': ('label,'+','.join(f'1x{i}' for i in range(784))+'\n'+line, r"line 1: a header \('label', …\). Take"),
    'too few': (f'{line}\n{line[:-4]}\n{line}', 'line 2: 784 columns, expected 785'),
    'too many': (f'{line}\n{line}\n{line},3', 'line 3: 786 columns'),
    'too few in every line': (f'{line[:-4]}\n{line[:-4]}', 'line 1: 784 columns, expected 785'),
    'not a number': (line.replace(',0,', ',x,', 1), "line 1, column 2: 'x' is not a whole number"),
    'a label that is none': ('?'+line[1:], r"line 1, column 1: '\?' is not"),
    'a fraction': (f'{line}\n'+line.replace(',0,', ',0.5,', 1), "line 2, column 2: '0.5' is not"),
    'negative': (line.replace(',0,', ',-1,', 1), "line 1, column 2: '-1' is not"),
    'a negative label': (f'-1{line[1:]}', "line 1, column 1: '-1' is not"),
    'too large': (f'{line}\n{line[:-3]}256', "line 2, column 785: '256' is not a whole number from 0 to 255"),
    'far too large': (f'{line[:-3]}'+'9'*5000, 'line 1, column 785'),
    'no number at all': (line.replace(',0,', ',nan,', 1), "line 1, column 2: 'nan' is not"),
    'nothing': (f'{line}\n'+line.replace(',0,', ',,', 1), "line 2, column 2: '' is not"),
    'semicolons': (line.replace(',', ';'), 'line 1: 1 columns'),
    'a comment': (f'#{line}', "line 1, column 1: '#7' is not"),
    'an empty file': ('', 'is empty'),
    'a line far down': ('\n'.join([line]*900+[line+',']), 'line 901: 786 columns'),
    'other digits': (line.replace(',0,', ',٣,', 1), 'line 1, column 2'),
    'binary': ('\0'*9000, 'line 1: 1 columns'),
}

@pytest.mark.parametrize('name', tables)
def test_a_table_that_is_not_as_it_should_be_says_where(name, tmp_path):
    text,words = tables[name]
    (tmp_path/'a.csv').write_text(text, encoding='utf-8')
    with pytest.raises(ValueError, match=words) as e: read_csv(tmp_path/'a.csv')
    assert str(e.value).startswith(str(tmp_path/'a.csv'))

def test_what_other_programs_write_is_read(tmp_path):
    for text in (line, f'{line}\n', f'{line}\r\n', line.replace(',', ', ')+'\n', line.replace(',0,', ',000,')+'\n',
                 '\ufeff'+line, f'\n{line}\n\n', line.replace(',0,', ',0.0,'), '\ufeff7.0'+line[1:],
                 '"7"'+line[1:], '\ufeff'+','.join(f'"{o}"' for o in line.split(',')), '"7.0"'+line[1:]):
        (tmp_path/'a.csv').write_bytes(text.encode())
        x,y = read_csv(tmp_path/'a.csv')
        assert x.shape==(1,28,28) and x.flatten().tolist()==[0]*783+[255] and y.tolist()==[7]

@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([b',',b'\n',b'',b'x',b'9',b'-',b' ',b'.',b'\xff',b'00']))
def test_a_changed_table_is_an_error_or_what_python_reads(at, new):
    rows = np.random.default_rng(at).integers(0, 256, (3,7))
    text = '\n'.join(','.join(map(str, o)) for o in rows).encode()
    text = text[:at%len(text)]+new+text[at%len(text)+1:]
    with a_file(text, 'a.csv') as file:
        try: x,y = read_csv(file, (2,3))
        except ValueError: return
    want = np.array([[float(o) for o in l.split(b',')] for l in text.splitlines() if l]) # 7. is 7
    assert (np.column_stack([y, x.flatten(1)])==want).all()

@pytest.mark.parametrize('x,y,words', [
    (np.zeros((2,3,3)), [0,1], 'images of type float64'), (np.full((2,3,3), 256), [0,1], 'images of type int64'),
    (np.zeros((2,9), int), [0,1], r'images of shape \(2, 9\)'), (ones, [0,-1], 'labels of type'),
    (ones, [0,1,2], '2 images but 3 labels'), (ones, [[0],[1]], 'labels of shape'),
    (ones, ['3','7'], 'labels of type <U1')])
def test_what_is_no_table_of_digits_is_refused(x, y, words, tmp_path):
    with pytest.raises(ValueError, match=words): idx_to_csv(x, y, tmp_path/'a.csv')
    assert not list(tmp_path.iterdir())

def cut(file, n, h, w, columns):
    a = np.array(Image.open(file))
    assert a.shape==(-(-n//columns)*h, columns*w) and a.dtype==np.uint8
    squares = [a[i//columns*h:][:h, i%columns*w:][:, :w] for i in range(a.size//(h*w))]
    assert not np.any(squares[n:])
    return np.stack(squares[:n])

@settings(max_examples=60, deadline=None, derandomize=True)
@given(hnp.arrays('uint8', hnp.array_shapes(min_dims=3, max_dims=3, max_side=7)), st.none() | st.integers(1, 9),
       st.booleans())
def test_a_sheet_cut_apart_is_the_set(x, columns, tensor):
    with a_file(name='a.png') as file:
        contact_sheet(torch.from_numpy(x) if tensor else x, file, columns)
        assert (cut(file, *x.shape, columns or int(np.ceil(np.sqrt(len(x)))))==x).all()

@pytest.mark.parametrize('x', [np.zeros((2,3,3)), np.zeros((3,3), np.uint8), np.zeros((0,3,3), np.uint8)])
def test_what_is_no_set_of_pictures_makes_no_sheet(x, tmp_path):
    with pytest.raises(ValueError, match='uint8 .N,H,W., are needed'): contact_sheet(x, tmp_path/'a.png')
    with pytest.raises(ValueError, match='columns=0'): contact_sheet(np.zeros((2,3,3), np.uint8), tmp_path/'a.png', 0)
    assert not list(tmp_path.iterdir())


# The real thing.

@pytest.fixture(scope='module')
def originals():
    "The four files as they were published; without them the test is left out, by name."
    folder = root.parent/'shared'/'data'
    if all((folder/f'{o}.gz').exists() for o in names): return folder
    pytest.skip("MNIST's four IDX files are not beside this project")

@pytest.fixture(scope='module')
def mnist_png():
    from digits_fastai.download import cache_folder
    folder = cache_folder('data')/'mnist_png'
    if not (folder/'testing').is_dir(): pytest.skip('the 70,000 PNG files of MNIST are not in the cache')
    return folder

def test_the_published_files_are_read_and_written_to_the_byte(originals, tmp_path):
    for name,md5 in zip(names, md5s):
        a = read_idx(originals/f'{name}.gz')
        assert hashlib.md5(write_idx(a, tmp_path/name).read_bytes()).hexdigest()==md5
        assert same(read_idx(tmp_path/name), a)
    assert [o.shape for o in mnist_arrays(originals)]==[(60000,28,28),(60000,),(10000,28,28),(10000,)]

def test_the_folders_give_the_published_files(mnist_png, tmp_path):
    for name,md5,a in zip(names, md5s, mnist_arrays(mnist_png)):
        assert hashlib.md5(write_idx(a, tmp_path/name).read_bytes()).hexdigest()==md5, name

def test_folder_to_idx_to_csv_to_tensors(mnist_png, tmp_path):
    from digits_fastai.images import image_files,load_folder
    *_,x,y = mnist_arrays(mnist_png)
    csv = idx_to_csv(write_idx(x, tmp_path/'x'), write_idx(y, tmp_path/'y'), tmp_path/'test.csv')
    gx,gy = read_csv(csv)
    fx,fy,classes = load_folder(mnist_png/'testing')
    place = [int(o.stem) for c in classes for o in image_files(mnist_png/'testing'/c)]
    assert torch.equal(gx[place], fx) and torch.equal(gy[place], fy)

@pytest.mark.slow
def test_sixty_thousand_on_one_sheet_in_less_than_a_gigabyte(tmp_path):
    "Anything as large as MNIST: the memory of a process, torch included."
    look = f'''
import re
import numpy as np
from digits_fastai.data.formats import contact_sheet
x = np.random.default_rng(0).integers(0, 256, (60000,28,28), dtype=np.uint8)
contact_sheet(x*(x>200), {str(tmp_path/"train.png")!r})
print(re.search('VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read()).group(1)) # ru_maxrss counts the parent's, too
'''
    if sys.platform!='linux': pytest.skip('memory is measured in other units here')
    assert int(run(python, '-c', look).stdout)<2**20 # kB
    with Image.open(tmp_path/'train.png') as im: assert im.size==(245*28,245*28)
