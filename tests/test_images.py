"""Pictures: any PNG file as Pillow reads it, or an error that names it; one rule for all modes; a cache that can't lie.

Where a check could be satisfied by code that does nothing, a twin breaks ours on purpose and sees the check fail."""
import io,os,pickle,random,shutil,struct,subprocess,sys,tempfile,time,zlib
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import Phase,given,settings,strategies as st
from PIL import Image

from conftest import python,run
from digits_fastai.files import atomic,decode
from digits_fastai import images
from digits_fastai.images import image_files,load_folder,load_images

signature = b'\x89PNG\r\n\x1a\n'
given_many = settings(max_examples=250, deadline=None, derandomize=True)
# Twins: that it fails is enough, no need to simplify how. It may take many examples to come upon it.
until_it_fails = settings(given_many, max_examples=5000, phases=[Phase.generate])


# A writer of PNG files, of its own: any filters, any number of IDAT chunks, other chunks between.

def chunk(kind, body=b'', crc=None):
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind+body) if crc is None else crc)

def guess(kind, a, b, c):
    if kind<4: return (0, a, b, (a+b)//2)[kind]
    pa,pb,pc = abs(b-c),abs(a-c),abs(a+b-2*c)
    return a if pa<=pb and pa<=pc else b if pb<=pc else c

def filtered(im, kinds):
    "Rows of bytes, each with its filter's number in front: 8-bit grey."
    h,w = im.shape
    p = [[0]*(w+1)] + [[0,*row] for row in im.tolist()]
    def written(k, y, x): return (p[y+1][x+1]-guess(k, p[y+1][x], p[y][x+1], p[y][x]))%256
    return b''.join(bytes([k, *(written(k, y, x) for x in range(w))]) for y,k in enumerate(kinds))

def png(rows, h, w, cuts=(), depth=8, colour=0, interlace=0, before=(), after=(), level=6):
    "A file: `cuts` are where its data is cut into chunks; `before` and `after` them come others."
    data = zlib.compress(rows, level)
    at = sorted({0, len(data), *(o%(len(data)+1) for o in cuts)})
    parts = [data[a:b] for a,b in zip(at, at[1:])]
    header = struct.pack('>2I5B', w, h, depth, colour, 0, 0, interlace)
    return (signature + chunk(b'IHDR', header) + b''.join(before) + b''.join(chunk(b'IDAT', o) for o in parts)
            + b''.join(after) + chunk(b'IEND'))

@contextmanager
def written(*datas):
    "Files with these bytes."
    with tempfile.TemporaryDirectory() as tmp:
        files = [Path(tmp)/f'{i}.png' for i in range(len(datas))]
        for file,data in zip(files, datas): file.write_bytes(data)
        yield files

def pillow(data):
    "What Pillow reads, as 8-bit grey; a grey that is declared transparent is white."
    with Image.open(io.BytesIO(data)) as im:
        a = np.array(im)
        clear = im.info.get('transparency')
    return a if clear is None else np.where(a==clear, 255, a)

greys = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32-1), st.sampled_from([2,8,256]))
extras = {'gAMA': struct.pack('>I', 45455), 'tIME': bytes([7,206,1,1,0,0,0]), 'tEXt': b'Title\0a 3', 'tRNS': b'\0\1',
          'pHYs': struct.pack('>2IB', 1, 1, 0)}

def make(spec, kinds, cuts, extra=(), level=6):
    h,w,seed,greys = spec
    im = np.random.default_rng(seed).integers(0, greys, (h,w)).astype(np.uint8)
    kinds = [(kinds+[0])[i%len(kinds+[0])] for i in range(h)]
    before = [chunk(o.encode(), extras[o]) for o in extra]
    return im,png(filtered(im, kinds), h, w, cuts, before=before, level=level)

def check_any_png(load, examples=until_it_fails):
    @examples
    @given(greys, st.lists(st.integers(0,4), max_size=7), st.lists(st.integers(0,999), max_size=3),
           st.lists(st.sampled_from(sorted(extras)), max_size=2, unique=True), st.integers(0, 9))
    def check(spec, kinds, cuts, extra, level):
        im,data = make(spec, kinds, cuts, extra, level)
        with written(data) as files: got = load(files)[0].numpy()
        if 'tRNS' not in extra: assert (got==im).all()
        assert got.dtype==np.uint8 and got.shape==im.shape and (got==pillow(data)).all()
    check()

def test_any_grey_png_is_decoded_as_pillow_does(): check_any_png(load_images, given_many)

@pytest.mark.parametrize('name', ['_sub','_up','_average','_paeth'])
def test_a_filter_that_is_not_undone_is_noticed(name, monkeypatch):
    monkeypatch.setattr(decode, name, lambda row, above: row)
    with pytest.raises(AssertionError): check_any_png(load_images)

def test_a_paeth_that_prefers_another_neighbour_is_noticed(monkeypatch):
    monkeypatch.setattr(decode, '_paeth', lambda row, above: decode._average(row, above))
    with pytest.raises(AssertionError): check_any_png(load_images)

def paeth_is_right(paeth):
    "For all a, b and c, 256 of each: the neighbour that is nearest to a+b-c; if some are, a before b before c."
    a,b = (o.ravel() for o in np.meshgrid(np.arange(256), np.arange(256)))
    for c in range(256):
        near = abs(np.stack([b-c, a-c, a+b-2*c]))
        want = np.choose(near.argmin(0), [a,b,np.full_like(a, c)]) # argmin takes the first of equals
        rows = np.stack([a-c, a*0], 1).astype(np.uint8) # first c is added (it is above), and gives a
        above = np.stack([a*0+c, b], 1).astype(np.uint8)
        assert np.array_equal(paeth(rows, above), np.stack([a,want], 1)), c

def test_paeth_is_right_for_all_neighbours(): paeth_is_right(decode._paeth)

def by_thirds(a, b, c, below=np.less_equal, above=np.greater_equal):
    low,high,third = np.minimum(a, b),np.maximum(a, b),3*c-a-b
    return np.where(below(third, low), high, np.where(above(third, high), low, c))

