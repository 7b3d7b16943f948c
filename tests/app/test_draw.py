"What is drawn is prepared as MNIST was; what comes as bytes is a picture or an error; the page's models are kept."
import io,json,re,shutil,struct,tempfile,warnings,zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given,settings,strategies as st
from hypothesis.extra.numpy import array_shapes,arrays
from PIL import Image

from digits_fastai.app.draw import (
    centre_mass,crop_ink,evaluate,fit_box,prepare,prepare_sheet,quick_readers,read_drawing,redraw,to_grey,to_ink)
from digits_fastai.download import standin_path
from digits_fastai.images import image_files,load_folder,part_folder
from digits_fastai.nets.predict import load_reader,scribbles
from conftest import python,run
from drawn import as_png,drawn,full_path,hands,home_with_models


@pytest.fixture(scope='module')
def full(tmp_path_factory): return full_path(tmp_path_factory)

@pytest.fixture(scope='module')
def test_set(full): return load_folder(part_folder(full, None, ('testing','valid')))[:2]

@pytest.fixture(scope='module')
def readers(full, tmp_path_factory):
    home = home_with_models(tmp_path_factory)
    return quick_readers(pytest.fail, folder=home/'models'/'digits_fastai'/full.name)


# prepare

def change(prepare, pics):
    return 255*torch.stack([(torch.as_tensor(prepare(o))-o).abs().mean() for o in pics.float()/255])

def test_the_test_set_is_a_fixed_point(test_set):
    c = change(prepare, test_set[0])
    assert c.mean()<.5 and c.median()==0 and (c>1).float().mean()<.01

@pytest.mark.parametrize('at,box', [(13.5,20), (14.5,20), (14,19), (14,22)])
def test_another_box_or_place_has_other_fixed_points(at, box, test_set):
    def twin(o): return centre_mass(fit_box(crop_ink(to_ink(to_grey(o))), box), at)
    assert change(twin, test_set[0][::100]).mean()>.5

def check_prepared(x):
    assert x.shape==(28,28) and x.dtype==torch.float32 and x.min()==0 and x.max()==1
    rows,cols = (x.max(d).values.nonzero()[:,0] for d in (1,0))
    assert max(rows[-1]-rows[0], cols[-1]-cols[0])<20

def apart(a, b):
    "Mean difference of prepared pictures; a mass half-way between two pixels may have gone either way."
    near = [a.roll((down,right), (0,1)) for down in (-1,0,1) for right in (-1,0,1)]
    return min((o-b).abs().mean().item() for o in near)

pictures = array_shapes(min_dims=2, max_dims=2, max_side=40).flatmap(lambda s: st.one_of(
    arrays(np.uint8, s), arrays(np.uint8, s, elements=st.sampled_from([0,255]), fill=st.just(0)),
    arrays(np.uint8, (*s,3), fill=st.just(255)), arrays(np.uint8, (*s,4), fill=st.just(0)),
    arrays(np.float32, s, elements=st.floats(0, 1, width=32))))

@settings(max_examples=200, deadline=None)
@given(a=pictures)
def test_any_picture_is_prepared_or_refused_in_a_sentence(a):
    try: x = prepare(a)
    except ValueError as e: assert 'draw a digit first' in str(e)
    else: check_prepared(x)

@settings(max_examples=60, deadline=None)
@given(left=st.integers(0,150), top=st.integers(0,150), side=st.integers(110,280), digit=st.integers(0,9),
       tones=st.sampled_from([(0,255),(255,0),(90,230),(200,60)]))