nearly = {'c before the larger': lambda a,b,c: by_thirds(a, b, c, below=np.less),
          'c before the smaller': lambda a,b,c: by_thirds(a, b, c, above=np.greater),
          'c counts too little': lambda a,b,c: by_thirds(a, b, c*2//3),
          'no c': lambda a,b,c: by_thirds(a, b, 0*c)}

def undone_with(guess):
    def paeth(row, above):
        row,above = row.T.astype(int),above.T.astype(int)
        a = c = np.zeros_like(row[0])
        for x,b in enumerate(above):
            a = row[x] = (row[x]+guess(a, b, c)) & 255
            c = b
        return row.T
    return paeth

def test_a_paeth_written_out_is_right(): paeth_is_right(undone_with(by_thirds))

@pytest.mark.parametrize('name', nearly)
def test_a_paeth_that_is_nearly_right_is_noticed(name):
    with pytest.raises(AssertionError): paeth_is_right(undone_with(nearly[name]))

def test_a_transparency_that_is_overlooked_is_noticed(monkeypatch):
    monkeypatch.setattr(images, '_grey', lambda im, convert: np.asarray(im.convert('L')))
    with pytest.raises(AssertionError): check_any_png(load_images)

@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.integers(0,4), min_size=5, max_size=5), min_size=2, max_size=12), st.data())
def test_many_at_once_keep_their_order_and_each_its_own_filters(kinds, data):
    ims = [np.random.default_rng(i).integers(0, 256, (5,6)).astype(np.uint8) for i in range(len(kinds))]
    by_pillow = data.draw(st.sets(st.integers(0, len(kinds)-1)))
    files = [png(filtered(im, k), 5, 6, before=[chunk(b'gAMA', extras['gAMA'])] if i in by_pillow else ())
             for i,(im,k) in enumerate(zip(ims, kinds))]
    with written(*files) as paths: assert (load_images(paths).numpy()==np.stack(ims)).all()

def test_more_pictures_than_are_decoded_at_once():
    ims = np.random.default_rng(0).integers(0, 256, (9,64,64)).astype(np.uint8)
    files = [png(filtered(im, [i%5]*64), 64, 64) for i,im in enumerate(ims)]
    with written(*files) as paths: # 8 MiB are 2048 of these
        got = load_images(paths*300)
    assert (got.numpy()==np.concatenate([ims]*300)).all()

def test_filters_are_undone_into_memory_that_is_given():
    im = np.random.default_rng(0).integers(0, 256, (7,9)).astype(np.uint8)
    rows = np.frombuffer(b''.join(filtered(im, [k]*7) for k in range(5)), np.uint8).reshape(5, 7, 10)
    room = np.full((5,3,7,9), 9, np.uint8)
    assert decode.unfilter(rows, room[:,1]).base is room
    assert (room[:,1]==im).all() and (room[:,::2]==9).all()
    for wrong in (np.zeros((5,7,10), np.uint8), np.zeros((4,7,9), np.uint8), np.zeros((5,7,9), np.int8), room):
        with pytest.raises(ValueError, match='out is u?int8 .* but the pictures are uint8'): decode.unfilter(rows, wrong)
        assert not wrong.any() or wrong is room

def test_large_and_interlaced_pictures_are_for_pillow():
    big = np.random.default_rng(0).integers(0, 256, (80,90)).astype(np.uint8)
    data = png(filtered(big, [4,3]*40), 80, 90)
    assert decode.png_rows(data)==((80,90),None)
    one = png(b'\0\7', 1, 1, interlace=1)
    assert decode.png_rows(one)==((1,1),None)
    with written(data) as files: assert (load_images(files)[0].numpy()==big).all()
    with written(one) as files: assert load_images(files).tolist()==[[[7]]]


# Broken files.

def outcome(load, *datas):
    "The pictures, or the error's words; the error must begin with the name of the last file."
    with written(*datas) as files:
        try: return load(files).numpy()
        except ValueError as e:
            assert str(e).startswith(f'{files[-1]} '), f'{e} does not name the file'
            return str(e).replace(str(files[-1].parent), '')

def check_damage(load, examples=until_it_fails):
    @examples
    @given(greys, st.lists(st.integers(0,4), max_size=5), st.lists(st.integers(0,999), max_size=2),
           st.sampled_from(['flip','cut','insert','delete','swap']), st.integers(0, 10**6), st.integers(1, 255))
    def check(spec, kinds, cuts, how, at, byte):
        im,data = make(spec, kinds, cuts)
        at %= len(data)
        other = (at*7+3)%len(data)
        bad = {'flip': data[:at]+bytes([data[at]^byte])+data[at+1:], 'cut': data[:at],
               'insert': data[:at]+bytes([byte])+data[at:], 'delete': data[:at]+data[at+1:]}.get(how)
        if how=='swap':
            bad = bytearray(data)
            bad[at],bad[other] = bad[other],bad[at]
        got = outcome(load, bytes(bad))
        assert isinstance(got, str) or np.array_equal(got[0], im), 'another picture came out, and no error'
        if bytes(bad)!=data and how in ('flip','cut'): assert isinstance(got, str), 'it was not noticed'
    check()

def test_a_damaged_png_is_never_another_picture(): check_damage(load_images, given_many)

def test_pillow_alone_would_not_notice_some_damage():
    "What our checks are for: this is how the book, and fastai, read files."
    def by_pillow(files):
        try: return torch.from_numpy(np.stack([np.array(Image.open(o).convert('L')) for o in files]))
        except Exception as e: raise ValueError(f'{files[-1]} {e}') from e
    with pytest.raises(AssertionError): check_damage(by_pillow)

def test_without_its_checksums_damage_is_not_noticed(monkeypatch):
    class Trusting:
        crc32,decompressobj,error = staticmethod(lambda o: 0),zlib.decompressobj,zlib.error
    monkeypatch.setattr(decode, 'zlib', Trusting)
    monkeypatch.setattr(decode, '_number', lambda data, at: (0,))
    monkeypatch.setattr(decode, '_header', decode._header.__wrapped__)
    with pytest.raises(AssertionError): check_damage(load_images)

@given_many
@given(greys, st.lists(st.integers(0,4), max_size=5), st.integers(0, 10**6), st.integers(1, 255))
def test_wrong_data_under_right_checksums_is_pillows_picture_or_an_error(spec, kinds, at, byte):
    "Somebody computed the checksums anew: the damage is in the compressed data or in the header."
    im,data = make(spec, kinds, [])
    for start,n in ((16,13), (41,len(data)-41-16)):
        i = start+at%n
        bad = bytearray(data)
        bad[i] ^= byte
        if max(struct.unpack('>2I', bad[16:24]))>2**16: continue # that bombs are refused is another test
        bad[start+n:start+n+4] = struct.pack('>I', zlib.crc32(bad[start-4:start+n]))
        got = outcome(load_images, bytes(bad))
        if isinstance(got, str): continue
        with Image.open(io.BytesIO(bytes(bad))) as theirs: theirs = images._grey(theirs, True)
        assert np.array_equal(got[0], theirs)

good = make((28,28,0,256), [0,1,2,3,4], [])[1]
def with_data(data): return good[:33] + chunk(b'IDAT', data) + chunk(b'IEND')
def sized(w, h): return signature + chunk(b'IHDR', struct.pack('>2I5B', w, h, 8, 0, 0, 0, 0)) + good[33:]
def saved(im, kind):
    f = io.BytesIO()
    im.save(f, kind)
    return f.getvalue()

rows = zlib.decompress(good[41:-16])
broken = {
    'empty': (b'', 'is empty'),
    'text': (b'just some words', "is no image, or a broken one: it begins with b'just som'"),
    'a web page': (b'<!DOCTYPE html><title>404</title>', 'is no image, or a broken one'),
    'a pickle': (pickle.dumps([1,2,3]), 'is no image, or a broken one'),
    'the signature alone': (signature, 'is truncated'),
    'half a header': (good[:20], 'is truncated'),
    'no data': (good[:33], 'is truncated'),
    'half of its data': (good[:200], 'is truncated: its IDAT chunk has'),
    'no end': (good[:-12], 'without an IEND'),
    'half an end': (good[:-3], 'is truncated'),
    'a flipped bit in the header': (good[:19]+bytes([good[19]^1])+good[20:], 'checksum (CRC) of its IHDR'),
    'a flipped bit in the data': (good[:60]+bytes([good[60]^1])+good[61:], 'checksum (CRC) of its IDAT'),
    'a wrong checksum at the end': (good[:-1]+b'\0', 'checksum (CRC) of its IEND'),
    'a wrong checksum aside': (png(rows, 28, 28, before=[chunk(b'tEXt', b'a\0b', crc=1)]), '(CRC) of its tEXt'),
    'another header': (signature+chunk(b'IDAT', bytes(13))+good[33:], 'its first chunk is not a header'),
    'text mode': (good.replace(b'\r\n', b'\n'), 'is no image, or a broken one'),
    'one byte of pixels missing': (png(rows[:-1], 28, 28), '811 of 812 bytes'),
    'its data stops': (with_data(zlib.compress(rows)[:-9]), 'is truncated'),
    'not even zlib': (with_data(b'hello'), 'cannot be decompressed'),
    'a wrong checksum within zlib': (with_data(zlib.compress(rows)[:-1]+b'\0'), 'cannot be decompressed'),
    'no IDAT': (good[:33]+chunk(b'IEND'), 'cannot be read as an image'),
    'a filter that is not': (png(b'\7'+rows[1:], 28, 28), 'filters that PNG does not know'),
    'a bomb: data': (png(bytes(10**7), 28, 28), 'decompresses to more than the 812 bytes'),
    'a bomb: declared': (sized(10**5, 10**5), 'cannot be read as an image: Image size (10000000000 pixels)'),
    'no width': (sized(0, 28), 'has no pixels: its header says 0×28'),
    'no height': (sized(28, 0), 'has no pixels: its header says 28×0'),
    'another size': (saved(Image.new('L', (30,28)), 'PNG'), 'is 30×28 pixels, but /0.png is 28×28'),
    'turned': (png(bytes(29*27), 29, 26), 'is 26×29 pixels'),
    'a kind of colour that is not': (png(rows, 28, 28, colour=1), 'is no image, or a broken one'),
    'a truncated JPEG': (saved(Image.effect_noise((28,28), 50), 'JPEG')[:-200], 'cannot be read as an image'),
    'a truncated GIF': (saved(Image.effect_noise((28,28), 50), 'GIF')[:300], 'is no image, or a broken one'),
    'floats': (saved(Image.new('F', (28,28)), 'TIFF'), 'mode F, of which nobody knows what is white'),
    '32-bit numbers': (saved(Image.new('I', (28,28)), 'TIFF'), 'mode I, of which'),
}

@pytest.mark.parametrize('name', broken)
def test_a_broken_file_is_refused_by_name(name):
    data,words = broken[name]
    said = outcome(load_images, good, data)
    assert isinstance(said, str), 'it was loaded'
    assert words in said and said.startswith('/1.png ')

def test_the_good_one_in_that_table_is_good(): assert outcome(load_images, good, good).shape==(2,28,28)