def test_neither_place_nor_size_nor_tone_matters(left, top, side, digit, tones):
    ink,paper = tones
    im = Image.new('L', (440,440), paper)
    im.paste(drawn(digit, side=side, width=max(1, side*26//280), ink=ink, paper=paper), (left,top))
    x = prepare(im)
    check_prepared(x)
    assert apart(x, prepare(drawn(digit)))<.05

@pytest.mark.parametrize('mode', ['1','L','P','RGB','RGBA','LA','CMYK','YCbCr','I','I;16','F'])
def test_any_kind_of_picture_will_do(mode):
    im = drawn()
    if mode in ('I','I;16'): odd = Image.fromarray(np.asarray(im).astype(np.int32 if mode=='I' else np.uint16)*257)
    elif mode=='F': odd = Image.fromarray(np.asarray(im).astype(np.float32)*257)
    else: odd = im.convert(mode)
    assert odd.mode==mode and apart(prepare(odd), prepare(im))<.02

@pytest.mark.parametrize('white', [1,255,4095,65535])
def test_numbers_of_any_usual_range_are_read(white):
    im = Image.fromarray(np.asarray(drawn()).astype(np.float32)*(white/255))
    assert apart(prepare(im), prepare(drawn()))<.02

def test_what_is_no_brightness_is_refused():
    for odd in (-1,np.nan):
        with pytest.raises(ValueError, match='below 0, or none'): prepare(Image.fromarray(np.full((99,99), odd, np.float32)))

@pytest.mark.parametrize('ink', ['black','white','gold'])
def test_what_is_transparent_is_paper(ink):
    clear = Image.new('RGBA', (280,280), (0,0,0,0))
    clear.paste(ink, mask=Image.fromarray(255-np.asarray(drawn())))
    assert (prepare(clear)-prepare(drawn())).abs().max()<.02

def test_a_colour_of_the_palette_that_is_transparent_is_paper():
    im = Image.fromarray((np.asarray(drawn())<128).astype(np.uint8), 'L').convert('P')
    im.putpalette([255,255,255,0,0,0])
    im.save(buffer := io.BytesIO(), 'PNG', transparency=0)
    assert (prepare(Image.open(buffer))-prepare(drawn())).abs().mean()<.02

def test_uneven_paper_is_not_ink():
    dice = np.random.default_rng(0)
    paper = np.asarray(drawn(5)).astype(float)*.75 + dice.normal(20, 2, (280,280))
    assert apart(prepare(paper.clip(0, 255).astype(np.uint8)), prepare(drawn(5)))<.02

@pytest.mark.parametrize('empty', [
    Image.new('RGB', (280,280), 'white'), Image.new('L', (1,1)), Image.new('RGBA', (9,9)),
    np.full((28,28), 200, np.uint8), torch.zeros(1,28,28)], ids=lambda o: type(o).__name__)
def test_an_empty_paper_is_said_to_be_empty(empty):
    with pytest.raises(ValueError, match='draw a digit first'): prepare(empty)

@pytest.mark.parametrize('odd', [
    np.zeros((0,5), np.uint8), np.zeros((5,5,2), np.uint8), np.full((9,9), np.nan), np.full((9,9), 2.),
    torch.zeros(9, dtype=torch.uint8), np.zeros((9,9), int), torch.zeros(2,9,9)], ids=lambda o: f'{o.shape}')
def test_what_is_no_picture_is_refused(odd):
    with pytest.raises(ValueError, match='from 0 to 1'): prepare(odd)

def test_redrawn_digits_are_black_on_white_and_the_same_for_the_same_seed(test_set):
    a,b,c = (redraw(test_set[0][:3], seed=s) for s in (0,0,1))
    assert a.shape==(3,280,280) and a.dtype==np.uint8 and (a==b).all() and (a!=c).any()
    assert (a[:,0]==255).all() and (a.min((1,2))==0).all() and np.median(a)==255


# the models

def test_the_models_read_redrawn_digits_as_well_as_clean_ones(readers, test_set, mnist):
    x,y = (o[::20] for o in test_set)
    prepared = torch.stack([prepare(o) for o in redraw(x)])
    for name,least in (('pixel similarity',.75), ('linear',.87), ('simple_net',.9), ('convnet',.96)):
        clean,drawings = ((readers[name](o).argmax(1)==y).float().mean().item() for o in (x,prepared))
        assert drawings>least and abs(drawings-clean)<.03, name

def test_all_hands_are_read(readers):
    x = torch.stack([prepare(drawn(d, h)) for h in hands for d in range(10)])
    right = readers['convnet'](x).argmax(1)==torch.arange(10).repeat(len(hands))
    assert right.float().mean()>=.9, [(list(hands)[i//10], i%10) for i in (~right).nonzero()[:,0].tolist()]

def letters():
    "Capitals that are no digits in disguise, as O, I, S and Z are."
    import matplotlib
    from PIL import ImageDraw,ImageFont
    font = ImageFont.truetype(f'{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf', 200)
    for letter in 'ABEFHKMNPRWX':
        im = Image.new('L', (280,280), 255)
        ImageDraw.Draw(im).text((40,20), letter, fill=0, font=font)
        yield prepare(im)

@pytest.mark.parametrize('name', ['linear','convnet'])
def test_dots_scribbles_and_letters_are_unlike_every_digit_and_digits_are_answered(name, readers, test_set, mnist):
    unlike = readers[name].unlike
    assert unlike(test_set[0]).float().mean()<=.05
    assert unlike(scribbles(100, seed=5)).float().mean()>.7
    assert unlike(torch.stack(list(letters()))).float().mean()>.6
    for width in (16,26,40): assert unlike(prepare(dot(width))).all()
    drawings = torch.stack([prepare(drawn(d, h)) for h in hands for d in range(10)])
    assert unlike(drawings).float().mean()<=.1

def dot(width):
    from PIL import ImageDraw
    im = Image.new('L', (280,280), 255)
    ImageDraw.Draw(im).ellipse([100,100,100+width,100+width], fill=0)
    return im

def test_scribbles_are_prepared_as_mnist_is_and_the_same_for_the_same_seed():
    x = scribbles(30, seed=2)
    assert (x==scribbles(30, seed=2)).all() and (x!=scribbles(30, seed=3)).any() and x.dtype==torch.uint8
    mass = x.float().sum((1,2))
    for d in (2,1):
        centre = (x.float().sum(d)*torch.arange(28.)).sum(1)/mass
        assert ((centre-14).abs()<1).all()

def test_of_few_digits_there_are_no_limits_and_every_picture_is_answered(tmp_path, monkeypatch):
    import digits_fastai.app.draw as draw
    from digits_fastai.nets.ten_digits import ten_digits
    home = standin_path(full=True, base=tmp_path)
    draw.train_quick('linear', ten_digits(home), tmp_path/'models'/'linear')
    monkeypatch.setattr(draw, 'digits_path', lambda **kwargs: home)
    reader = quick_readers(say=pytest.fail, names=['linear'], folder=tmp_path/'models')['linear'] # what is there is whole
    assert reader.info['unlike'] is None and reader.unlike(scribbles(3)) is None
    assert 'unlike' not in reader.predict(scribbles(1))[0]

def test_limits_come_back_from_json_and_what_is_no_limit_is_refused(readers, full, tmp_path, mnist):
    folder = tmp_path/'copy'
    shutil.copytree(readers['linear'].folder, folder)
    x = torch.rand(9, 28, 28)
    assert torch.equal(load_reader(folder).likeness(x), readers['linear'].likeness(x))
    assert json.loads(json.dumps(readers['linear'].predict(x)))==readers['linear'].predict(x)
    for odd in ({}, 3, {'likeness': {}}, {'likeness': readers['linear'].info['unlike']['likeness'], 'most_distance': []}):
        info = json.loads((folder/'model.json').read_text())
        (folder/'model.json').write_text(json.dumps({**info, 'unlike': odd}))
        with pytest.raises(ValueError, match='nobody understands'): load_reader(folder)

def test_a_damaged_model_in_the_cache_is_trained_anew_and_the_dice_are_left_alone(full, tmp_path):
    said = []
    def again(): return quick_readers(said.append, ['pixel similarity'], tmp_path)['pixel similarity']
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first = again()
    (tmp_path/'pixel similarity'/'weights.safetensors').write_bytes(b'half')
    second = again()
    again()
    assert len(said)==2 and (torch.rand(3)==expected).all()
    x = torch.rand(5,28,28)
    assert (first(x)==second(x)).all()

def test_an_interrupted_training_leaves_whole_models_only_and_goes_on_there(tmp_path, monkeypatch):
    standin = standin_path(full=True, base=tmp_path)
    monkeypatch.setattr('digits_fastai.app.draw.digits_path', lambda full: standin)
    kept = tmp_path/'kept'
    said,names = [],['pixel similarity','linear']
    def interrupt(learn, recipe): raise KeyboardInterrupt
    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr('digits_fastai.app.draw.fit_recipe', interrupt)
        quick_readers(said.append, names, kept)
    assert [o.name for o in kept.iterdir()]==['pixel similarity']
    assert list(quick_readers(said.append, names, kept))==names
    assert [o.split(' on ')[0] for o in said]==['training pixel similarity', *['training linear']*2]
    assert list(quick_readers(pytest.fail, names, kept))==names


# bytes and folders

@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10**9), byte=st.integers(0,255), keep=st.integers(0, 10**9), cut=st.booleans())
def test_damaged_bytes_are_a_picture_or_a_sentence(at, byte, keep, cut):
    data = bytearray(as_png(drawn(side=60, width=6)))
    data[at%len(data)] = byte
    if cut: data = data[:keep%len(data)]
    try: im = read_drawing(bytes(data))
    except ValueError as e: assert re.search('is no picture|broken picture|make it smaller', str(e))
    else: assert im.width*im.height<=2**20

@pytest.mark.parametrize('size', [(7_072,7_072), (20_000,10_000), (60_000,60_000), (2**31-1,2**31-1)], ids=str)
def test_what_would_unpack_to_gigabytes_is_refused_unopened(size):
    data = bytearray(as_png(Image.new('1', (1000,1000))))
    data[16:24] = struct.pack('>II', *size)
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, 'big')
    with pytest.raises(ValueError, match='more than (150|50),000,000|is no picture'): read_drawing(bytes(data))
    with pytest.raises(ValueError, match='make it smaller|is no picture'): read_drawing(bytes(data), 2**20)

def saved(im, kind, **kwargs):
    im.save(f := io.BytesIO(), kind, **kwargs)
    return f.getvalue()

@pytest.mark.parametrize('kind', ['PNG','JPEG','GIF','BMP','TIFF','WEBP','ICO','PPM','JPEG2000','TGA'])
def test_whatever_pillow_reads_will_do_and_only_what_was_asked_for(kind):
    data = saved(drawn(side=240, width=22), kind)
    assert apart(prepare(read_drawing(data)), prepare(drawn()))<.03
    if kind!='PNG':
        with pytest.raises(ValueError, match='no picture of PNG, or a broken'): read_drawing(data, kinds=('PNG',))

def test_programs_are_not_run_and_heic_is_named():
    with pytest.raises(ValueError, match='no picture'): read_drawing(saved(drawn(), 'EPS'))
    with pytest.raises(ValueError, match='HEIC'): read_drawing(b'\0\0\0\x18ftypheic\0\0\0\0mif1heic'+bytes(99))

@pytest.mark.parametrize('turn', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG','PNG','WEBP','TIFF'])
def test_a_picture_is_turned_as_its_camera_noted(kind, turn):
    from PIL import ImageOps
    exif = Image.Exif()
    exif[0x0112] = turn
    big = Image.new('L', (1300,1700), 255)
    big.paste(drawn(7, side=900, width=80), (200,400))
    data = saved(big, kind, exif=exif)
    right = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert apart(prepare(read_drawing(data)), prepare(right))<.01
    assert apart(prepare(Image.open(io.BytesIO(data))), prepare(right))<.01 # somebody else has opened it

@pytest.mark.parametrize('notes', [b'Exif\0\0nonsense', b'Exif\0\0II*\0\xff\xff\xff\xff'])
def test_notes_that_cannot_be_read_spoil_no_photo(notes):
    plain = drawn(7)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert apart(prepare(read_drawing(saved(plain, 'JPEG', exif=notes))), prepare(plain))<.05

def test_photos_of_all_kinds_are_found_in_a_folder(tmp_path):
    names = ['a.JPG','b.webp','c.jfif','d.heic','e.png','f.gif','g.tiff']
    for name in [*names,'notes.txt','.hidden.jpg']: (tmp_path/name).touch()
    assert [o.name for o in image_files(tmp_path)]==names

def test_a_photo_of_48_megapixels_takes_little_memory():
    code = """
import resource,sys
from digits_fastai.app.draw import prepare,read_drawing
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
im = read_drawing(sys.argv[1])
prepare(im)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-before)
"""
    big = Image.new('RGB', (8000,6000), 'white')
    big.paste(drawn(side=4000, width=370).convert('RGB'), (2000,900))
    file = Path(tempfile.mkdtemp())/'big.jpg'
    big.save(file, quality=60)
    try: more = int(run(python, '-c', code, file).stdout)
    finally: shutil.rmtree(file.parent)
    assert more/1024<100 # MiB; unpacked it has 137

# photos

@pytest.mark.parametrize('levels', [0,40,60,100,140])
@pytest.mark.parametrize('digit', [3,8])
def test_shaded_paper_is_paper(levels, digit, readers):
    shade = np.linspace(0, levels, 280)
    a = np.asarray(drawn(digit)).astype(float)*.7 + 60
    light = (a - shade[:,None]/2 - shade/2).clip(0, 255).astype(np.uint8)
    assert readers['convnet'](prepare(light)).argmax()==digit

@pytest.mark.parametrize('seed', [1,2,4])
@pytest.mark.parametrize('squared', [False,True])
def test_an_empty_sheet_is_said_to_be_empty(squared, seed):
    from photos import paper,shadow,tilted
    dice = np.random.default_rng(seed)
    sheet = paper(dice, 400, 300, squared)*shadow(dice, 400, 300)[...,None]
    im = Image.fromarray(sheet.clip(0, 255).astype(np.uint8))
    if seed>1: im = tilted(im, dice)
    with pytest.raises(ValueError, match='empty'): prepare(im)

def ruled(how, ink, strength, digits=(6,0,8), angle=.02):
    "A sheet with digits on lines that rise by `angle`, ruled, squared or with a margin; as dark as `strength`."
    a = np.full((480,800), 250, np.uint8)
    for i,d in enumerate(digits): a[120:330,60+i*240:270+i*240] = drawn(d, side=210, width=18, ink=ink, paper=250)
    y,x = np.mgrid[:480,:800]
    is_line = (y+angle*x+20)%48<2
    if how=='squared': is_line |= (x-angle*y)%48<2
    if how=='margin': is_line |= abs(x-angle*y-50)<1
    a[is_line] = np.minimum(a[is_line], 250-strength)
    return a

@pytest.mark.parametrize('how', ['ruled','squared','margin'])
@pytest.mark.parametrize('ink,strength', [(40,30), (40,130), (110,90)])
def test_lines_of_the_paper_are_no_digits_and_cut_none(how, ink, strength, readers):
    found = prepare_sheet(ruled(how, ink, strength))
    assert [readers['convnet'](o).argmax().item() for _,o in found]==[6,0,8]
    with pytest.raises(ValueError, match='empty'): prepare(ruled(how, ink, strength, ()))

def test_lines_that_stay_are_digits_to_those_who_look(monkeypatch):
    monkeypatch.setattr('digits_fastai.app.draw._without_lines', lambda ink: ink)
    assert len(prepare_sheet(ruled('ruled', 110, 90)))!=3

@pytest.mark.parametrize('chalk', [False,True])
def test_a_digit_that_fills_its_picture_is_read(chalk, readers):
    large = np.asarray(drawn(5, side=700, width=65))
    rows,cols = (np.flatnonzero((large<128).any(axis)) for axis in (1,0))
    tight = large[rows[0]:rows[-1]+1,cols[0]:cols[-1]+1]
    (_,digit), = prepare_sheet(255-tight if chalk else tight)
    assert readers['convnet'](digit).argmax()==5

def read_photos(readers, test_set, n):
    "Of `n` photos: how many digits the convnet reads as MNIST has them, and how many of those in the photo."
    from photos import sixty
    x,y = test_set
    taken = sixty(x.numpy(), y.tolist(), n)
    clean = readers['convnet'](x[[i for *_,i in taken]]).argmax(1).tolist()
    of_those = [o for o,said in zip(taken, clean) if o[1]==said]
    seen = [[readers['convnet'](o).argmax().item() for _,o in prepare_sheet(read_drawing(data))] for data,_,_ in of_those]
    return len(of_those),sum(said==[label] for said,(_,label,_) in zip(seen, of_those))

def test_photos_are_read_nearly_as_well_as_clean_digits(readers, test_set):
    clean,photos = read_photos(readers, test_set, 10)
    assert photos>=.9*clean>0

@pytest.mark.slow # ten of them are above
def test_of_sixty_photos_nine_tenths_of_what_is_read_clean_are_read(readers, test_set):
    clean,photos = read_photos(readers, test_set, 60)
    assert clean>=50 and photos>=.9*clean

def test_digits_on_a_photographed_sheet_are_found_in_order(readers, test_set):
    from photos import photo
    x,y = test_set
    chosen = [int((y==d).nonzero()[3]) for d in (2,0,6)]
    found = prepare_sheet(read_drawing(photo([x[i].numpy() for i in chosen], 4, 900, 600)))
    assert [readers['convnet'](o).argmax().item() for _,o in found]==[2,0,6]
    lefts = [box[0] for box,_ in found]
    assert lefts==sorted(lefts)

def test_lines_are_read_one_after_the_other(readers):
    sheet = Image.new('L', (900,600), 255)
    for i,d in enumerate((7,1,4,0,2,9)): sheet.paste(drawn(d, side=220, width=20), (40+i%3*290, 30+i//3*290+10*(i%2)))
    found = prepare_sheet(sheet)
    assert [readers['convnet'](o).argmax().item() for _,o in found]==[7,1,4,0,2,9]

@pytest.mark.parametrize('digits,step', [((2,0,6), 115), ((4,7), 120), ((3,5), 100)])
def test_digits_that_touch_are_cut_apart(digits, step, readers):
    sheet = np.full((300,600), 255, np.uint8)
    for i,d in enumerate(digits):
        place = sheet[40:250,40+i*step:250+i*step]
        np.minimum(place, drawn(d, side=210, width=18), out=place)
    found = prepare_sheet(sheet)
    assert [readers['convnet'](o).argmax().item() for _,o in found]==list(digits)

def test_what_is_wide_and_no_two_digits_stays_whole():
    bar = np.full((300,600), 255, np.uint8)
    bar[140:160,50:550] = 0
    assert len(prepare_sheet(bar))==1
    wide = drawn(7).resize((420,280))
    assert len(prepare_sheet(wide))==1

def test_strokes_of_one_digit_are_one_digit():
    for hand in hands:
        for d in range(10): assert len(prepare_sheet(drawn(d, hand)))==1, (hand,d)

def test_evaluate_gives_the_test_sets_own_figures_for_the_test_sets_own_digits(readers, test_set, full, tmp_path, mnist):
    x,y = test_set
    for d in (1,4,9):
        (tmp_path/str(d)).mkdir()
        for i,o in enumerate(x[y==d][:30]): Image.fromarray(o.numpy()).save(tmp_path/str(d)/f'{i}.png')
    (tmp_path/'.hidden').mkdir()
    (tmp_path/'7').mkdir() # nothing in it yet
    table = evaluate(tmp_path, readers['linear'], full)
    assert table.digit.tolist()==['1','4','9','all'] and table.drawings.tolist()==[30,30,30,90]
    for d,mine,theirs in zip((1,4,9), table.accuracy, table.test_set):
        right = (readers['linear'](x[y==d]).argmax(1)==d).float()
        assert abs(right.mean()-theirs)<1e-5 and abs(right[:30].mean()-mine)<.05
    assert abs(table.accuracy[3]-table.accuracy[:3].mean())<1e-5
    pictures = torch.stack([prepare(o) for o in x[y==4][:30]])
    assert abs(table.unlike[1]-readers['linear'].unlike(pictures).float().mean())<1e-5

@pytest.mark.parametrize('files,said', [
    ({}, 'no drawings'), ({'3/x.png': b'hello'}, 'x.png: it is no picture'),
    ({'three/x.png': b''}, 'drawings of three'), ({'3/e.png': as_png(Image.new('L', (9,9)))}, 'e.png: the picture is empty')],
    ids=['nothing','no picture','another class','an empty one'])
def test_evaluate_says_what_is_wrong_with_a_folder(files, said, readers, full, tmp_path):
    for name,data in files.items():
        (tmp_path/name).parent.mkdir()
        (tmp_path/name).write_bytes(data)
    with pytest.raises(ValueError, match=said): evaluate(tmp_path, readers['linear'], full)
    with pytest.raises(FileNotFoundError, match='there is no folder'): evaluate(tmp_path/'none', readers['linear'])