def test_a_bomb_does_not_fill_the_memory():
    import tracemalloc
    for data in (png(bytes(10**8), 28, 28, level=9), sized(60000, 60000)):
        tracemalloc.start()
        outcome(load_images, good, data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak<5e6

def test_a_missing_file_and_no_files_at_all(tmp_path):
    with pytest.raises(ValueError, match='gone.png cannot be read'): load_images([tmp_path/'gone.png'])
    with pytest.raises(ValueError, match='no image files were given'): load_images([])
    (tmp_path/'folder.png').mkdir()
    with pytest.raises(ValueError, match='folder.png cannot be read'): load_images([tmp_path/'folder.png'])


# One rule for all modes.

ramp = (np.arange(28*28).reshape(28,28)%256).astype(np.uint8)
other = ramp.T.copy()
def luma(r, g, b): return .299*r+.587*g+.114*b
def on_paper(a, alpha):
    "White paper under dark ink, black under light ink."
    share = alpha/255
    paper = 255 if (a*share).sum()<128*share.sum() else 0
    return a*share + paper*(1-share)

colours = np.stack([ramp, other, 255-ramp], -1)
palette = Image.fromarray(ramp).convert('P')
palette.putpalette(bytes(o for i in range(256) for o in (i, 255-i, 0)))
modes = { # what is saved, as what, and the grey that the rule makes of it; for colours within rounding
    'L': (Image.fromarray(ramp), 'PNG', ramp, 0),
    '1': (Image.fromarray(ramp>99), 'PNG', (ramp>99)*255, 0),
    'RGB': (Image.fromarray(colours), 'PNG', luma(ramp, other, 255-ramp), 1),
    'RGBA': (Image.fromarray(np.dstack([colours, other])), 'PNG', on_paper(luma(ramp, other, 255-ramp), other), 1.6),
    'LA': (Image.fromarray(np.dstack([ramp, other])), 'PNG', on_paper(ramp, other), 1),
    'P': (palette, 'PNG', luma(ramp, 255-ramp, ramp*0), 1),
    'GIF': (palette, 'GIF', luma(ramp, 255-ramp, ramp*0), 1),
    '16-bit': (Image.fromarray(ramp.astype(np.uint16)*256+other), 'PNG', (ramp*256.+other)/257, .5),
    '16-bit TIFF': (Image.fromarray(ramp.astype(np.uint16)*256+other), 'TIFF', (ramp*256.+other)/257, .5),
    'CMYK': (Image.fromarray(colours).convert('CMYK'), 'TIFF', luma(ramp, other, 255-ramp), 1),
    'BMP': (Image.fromarray(ramp), 'BMP', ramp, 0),
}

def check_mode(name):
    im,kind,want,within = modes[name]
    with written(saved(im, kind)) as files: got = load_images(files)[0].numpy().astype(float)
    assert np.abs(got-want).max()<=within

@pytest.mark.parametrize('name', modes)
def test_every_mode_becomes_grey_by_the_one_rule(name): check_mode(name)

@pytest.mark.parametrize('name', sorted(set(modes)-{'L','BMP','1','16-bit','16-bit TIFF','P','GIF','CMYK','RGB'}))
def test_transparency_that_is_thrown_away_is_noticed(name, monkeypatch):
    monkeypatch.setattr(images, '_grey', lambda im, convert: np.asarray(im.convert('L')))
    with pytest.raises(AssertionError): check_mode(name)

def test_sixteen_bits_are_rounded_not_cut(monkeypatch):
    monkeypatch.setattr(images, '_grey', lambda im, convert: (np.asarray(im)>>8).astype(np.uint8))
    with pytest.raises(AssertionError): check_mode('16-bit')

def test_white_and_black_stay_white_and_black_in_every_mode():
    whites = {'1': 1, 'L': 255, 'RGB': (255,)*3, 'RGBA': (255,)*4, 'LA': (255,255), 'I;16': 65535, 'P': None}
    for mode,white in whites.items():
        im = Image.new('RGB', (3,2), 'white').quantize(2) if mode=='P' else Image.new(mode, (3,2), white)
        with written(saved(im, 'PNG'), saved(Image.new('L', (3,2)), 'PNG')) as files:
            assert load_images(files).unique().tolist()==[0,255]

def test_a_transparent_grey_is_white_in_eight_and_in_sixteen_bits():
    eight = png(b'\0\7\x08\x09', 1, 3, before=[chunk(b'tRNS', b'\0\7')])
    sixteen = png(b'\0'+struct.pack('>3H', 7, 257*8, 257*9), 1, 3, depth=16, before=[chunk(b'tRNS', b'\0\7')])
    with written(eight) as files: assert load_images(files).tolist()==[[[255,8,9]]]
    with written(sixteen) as files: assert load_images(files).tolist()==[[[255,8,9]]]

@pytest.mark.parametrize('name', modes)
def test_without_conversion_all_but_8_bit_grey_is_refused(name):
    im,kind,want,_ = modes[name]
    with written(saved(im, kind)) as files:
        if name in ('L','BMP'): assert (load_images(files, convert=False)[0].numpy()==want).all()
        else:
            words = r'0.png is of mode .*convert=True would convert it'
            with pytest.raises(ValueError, match=words): load_images(files, convert=False)

def test_without_conversion_a_transparent_grey_is_refused():
    with written(png(b'\0\7', 1, 1, before=[chunk(b'tRNS', b'\0\7')])) as files:
        with pytest.raises(ValueError, match='mode L with transparency'): load_images(files, convert=False)

def test_two_and_four_bit_greys_are_spread_over_eight():
    with written(png(b'\0\x1b', 1, 4, depth=2)) as files: assert load_images(files).tolist()==[[[0,85,170,255]]]
    with written(png(b'\0\x0f', 1, 2, depth=4)) as files: assert load_images(files).tolist()==[[[0,255]]]


# How the camera was held.

turns = {1: lambda a: a, 2: lambda a: a[:,::-1], 3: lambda a: a[::-1,::-1], 4: lambda a: a[::-1], # EXIF 2.3, 4.6.4
         5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
         8: lambda a: np.rot90(a, 1)}
undo = {**turns, 6: turns[8], 8: turns[6]} # the others undo themselves

def with_notes(im, kind, turn, **kwargs):
    "A file whose notes say so; a turn that EXIF does not know is no turn."
    notes = Image.Exif()
    notes[0x0112] = turn
    im.save(f := io.BytesIO(), kind, exif=notes, **kwargs)
    return f.getvalue()

kinds = {('PNG','L'): {}, ('PNG','1'): {}, ('PNG','P'): {}, ('PNG','RGB'): {}, ('PNG','RGBA'): {}, ('PNG','LA'): {},
         ('PNG','I;16'): {}, ('TIFF','L'): {}, ('TIFF','I;16'): {}, ('TIFF','RGBA'): {}, ('TIFF','CMYK'): {},
         ('WEBP','RGB'): dict(lossless=True), ('WEBP','RGBA'): dict(lossless=True, exact=True)}

def some_picture(seed, h, w, mode):
    a = np.random.default_rng(seed).integers(0, 256, (h,w,4)).astype(np.uint8)
    if mode=='I;16': return Image.fromarray(a[...,0].astype(np.uint16)*257)
    return Image.fromarray(a).convert(mode) if mode!='P' else Image.fromarray(a[...,0]).convert('P')

def turned(im, how):
    a = Image.fromarray(np.ascontiguousarray(how(np.asarray(im)))) if im.mode!='CMYK' else \
        Image.merge('CMYK', [Image.fromarray(np.ascontiguousarray(how(np.asarray(o)))) for o in im.split()])
    if im.mode=='P': a.putpalette(im.getpalette())
    return a

def check_turns(load, examples=until_it_fails):
    @examples
    @given(st.integers(0, 999), st.integers(1, 6), st.integers(1, 6), st.sampled_from(list(kinds)), st.sampled_from(list(turns)))
    def check(seed, h, w, kind, turn):
        im = some_picture(seed, h, w, kind[1])
        straight = with_notes(im, kind[0], 1, **kinds[kind])
        held = with_notes(turned(im, undo[turn]), kind[0], turn, **kinds[kind])
        with written(straight, held) as files: assert torch.equal(load(files[:1]), load(files[1:]))
    check()

def test_a_picture_and_its_turned_copy_are_read_alike(): check_turns(load_images, settings(given_many, max_examples=120))

def test_a_reader_that_does_not_turn_is_noticed(monkeypatch):
    monkeypatch.setattr(images, '_must_be_turned', lambda im: False)
    with pytest.raises(AssertionError): check_turns(load_images)

@pytest.mark.parametrize('turn', turns)
def test_a_photo_and_its_turned_copy_are_one_size_in_a_folder(turn):
    im = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6,8)*5)
    straight,held = (with_notes(im, 'JPEG', o) for o in (1,turn))
    with written(straight) as files: want = turns[turn](load_images(files)[0].numpy())
    other = saved(Image.fromarray(np.ascontiguousarray(want)), 'PNG')
    with written(other, held) as files: assert (load_images(files).numpy()==want).all()

def test_notes_behind_the_pixels_are_read_too():
    "An eXIf chunk may follow the pixels, where it is seen only after these are decoded."
    im = np.arange(12, dtype=np.uint8).reshape(3,4)
    whole = with_notes(Image.fromarray(im), 'PNG', 6)
    at = whole.index(b'eXIf')-4
    n = 12+struct.unpack('>I', whole[at:at+4])[0]
    moved = whole[:at]+whole[at+n:-12]+whole[at:at+n]+whole[-12:]
    for data in (whole, moved):
        with written(data) as files: assert (load_images(files)[0].numpy()==np.rot90(im, -1)).all()

@pytest.mark.parametrize('notes', [b'Exif\0\0nonsense', b'', b'Exif\0\0II*\0\xff\xff\xff\xff'])
def test_notes_that_cannot_be_read_say_nothing(notes):
    im = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3,4))
    im.save(f := io.BytesIO(), 'JPEG', exif=notes)
    with written(f.getvalue()) as files: assert load_images(files).shape==(1,3,4)

@pytest.mark.parametrize('turn', [0,9,77])
def test_a_turn_that_exif_does_not_know_is_none(turn):
    im = np.arange(12, dtype=np.uint8).reshape(3,4)
    with written(with_notes(Image.fromarray(im), 'PNG', turn)) as files: assert (load_images(files)[0].numpy()==im).all()

def test_a_size_that_no_turn_makes_right_is_refused_before_it_is_decoded():
    with written(good, with_notes(Image.new('L', (30,20)), 'PNG', 6)) as files:
        with pytest.raises(ValueError, match='is 30×20 pixels'): load_images(files)

def test_a_picture_that_a_turn_makes_wrong_is_refused():
    tall = saved(Image.new('L', (4,6)), 'PNG')
    with written(tall, with_notes(Image.new('L', (4,6)), 'PNG', 6)) as files:
        with pytest.raises(ValueError, match='1.png is 6×4 pixels, but .*0.png is 4×6'): load_images(files)


# White ink on nothing.

ink = np.zeros((6,6), np.uint8)
ink[1:5,2:4] = 255

def on_nothing(colour, alpha=ink):
    "Ink of one colour; where there is none, it is transparent, and of that colour too."
    return Image.fromarray(np.dstack([np.broadcast_to(np.uint8(colour), (6,6,3)), alpha]))

@pytest.mark.parametrize('colour,paper', [((0,0,0),255), ((255,255,255),0), ((200,30,30),255), ((255,240,0),0),
                                          ((127,127,127),255), ((128,128,128),0)])
def test_ink_on_a_transparent_ground_is_seen(colour, paper):
    with written(saved(on_nothing(colour), 'PNG')) as files: got = load_images(files)[0].numpy()
    grey = round(luma(*colour))
    assert set(got[ink==0])=={paper} and abs(got[ink==255].astype(int)-grey).max()<=1

def test_faint_edges_do_not_change_the_paper():
    alpha = np.where(ink, 255, 20).astype(np.uint8)
    with written(saved(on_nothing((255,)*3, alpha), 'PNG')) as files: got = load_images(files)[0].numpy()
    assert got[0,0]==20 and got[2,2]==255

def test_all_readers_lay_a_picture_on_the_same_paper():
    from digits_fastai.app.draw import read_drawing,to_grey
    for colour in ((0,0,0), (255,255,255), (250,200,9)):
        data = saved(on_nothing(colour), 'PNG')
        with written(data) as files: assert (load_images(files)[0].numpy()==to_grey(read_drawing(data))).all()


# Folders.

@pytest.fixture(autouse=True)
def settled(monkeypatch):
    "Folders are made here and loaded at once: they count as old enough to be kept."
    monkeypatch.setattr(images, '_settled', -1)

@pytest.fixture
def folder(tmp_path):
    "Twelve small pictures in two classes, all different."
    make_folder(tmp_path/'digits')
    return tmp_path/'digits'

def make_folder(path, n=6):
    for k,c in enumerate('37'):
        (path/c).mkdir(parents=True)
        for i in range(n): write(path/c/f'{i}.png', 10*k+i)

def write(file, seed):
    im = np.random.default_rng(seed).integers(0, 256, (5,4)).astype(np.uint8)
    file.write_bytes(png(filtered(im, [seed%5]*5), 5, 4, level=0)) # uncompressed: all of one length
    return im

def test_foreign_and_hidden_files_are_left_out(folder):
    want = load_folder(folder, cache=False)
    for name in ('.DS_Store','Thumbs.db','notes.txt','.3.png','desktop.ini','labels.csv','noending'):
        (folder/'3'/name).write_bytes(b'x')
    (folder/'.hidden').mkdir()
    shutil.copy(folder/'3'/'0.png', folder/'.hidden')
    got = load_folder(folder, cache=False)
    assert torch.equal(got[0], want[0]) and torch.equal(got[1], want[1]) and got[2]==['3','7']

def test_files_are_sorted_as_paths_are(tmp_path):
    for o in ('a/1.png','a-b/1.png','a/b.png','a/b/2.png','B/1.PNG','a.png','a/10.png','a/2.png'):
        (tmp_path/o).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path/o).touch()
    assert list(image_files(tmp_path))==sorted(o for o in tmp_path.rglob('*') if o.is_file())

def test_a_folder_that_cannot_be_read_is_not_an_empty_one(folder, monkeypatch):
    real = os.scandir
    def scandir(where):
        if str(where).endswith('7'): raise PermissionError(13, 'Permission denied', str(where))
        return real(where)
    monkeypatch.setattr(os, 'scandir', scandir)
    with pytest.raises(PermissionError, match='7'): image_files(folder)

@pytest.mark.parametrize('cache', [True,False])
def test_blank_pictures_are_named_each_time(cache, folder):
    for i in range(4): (folder/'7'/f'blank{i}.png').write_bytes(saved(Image.new('L', (4,5), 9*i), 'PNG'))
    for _ in range(2):
        with pytest.warns(UserWarning, match='on 4 of the pictures.*7/blank0.png.*blank2.png, …') as said:
            assert load_folder(folder, cache=cache)[0].shape==(16,5,4)
        assert said[0].filename==__file__

def test_a_picture_with_one_other_pixel_is_not_blank(folder, recwarn):
    im = Image.new('L', (4,5))
    im.putpixel((3,4), 1)
    im.save(folder/'3'/'nearly.png')
    load_folder(folder)
    assert not recwarn

def link(name, to):
    try: name.symlink_to(to, target_is_directory=True)
    except OSError: pytest.skip('no links on this machine')

@pytest.mark.parametrize('to', ['.','..','../..'])
def test_a_link_that_leads_back_is_refused(to, folder):
    link(folder/'3'/'again', to)
    for f in (load_folder,image_files):
        with pytest.raises(ValueError, match='again is a link to .*, in which it lies itself.*Remove the link'): f(folder)

def test_what_two_links_lead_to_is_counted_once(folder, tmp_path):
    make_folder(tmp_path/'more')
    for name in ('a','b','zz'): link(folder/'3'/name, tmp_path/'more'/'3')
    (folder/'3'/'c.png').symlink_to(folder/'3'/'0.png')
    (folder/'3'/'d.png').symlink_to(tmp_path/'more'/'7'/'0.png')
    (folder/'3'/'e.png').symlink_to(tmp_path/'more'/'7'/'0.png')
    x,y,_ = load_folder(folder)
    assert y.tolist()==[0]*13+[1]*6
    assert [str(o.relative_to(folder)) for o in image_files(folder/'3')][6:]==[*(f'3/a/{i}.png' for i in range(6)), '3/d.png']

def test_two_links_that_lead_to_each_other_end(folder):
    link(folder/'3'/'x', folder.parent/'b')
    (folder.parent/'b').mkdir()
    write(folder.parent/'b'/'9.png', 3)
    link(folder.parent/'b'/'y', folder/'3')
    assert len(image_files(folder/'3'))==7

def test_a_chain_of_doubled_links_is_walked_once(tmp_path):
    "By way of the links there are two to the power of thirty ways to the last folder."
    for i in range(31): (tmp_path/f'{i}').mkdir()
    for i in range(30):
        for name in 'ab': link(tmp_path/f'{i}'/name, tmp_path/f'{i+1}')
    write(tmp_path/'30'/'1.png', 1)
    assert len(image_files(tmp_path/'0'))==1

@pytest.mark.parametrize('how', ['a class','within a class','a file'])
def test_a_picture_in_two_classes_is_refused(how, folder):
    if how=='a class': link(folder/'8', folder/'7')
    elif how=='within a class': link(folder/'3'/'more', folder/'7')
    else: link(folder/'3'/'z.png', folder/'7'/'0.png')
    with pytest.raises(ValueError, match='in two classes, .* and .*: remove one of the links'): load_folder(folder)

def test_a_wrong_size_in_another_class_is_named(folder):
    (folder/'7'/'wide.png').write_bytes(png(bytes(60), 6, 9))
    for cache in (True,False):
        words = 'wide.png is 9×6 pixels, but .*0.png is 4×5'
        with pytest.raises(ValueError, match=words): load_folder(folder, cache=cache)


# The cache.

def kept_at(folder): return folder.parent/f'.{folder.name}.digits_cache'

@contextmanager
def watched(monkeypatch):
    "How many pictures are decoded meanwhile."
    seen,real = [],images.load_images
    def counting(files, convert=True):
        seen.append(len(list(files)))
        return real(files, convert)
    with monkeypatch.context() as m:
        m.setattr(images, 'load_images', counting)
        yield seen

def fresh(folder): return load_images([o for c in '37' for o in image_files(folder/c)])

def check_second_time(folder, monkeypatch):
    with watched(monkeypatch) as seen:
        first,second = load_folder(folder),load_folder(folder)
        assert seen==[12] and kept_at(folder).is_file()
    for x,y,names in (first,second):
        assert torch.equal(x, fresh(folder)) and y.tolist()==[0]*6+[1]*6 and names==['3','7'] and x.dtype==torch.uint8

def test_the_second_time_nothing_is_decoded(folder, monkeypatch): check_second_time(folder, monkeypatch)

def test_a_cache_that_is_never_written_is_noticed(folder, monkeypatch):
    monkeypatch.setattr(images, '_write_cache', lambda *args: None)
    with pytest.raises(AssertionError): check_second_time(folder, monkeypatch)

def changed(folder):
    kept = folder/'3'/'2.png'
    was = os.stat(kept)
    write(kept, 99)
    assert os.stat(kept).st_size==was.st_size
    return kept,was

def back_in_time(folder):
    file,was = changed(folder)
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))

def other_size(folder): (folder/'3'/'2.png').write_bytes(png(bytes(25), 5, 4))
def swapped(folder):
    a,b,c = folder/'3'/'0.png',folder/'3'/'1.png',folder/'swap'
    a.rename(c)
    b.rename(a)
    c.rename(b)
def moved(folder): (folder/'3'/'0.png').rename(folder/'7'/'x.png')

stale = {'changed in place': changed, 'changed in place and its time set back': back_in_time,
         'changed in size': other_size,
         'one more': lambda o: write(o/'7'/'new.png', 50), 'one less': lambda o: (o/'7'/'3.png').unlink(),
         'renamed': lambda o: (o/'7'/'3.png').rename(o/'7'/'9.png'), 'two swapped': swapped,
         'moved to another class': moved, 'touched': lambda o: (o/'7'/'3.png').touch()}

def check_stale(folder, change, monkeypatch):
    load_folder(folder)
    time.sleep(.02) # a clock tick of the file system: what changes within one can't be told apart
    change(folder)
    with watched(monkeypatch) as seen:
        x,y,_ = load_folder(folder)
        assert len(seen)==1, 'the cache was taken for good'
    assert torch.equal(x, fresh(folder)) and y.bincount().tolist()==[len(image_files(folder/c)) for c in '37']
    with watched(monkeypatch) as seen:
        assert torch.equal(load_folder(folder)[0], x) and not seen, 'it was not rebuilt'

@pytest.mark.parametrize('what', stale)
@pytest.mark.skipif(sys.platform=='win32', reason='a time of change that cannot be set is kept on Unix only')
def test_a_stale_cache_is_noticed_and_rebuilt(what, folder, monkeypatch): check_stale(folder, stale[what], monkeypatch)

def test_a_key_that_overlooks_changes_is_noticed(folder, monkeypatch):
    monkeypatch.setattr(images, '_key', lambda path, entries, convert: ('k'*64, 0))
    with pytest.raises(AssertionError): check_stale(folder, changed, monkeypatch)

@pytest.mark.skipif(sys.platform=='win32', reason='a time of change that cannot be set is kept on Unix only')
def test_without_the_time_of_change_a_file_that_was_set_back_is_not_noticed(folder, monkeypatch):
    class Timeless:
        def __init__(self, entry): self.entry,self.path = entry,entry.path
        def stat(self):
            o = self.entry.stat()
            return SimpleNamespace(st_size=o.st_size, st_mtime_ns=o.st_mtime_ns, st_ctime_ns=0, st_ino=o.st_ino)
    def key(path, entries, convert, real=images._key): return real(path, [Timeless(o) for o in entries], convert)
    monkeypatch.setattr(images, '_key', key)
    with pytest.raises(AssertionError): check_stale(folder, back_in_time, monkeypatch)

def test_one_picture_of_four_hundred_that_is_overwritten_is_never_overlooked(tmp_path):
    make_folder(tmp_path/'digits', 200)
    dice = random.Random(1)
    for i in range(6):
        load_folder(tmp_path/'digits')
        file = tmp_path/'digits'/dice.choice('37')/f'{dice.randrange(200)}.png'
        time.sleep(.02)
        write(file, 500+i)
        assert torch.equal(load_folder(tmp_path/'digits')[0], fresh(tmp_path/'digits'))

def test_a_folder_that_has_just_changed_is_not_kept(folder, monkeypatch):
    "Of two changes within one tick of the file system's clock the second can't be told from the first."
    monkeypatch.setattr(images, '_settled', 2)
    load_folder(folder)
    assert not kept_at(folder).exists()
    monkeypatch.setattr(images.time, 'time', lambda real=time.time: real()+10)
    load_folder(folder)
    assert kept_at(folder).exists()

def test_nobodys_dice_are_touched(folder):
    random.seed(3)
    was = random.getstate(),torch.get_rng_state()
    load_folder(folder)
    assert random.getstate()==was[0] and torch.equal(torch.get_rng_state(), was[1])

def test_no_byte_of_a_cache_can_be_changed_missing_or_too_many(folder):
    load_folder(folder)
    file = kept_at(folder)
    whole = file.read_bytes()
    for i in range(len(whole)):
        for data in (whole[:i], whole[:i]+bytes([whole[i]^4])+whole[i+1:], whole[:i]+b'\0'+whole[i:]):
            file.write_bytes(data)
            assert images._read_cache(file)==(None,None), i

def spoiled(how, kept, tmp_path):
    data = kept.read_bytes()
    if how=='of another folder':
        make_folder(tmp_path/'other')
        write(tmp_path/'other'/'7'/'5.png', 77)
        load_folder(tmp_path/'other')
        return kept_at(tmp_path/'other').read_bytes()
    return {'truncated': data[:len(data)//2], 'empty': b'', 'text': b'hello', 'zeros': bytes(len(data)),
            'a flipped bit in a pixel': data[:77]+bytes([data[77]^4])+data[78:],
            'turned pictures': data.replace(b'[12, 5, 4]', b'[12, 4, 5]'),
            'a note of 4 GiB': data[:-8]+b'\xff'*4+data[-4:], 'a pickle': pickle.dumps(data)}[how]

spoils = ['truncated','empty','text','zeros','a flipped bit in a pixel','turned pictures','a note of 4 GiB','a pickle',
          'of another folder']

def check_spoiled(how, folder, tmp_path, monkeypatch):
    want = load_folder(folder)[0]
    kept_at(folder).write_bytes(spoiled(how, kept_at(folder), tmp_path))
    with watched(monkeypatch) as seen: got = load_folder(folder)[0]
    assert torch.equal(got, want) and seen==[12], 'the cache was taken for good'
    with watched(monkeypatch) as seen:
        assert torch.equal(load_folder(folder)[0], want) and not seen, 'it was not rebuilt'

@pytest.mark.parametrize('how', spoils)
def test_a_broken_foreign_or_hostile_cache_is_noticed_and_rebuilt(how, folder, tmp_path, monkeypatch):
    check_spoiled(how, folder, tmp_path, monkeypatch)

def test_without_a_checksum_a_flipped_bit_is_not_noticed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(images, '_checksum', lambda pixels, note: 1234)
    with pytest.raises(AssertionError): check_spoiled('a flipped bit in a pixel', folder, tmp_path, monkeypatch)

def changes(x, g):
    "The pixels `x`, [30*784], with a change here or there: within the sums' table, and behind it."
    def exchanged(i, j): # words of eight pixels
        y = x.copy()
        y[8*i:8*i+8],y[8*j:8*j+8] = x[8*j:8*j+8],x[8*i:8*i+8]
        return y
    yield from (exchanged(i, j) for i,j in ((0,1), (5,900), (5,1029), (1023,1024), (3,2047), (0,2900)))
    for at in (0, 7, 8191, 8192, 16_383, 16_384, len(x)-1): # two rows of the table are 16,384 pixels
        y = x.copy()
        y[at] ^= 1<<int(g.integers(8))
        yield y
    yield x[::-1].copy()
    yield np.concatenate([x[784:], x[:784]])
    yield np.concatenate([x[8192:16_384], x[:8192], x[16_384:]])

def every_change_is_seen(crc, seed=0):
    g = np.random.default_rng(seed)
    x = g.integers(0, 256, 30*784).astype(np.uint8)
    assert crc(x, b'{}')==crc(x.copy(), b'{}')!=crc(x, b'{ }')
    for i,y in enumerate(changes(x, g)): assert crc(x, b'{}')!=crc(y, b'{}'), i

@pytest.mark.parametrize('seed', range(2))
def test_the_checksum_of_a_cache_sees_every_change(seed): every_change_is_seen(images._checksum, seed)

@pytest.mark.parametrize('left_out', range(3))
def test_no_part_of_the_checksum_can_be_left_out(left_out, monkeypatch):
    def fewer(pixels, real=images._sums): return [o for i,o in enumerate(real(pixels)) if i!=left_out]
    monkeypatch.setattr(images, '_sums', fewer)
    with pytest.raises(AssertionError): every_change_is_seen(images._checksum)

def test_what_is_read_is_yours_to_change(folder):
    want = load_folder(folder)[0]
    for _ in range(3):
        x = load_folder(folder)[0]
        assert torch.equal(x, want)
        x += 1
    assert x.is_contiguous() and torch.equal(load_folder(folder)[0], want)

def test_the_cache_may_be_switched_off(folder, monkeypatch):
    def left(): return sorted(o.name for o in folder.parent.iterdir())
    before = left()
    load_folder(folder, cache=False)
    for no in ('0',''):
        monkeypatch.setenv('DIGITS_FASTAI_CACHE', no)
        load_folder(folder)
    assert left()==before
    monkeypatch.setenv('DIGITS_FASTAI_CACHE', '1')
    load_folder(folder)
    assert left()==sorted([*before, '.digits.digits_cache'])
    with watched(monkeypatch) as seen:
        load_folder(folder, cache=False)
        monkeypatch.setenv('DIGITS_FASTAI_CACHE', '0')
        load_folder(folder)
        assert seen==[12,12], 'switched off, and used all the same'

def test_some_of_the_classes_are_neither_kept_nor_taken_from_what_is(folder, monkeypatch):
    x,_,_ = load_folder(folder)
    data = kept_at(folder).read_bytes()
    assert torch.equal(load_folder(folder, classes=['7'])[0], x[6:]) and kept_at(folder).read_bytes()==data
    with watched(monkeypatch) as seen: assert torch.equal(load_folder(folder, classes=[7,3])[0], x) and not seen

def test_with_and_without_conversion_are_not_mixed_up(folder):
    Image.new('RGB', (4,5), 'red').save(folder/'3'/'red.png')
    load_folder(folder)
    with pytest.raises(ValueError, match='red.png is of mode RGB'): load_folder(folder, convert=False)

def test_the_same_folder_by_other_names_has_one_cache(folder, monkeypatch):
    load_folder(folder)
    with watched(monkeypatch) as seen:
        monkeypatch.chdir(folder)
        assert load_folder('.')[0].shape==(12,5,4) and load_folder('3/..')[0].shape==(12,5,4)
        monkeypatch.chdir(folder.parent)
        assert load_folder('digits')[0].shape==(12,5,4) and not seen
    assert [o.name for o in folder.parent.glob('.*')]==['.digits.digits_cache'] and not list(folder.glob('.*'))

def test_a_file_that_changes_while_it_is_read_is_not_kept(folder, monkeypatch):
    real = images.load_images
    def changing(files, convert=True):
        x = real(files, convert)
        time.sleep(.02)
        write(folder/'3'/'0.png', 70)
        return x
    monkeypatch.setattr(images, 'load_images', changing)
    load_folder(folder)
    monkeypatch.undo()
    assert not kept_at(folder).exists() and torch.equal(load_folder(folder)[0], fresh(folder))

def test_a_broken_link_is_named(folder):
    try: (folder/'3'/'gone.png').symlink_to(folder/'nowhere.png')
    except OSError: pytest.skip('no links on this machine')
    with pytest.raises(ValueError, match='gone.png cannot be read'): load_folder(folder)

def test_a_place_that_cannot_be_written_is_no_error(folder, monkeypatch):
    want = load_folder(folder, cache=False)[0]
    kept_at(folder).mkdir()
    assert torch.equal(load_folder(folder)[0], want)
    assert [o.name for o in folder.parent.glob('.*')]==[kept_at(folder).name]
    kept_at(folder).rmdir()
    real = open
    def read_only(file, mode='r', *args, **kwargs):
        if 'x' in mode or 'w' in mode: raise OSError(30, 'Read-only file system', str(file))
        return real(file, mode, *args, **kwargs)
    monkeypatch.setattr(atomic, 'open', read_only, raising=False)
    assert torch.equal(load_folder(folder)[0], want) and not kept_at(folder).exists()

@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid()==0, reason='this user may write everywhere')
def test_a_read_only_folder_is_no_error(folder):
    os.chmod(folder.parent, 0o555)
    try: assert load_folder(folder)[0].shape==(12,5,4) and not kept_at(folder).exists()
    finally: os.chmod(folder.parent, 0o755)

@pytest.mark.skipif(sys.platform=='win32', reason='needs resource limits')
def test_a_full_disk_is_no_error_and_leaves_nothing(folder):
    "A process that may not write files of more than 100 bytes."
    look = f'''
import resource,signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100,100))
try:
    with open({str(folder.parent/"try")!r}, 'wb', 0) as f:
        for _ in range(3): f.write(bytes(60))
except OSError: print('full')
from digits_fastai.images import load_folder
print(load_folder({str(folder)!r})[0].sum().item())
'''
    said = run(python, '-c', look).stdout.split()
    assert said==['full',str(fresh(folder).sum().item())]
    assert sorted(o.name for o in folder.parent.iterdir())==['digits','try']

@pytest.mark.skipif(sys.platform=='win32', reason='needs locks on files')
def test_what_a_killed_writer_left_is_removed(folder):
    import fcntl
    old,new = (folder.parent/f'..digits.digits_cache-{o}.tmp' for o in ('0123abcd','4567abcd'))
    for o in (old,new): o.write_bytes(b'half')
    with open(new, 'rb') as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        load_folder(folder)
        assert not old.exists() and new.exists(), 'what the dead left goes, what another is writing stays'

def test_processes_that_load_and_one_that_spoils_the_cache(folder):
    "Two readers that load again and again while a third process breaks the cache each time: all get the same."
    want = fresh(folder).sum().item()
    load = f'''
from digits_fastai.images import load_folder
for _ in range(60):
    x,y,_ = load_folder({str(folder)!r})
    assert x.shape==(12,5,4) and x.sum().item()=={want}, x.sum()
print('fine')
'''
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    readers = [subprocess.Popen([python, '-c', load], **pipes) for _ in range(2)]
    kept,n,end = kept_at(folder),0,time.time()+100
    while any(o.poll() is None for o in readers) and time.time()<end:
        try:
            if n%3==0: kept.unlink()
            elif n%3==1: os.truncate(kept, 50)
            else:
                with open(kept, 'r+b') as f:
                    f.seek(40)
                    f.write(b'zzzz')
        except OSError: pass
        n += 1
        time.sleep(.002)
    outs = [o.communicate(timeout=60) for o in readers]
    assert [o for o,_ in outs]==['fine\n']*2, outs
    assert not [o for o in folder.parent.iterdir() if 'digits_cache-' in o.name], 'temporary files were left'


# The digits themselves.

def test_the_digits_are_pillows(path):
    for part in ('train','valid'):
        x,y,names = load_folder(path/part, cache=False)
        files = [o for c in names for o in image_files(path/part/c)]
        assert (x.numpy()==np.stack([np.array(Image.open(o)) for o in files])).all()
        assert [names[i] for i in y]==[o.parent.name for o in files]
