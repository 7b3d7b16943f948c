"What is drawn is prepared as MNIST was; the page's server stays up, and polite, whatever it is sent."
import io,json,os,re,signal,socket,threading,time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given,settings,strategies as st
from hypothesis.extra.numpy import array_shapes,arrays
from PIL import Image,ImageDraw

import digits_fastai
from conftest import root
from digits_fastai.draw import (
    centre_mass,crop_ink,evaluate,fit_box,page_models,prepare,quick_models,quick_readers,read_drawing,redraw,to_grey,
    to_ink)
from digits_fastai.page import answer,keep_drawing,page_app
from digits_fastai.predict import load_reader
from digits_fastai.serve import listen,most_bytes
from drawn import Page,as_png,as_url,full_path,hands,home_with_models,page
from test_offline import no_sockets

static = Path(digits_fastai.__file__).parent/'static'

@pytest.fixture(scope='module')
def full(tmp_path_factory): return full_path(tmp_path_factory)

@pytest.fixture(scope='module')
def test_set(full):
    from digits_fastai.images import part_folder
    from digits_fastai.images import load_folder
    return load_folder(part_folder(full, None, ('testing','valid')))[:2]

@pytest.fixture(scope='module')
def home(tmp_path_factory): return home_with_models(tmp_path_factory)

@pytest.fixture(scope='module')
def readers(home): return quick_readers(folder=home/'models'/'digits_fastai'/'mnist', say=pytest.fail)

@pytest.fixture(scope='module')
def served(home, tmp_path_factory):
    "A page that keeps drawings."
    collect = tmp_path_factory.mktemp('collected')
    with page(home, f'port=0, collect={str(collect)!r}') as p:
        p.collect = collect
        yield p

def drawn(digit=3, hand='school', side=280, width=26, ink=0, paper=255):
    im = Image.new('L', (side,side), paper)
    pen = ImageDraw.Draw(im)
    for s in hands[hand][digit]:
        at = [(x*side, y*side) for x,y in s]
        pen.line(at, fill=ink, width=width, joint='curve')
        for x,y in at: pen.ellipse([x-width/2, y-width/2, x+width/2, y+width/2], fill=ink)
    return im

def question(im=None, **more): return dict(image=as_url(as_png(im or drawn())), **more)


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

def seen_in(x):
    assert x.shape==(28,28) and x.dtype==torch.float32 and x.min()==0 and x.max()==1
    rows,cols = (x.max(d).values.nonzero()[:,0] for d in (1,0))
    assert max(rows[-1]-rows[0], cols[-1]-cols[0])<20
    return [((x.sum(d)*torch.arange(28)).sum()/x.sum()).item() for d in (1,0)]

def apart(a, b):
    "Mean difference of prepared pictures; a mass half-way between two pixels may have gone either way."
    near = [a.roll((down,right), (0,1)) for down in (-1,0,1) for right in (-1,0,1)]
    return min((o-b).abs().mean().item() for o in near)

pictures = array_shapes(min_dims=2, max_dims=2, max_side=40).flatmap(lambda s: st.one_of(
    arrays(np.uint8, s), arrays(np.uint8, s, elements=st.sampled_from([0,255]), fill=st.just(0)),
    arrays(np.uint8, s, elements=st.integers(0,255), fill=st.just(255)),
    arrays(np.uint8, (*s,3), fill=st.just(255)), arrays(np.uint8, (*s,4), fill=st.just(0)),
    arrays(np.float32, s, elements=st.floats(0, 1, width=32))))

@settings(max_examples=300, deadline=None)
@given(a=pictures)
def test_any_picture_is_prepared_or_refused_in_a_sentence(a):
    try: x = prepare(a)
    except ValueError as e: assert 'draw a digit first' in str(e)
    else: seen_in(x)

@settings(max_examples=60, deadline=None)
@given(left=st.integers(0,150), top=st.integers(0,150), side=st.integers(110,280), digit=st.integers(0,9),
       tones=st.sampled_from([(0,255),(255,0),(90,230),(200,60)]))
def test_neither_place_nor_size_nor_tone_matters(left, top, side, digit, tones):
    ink,paper = tones
    im = Image.new('L', (440,440), paper)
    im.paste(drawn(digit, side=side, width=max(1, side*26//280), ink=ink, paper=paper), (left,top))
    x = prepare(im)
    seen_in(x)
    assert apart(x, prepare(drawn(digit)))<.05

@pytest.mark.parametrize('mode', ['1','L','P','RGB','RGBA','LA','CMYK','YCbCr','I','I;16','F'])
def test_any_kind_of_picture_will_do(mode):
    im = drawn()
    if mode in ('I','I;16'): odd = Image.fromarray((np.asarray(im).astype(np.int32 if mode=='I' else np.uint16)*257))
    elif mode=='F': odd = Image.fromarray(np.asarray(im).astype(np.float32)*257)
    else: odd = im.convert(mode)
    assert odd.mode==mode and apart(prepare(odd), prepare(im))<.02

@pytest.mark.parametrize('ink', ['black','white','gold'])
def test_what_is_transparent_is_paper(ink):
    mask = Image.fromarray(255-np.asarray(drawn()))
    clear = Image.new('RGBA', (280,280), (0,0,0,0))
    clear.paste(ink, mask=mask)
    assert (prepare(clear)-prepare(drawn())).abs().max()<.02
    buffer = io.BytesIO()
    im = Image.new('P', (280,280), 0)
    im.putpalette([255,255,255,0,0,0])
    im.paste(1, mask=mask.point(lambda v: 255*(v>127)))
    im.save(buffer, 'PNG', transparency=0)
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

def test_the_models_read_redrawn_digits_as_well_as_clean_ones(readers, test_set, mnist):
    x,y = (o[::20] for o in test_set)
    prepared = torch.stack([prepare(o) for o in redraw(x)])
    for name,least in (('pixel similarity',.75), ('linear',.87), ('simple net',.9), ('convnet',.96)):
        clean,drawings = ((readers[name](o).argmax(1)==y).float().mean().item() for o in (x,prepared))
        assert drawings>least and abs(drawings-clean)<.03, name

def test_all_hands_are_read(readers):
    x = torch.stack([prepare(drawn(d, h)) for h in hands for d in range(10)])
    right = readers['convnet'](x).argmax(1)==torch.arange(10).repeat(len(hands))
    assert right.float().mean()>=.9, [(list(hands)[i//10], i%10) for i in (~right).nonzero()[:,0].tolist()]


# bytes, folders, models

@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10**9), byte=st.integers(0,255), keep=st.integers(0, 10**9), cut=st.booleans())
def test_damaged_bytes_are_a_picture_or_a_sentence(at, byte, keep, cut):
    data = bytearray(as_png(drawn(side=60, width=6)))
    data[at%len(data)] = byte
    if cut: data = data[:keep%len(data)]
    try: im = read_drawing(bytes(data))
    except ValueError as e: assert re.search('no PNG or JPEG|pixels: make it smaller', str(e))
    else: assert im.width*im.height<=2**20

def test_what_would_unpack_to_gigabytes_is_refused_unopened():
    data = bytearray(as_png(Image.new('1', (1000,1000))))
    import struct,zlib
    for w,h in ((1025,1024), (60_000,60_000), (2**31-1,2**31-1)):
        data[16:24] = struct.pack('>II', w, h)
        data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, 'big')
        with pytest.raises(ValueError, match='1,048,576 pixels|no PNG'): read_drawing(bytes(data))

@pytest.mark.parametrize('kind', ['GIF','BMP','TIFF','WEBP','ICO'])
def test_only_png_and_jpeg_are_decoded(kind):
    drawn(side=64, width=6).save(f := io.BytesIO(), kind)
    with pytest.raises(ValueError, match='no PNG or JPEG'): read_drawing(f.getvalue())

def test_a_jpeg_will_do():
    drawn().convert('RGB').save(f := io.BytesIO(), 'JPEG')
    assert apart(prepare(read_drawing(f.getvalue())), prepare(drawn()))<.02

def test_evaluate_gives_the_test_sets_own_figures_for_the_test_sets_own_digits(readers, test_set, full, tmp_path):
    x,y = test_set
    for d in (1,4,9):
        for i,o in enumerate(x[y==d][:30]):
            (tmp_path/str(d)).mkdir(exist_ok=True)
            Image.fromarray(o.numpy()).save(tmp_path/str(d)/f'{i}.png')
    (tmp_path/'.hidden').mkdir()
    (tmp_path/'7').mkdir() # nothing in it yet
    table = evaluate(tmp_path, readers['linear'], full)
    assert table.digit.tolist()==['1','4','9','all'] and table.drawings.tolist()==[30,30,30,90]
    for d,mine,theirs in zip((1,4,9), table.accuracy, table.test_set):
        right = (readers['linear'](x[y==d]).argmax(1)==d).float()
        assert abs(right.mean()-theirs)<1e-5 and abs(right[:30].mean()-mine)<.05
    assert abs(table.accuracy[3]-table.accuracy[:3].mean())<1e-5

@pytest.mark.parametrize('files,said', [
    ({}, 'no drawings'), ({'3/x.png': b'hello'}, 'x.png: this is no PNG'), ({'three/x.png': b''}, 'drawings of three'),
    ({'3/e.png': None}, 'e.png: the picture is empty')])
def test_evaluate_says_what_is_wrong_with_a_folder(files, said, readers, tmp_path):
    for name,data in files.items():
        (tmp_path/name).parent.mkdir()
        (tmp_path/name).write_bytes(as_png(Image.new('L', (9,9))) if data is None else data)
    with pytest.raises(ValueError, match=said): evaluate(tmp_path, readers['linear'])
    with pytest.raises(FileNotFoundError, match='there is no folder'): evaluate(tmp_path/'none', readers['linear'])

def test_a_damaged_model_in_the_cache_is_trained_anew(full, tmp_path):
    said = []
    def again(): return quick_readers(said.append, ['pixel similarity'], tmp_path, progress=False)
    first = again()
    (tmp_path/'pixel similarity'/'weights.safetensors').write_bytes(b'half')
    (tmp_path/'not a model').mkdir()
    second = again()
    again()
    assert len(said)==2 and list(second)==['pixel similarity']
    x = torch.rand(5,28,28)
    assert (first['pixel similarity'](x)==second['pixel similarity'](x)).all()

def test_training_for_the_page_leaves_the_dice_alone(full, tmp_path):
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    quick_readers(lambda o: None, ['pixel similarity'], tmp_path, progress=False)
    assert (torch.rand(3)==wanted).all()

def test_other_exports_in_the_cache_are_offered_as_well(home, readers, tmp_path):
    for name in ('linear','a net of mine'): (tmp_path/name).symlink_to(readers['linear'].folder)
    assert list(quick_readers(pytest.fail, ['linear'], tmp_path))==['linear','a net of mine']

def test_a_model_of_other_things_is_refused(readers):
    class Cats:
        vocab,info = ['cat','dog'],{}
    with pytest.raises(ValueError, match='Cats knows cat, dog: this page is for 0 to 9'): page_app({'Cats': Cats()})


# the server, as a process

def test_a_drawing_is_guessed_by_every_model_as_in_python(served, readers):
    status,_,text = served.ask('/guess', question(drawn(7)))
    mine,said = answer(readers, prepare(drawn(7))),json.loads(text)
    assert status==200 and list(said['guesses'])==list(quick_models)
    for name,o in said['guesses'].items():
        here = mine['guesses'][name]
        assert o['label']==here['label'] and abs(o['probability']-here['probability'])<1e-4
    assert said['pixels']==mine['pixels'] and len(said['nearest']['pixels'])==len(said['pixels'])

png = as_png(drawn())
faults = {
    'no JSON': (dict(data=b'{'), 400), 'nothing': (dict(data=b''), 400), 'no UTF-8': (dict(data=b'\xff\xfe{}'), 400),
    'a list': (dict(data=[question()]), 400), 'no image': (dict(data={}), 400),
    'a number': (dict(data=dict(image=3)), 400),
    'deep': (dict(data=b'['*100_000), 400), 'no base64': (dict(data=dict(image='data:image/png;base64,?')), 400),
    'no ASCII': (dict(data=dict(image='ä')), 400),
    'an address': (dict(data=dict(image='http://127.0.0.1/x.png')), 400),
    'no picture': (dict(data=dict(image=as_url(b'hello'))), 422), 'an empty one': (dict(data=dict(image='')), 422),
    'half a picture': (dict(data=dict(image=as_url(png[:500]))), 422),
    'a bomb': (dict(data=dict(image=as_url(as_png(Image.new('1', (9000,9000)))))), 422),
    'an empty paper': (dict(data=question(Image.new('L', (280,280), 255))), 422),
    'too much': (dict(data=b' '*(most_bytes+1)), 413), 'far too much': (dict(data=b' '*20*most_bytes), 413),
    'a form': (dict(data=b'image=3', Content_Type='application/x-www-form-urlencoded'), 415),
    'a file': (dict(data=png, Content_Type='image/png'), 415),
    'a text': (dict(data=b'{}', Content_Type='text/plain'), 415), 'no kind': (dict(data=b'{}', Content_Type=''), 415),
    'many parts': (dict(data=b'--x', Content_Type='multipart/form-data'), 415)}

@pytest.mark.parametrize('fault', faults)
@pytest.mark.parametrize('where', ['/guess','/collect'])
def test_a_fault_gets_a_sentence_and_the_server_lives_on(fault, where, served):
    kwargs,status = faults[fault]
    try: got,headers,text = served.ask(where, **kwargs)
    except (BrokenPipeError,ConnectionResetError): # it didn't want to hear more
        assert fault=='far too much'
    else:
        said = json.loads(text)['error']
        assert got==status and len(said)>12 and 'Traceback' not in text and 'File "' not in text, text
        assert 'content-security-policy' in headers
    assert served.ask('/guess', question())[0]==200

keys = st.sampled_from(['image','label','x'])
json_values = st.recursive(st.none()|st.booleans()|st.floats(allow_nan=False)|st.text(max_size=40), max_leaves=8,
                           extend=lambda o: st.lists(o, max_size=3)|st.dictionaries(keys, o, max_size=3))

@settings(max_examples=80, deadline=None)
@given(data=st.one_of(json_values, st.binary(max_size=60)), where=st.sampled_from(['/guess','/collect']))
def test_no_nonsense_is_the_servers_fault(served, data, where): assert 400<=served.ask(where, data)[0]<500

@pytest.mark.parametrize('where,method,status', [
    ('/nothing', 'GET', 404), ('/guess', 'GET', 405), ('/', 'POST', 405), ('/guess', 'OPTIONS', 405),
    ('/collect', 'DELETE', 405), ('/static/none.js', 'GET', 404), ('/static', 'GET', 404)])
def test_other_addresses_and_methods_are_refused_in_a_sentence(where, method, status, served):
    got,headers,text = served.ask(where, b'' if method=='POST' else None, method)
    if got in (301,307): got,headers,text = served.ask(where+'/')
    assert got==status and len(json.loads(text)['error'])>12 and 'access-control-allow-origin' not in headers

@pytest.mark.parametrize('where', [
    '/static/../page.py', '/static/..%2fpage.py', '/static/%2e%2e/page.py', '/static//etc/passwd', '/../settings.ini',
    '/static/..%5cpage.py', '/static/%00', '/static/....//page.py', '/static/static/../../page.py'])
def test_nothing_but_the_static_files_is_given_away(where, served):
    status,_,text = served.ask(where)
    assert status in (400,404) and 'def ' not in text and 'root:' not in text

def test_every_answer_is_guarded(served):
    for args in (['/'], ['/health'], ['/static/draw.js'], ['/nothing'], ['/guess', b'{'], ['/guess', question()]):
        _,headers,_ = served.ask(*args)
        policy = headers['content-security-policy']
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert 'unsafe' not in policy and 'http' not in policy and '*' not in policy
        assert headers['x-content-type-options']=='nosniff' and headers['x-frame-options']=='DENY'
        assert headers['referrer-policy']=='no-referrer' and 'server' not in headers and 'set-cookie' not in headers

def test_page_and_files_need_nobody_else(served):
    html = served.ask('/')[2]
    files = [served.ask(f'/static/{o.name}')[2] for o in static.iterdir()]
    texts = [o.replace('http://www.w3.org/2000/svg', '') for o in (html, *files)] # that one is a name, not an address
    assert len(texts)>=4 and not [m for o in texts for m in re.findall(r'(?:https?:)?//[\w-]+\.\w+', o)]
    assert not re.search(r'<script(?![^>]*src=)|<style|\son\w+=|style=', html)
    assert set(re.findall(r'(?:src|href)="([^"]+)"', html))=={f'/static/{o.name}' for o in static.iterdir()}

def test_it_is_healthy(served):
    assert json.loads(served.ask('/health')[2])==dict(status='ok', models=list(quick_models))

@pytest.mark.parametrize('host,status', [
    ('127.0.0.1', 200), ('localhost:80', 200), ('[::1]:9', 200), ('evil.example', 421),
    ('127.0.0.1.evil.example:80', 421), ('', 421), ('localhost.evil', 421)])
def test_it_answers_to_its_own_names_only(host, status, served): assert served.ask('/health', Host=host)[0]==status

def test_a_client_that_never_finishes_keeps_nobody_waiting(served):
    host,port = served.address.split(':')
    slow = [socket.create_connection((host, int(port))) for _ in range(30)]
    try:
        for s in slow: s.sendall(f'POST /guess HTTP/1.1\r\nHost: {served.address}\r\nContent-Type: application/json\r\n'
                                 'Content-Length: 1000\r\n\r\n{'.encode())
        assert served.ask('/guess', question())[0]==200
    finally:
        for s in slow: s.close() # in the middle of a question
    assert served.ask('/guess', question())[0]==200

def test_many_at_once_are_all_answered_and_health_is_not_kept_waiting(served):
    got,q = [],question()
    def client():
        for _ in range(3): got.append(served.ask('/guess', q)[0])
    threads = [threading.Thread(target=client) for _ in range(20)]
    for t in threads: t.start()
    waited = []
    while any(t.is_alive() for t in threads):
        start = time.perf_counter()
        assert served.ask('/health')[0]==200
        waited.append(time.perf_counter()-start)
    assert got==[200]*60 and sorted(waited)[len(waited)//2]<1


# drawings that are kept

def files(folder): return sorted(o.relative_to(folder).as_posix() for o in folder.rglob('*') if o.is_file())

def test_a_drawing_is_kept_as_the_course_has_its_data(served):
    before = len(files(served.collect))
    for label,n in (('7',1), ('0',1), ('7',2)):
        said = json.loads(served.ask('/collect', question(drawn(int(label)), label=label))[2])
        assert said==dict(label=label, drawings=n)
    from digits_fastai.images import load_folder
    x,y,names = load_folder(served.collect, cache=False)
    assert names==['0','7'] and y.tolist()==[0,1,1] and len(files(served.collect))==before+3
    assert (x[1]/255-prepare(drawn(7))).abs().max()<.003

@pytest.mark.parametrize('label', ['../3', '..', '.', '/tmp', '', '10', '3/', ' 3', '³', '٣', '3\0', 'C:3', '..\\3',
                                   None, 3, True, ['3'], {'a': 1}])
def test_nothing_is_kept_outside_the_folder(label, served, tmp_path):
    before,around = files(served.collect),files(served.collect.parent)
    status,_,text = served.ask('/collect', question(label=label))
    assert status==422 and 'is no digit' in json.loads(text)['error']
    assert files(served.collect)==before and files(served.collect.parent)==around

def test_a_link_that_leads_outside_is_not_followed(served, tmp_path):
    (served.collect/'5').symlink_to(tmp_path)
    try:
        status,_,text = served.ask('/collect', question(label='5'))
        assert status==422 and 'link' in json.loads(text)['error'] and not files(tmp_path)
    finally: (served.collect/'5').unlink()

def test_a_file_in_the_way_is_an_error_in_a_sentence(served):
    (served.collect/'6').write_text('in the way')
    try:
        status,_,text = served.ask('/collect', question(label='6'))
        assert status==507 and 'could not be kept' in json.loads(text)['error']
    finally: (served.collect/'6').unlink()

def test_a_collection_may_itself_be_reached_by_a_link(tmp_path):
    (tmp_path/'real').mkdir()
    (tmp_path/'link').symlink_to(tmp_path/'real')
    assert keep_drawing(tmp_path/'link', '3', prepare(drawn())).is_relative_to(tmp_path/'real')


# start and end

def test_a_port_that_is_taken_is_named_with_one_that_is_free(home):
    with listen(port=0) as taken:
        port = taken.getsockname()[1]
        code,said = Page(home, f'port={port}').ended()
    free = int(re.search(rf'OSError: port {port} is in use by another program: port (\d+) is free', said).group(1))
    assert code==1 and free!=port and 'training' not in said
    listen(port=free).close()

def test_a_plain_start_finds_a_port_keeps_nothing_and_ends_at_ctrl_c_while_somebody_draws(home):
    try: taken = listen(port=8000)
    except OSError: taken = listen(port=0) # somebody has it already: as well
    with taken, page(home, '') as p:
        assert p.url!='http://127.0.0.1:8000' and any('Port 8000 is in use' in o for o in p.seen)
        status,_,text = p.ask('/collect', question(label='3'))
        assert status==404 and '--collect' in json.loads(text)['error'] and '--collect' in p.ask('/')[2]
        host,port = p.address.split(':')
        idle,busy = (socket.create_connection((host, int(port))) for _ in range(2))
        with idle,busy:
            busy.sendall(f'POST /guess HTTP/1.1\r\nHost: {p.address}\r\nContent-Type: application/json\r\n'
                         'Content-Length: 9\r\n\r\n{'.encode())
            assert p.ask('/health')[0]==200
            start = time.perf_counter()
            code,said = p.interrupt()
            assert code==0 and said.endswith('The page is closed.') and time.perf_counter()-start<8

@pytest.mark.parametrize('host', ['nowhere.invalid','999.1.1.1'])
def test_an_address_that_is_not_ours_is_refused_in_a_sentence(host):
    with pytest.raises(OSError, match=f'nobody can listen at {host}'): listen(host, 0)

def test_models_that_are_given_are_asked_and_the_last_is_chosen(home, readers, tmp_path):
    (tmp_path/'my net').symlink_to(readers['linear'].folder)
    empty = tmp_path/'home'
    empty.mkdir()
    with page(empty, f'model={str(readers["convnet"].folder)!r}, port=0') as p:
        assert json.loads(p.ask('/guess', question(drawn(7)))[2])['guesses']['convnet']['label']=='7'
        assert 'nearest' not in json.loads(p.ask('/guess', question())[2])
    code,said = Page(empty, f'model={str(tmp_path/"none")!r}').ended()
    assert code==1 and re.search(r'(FileNotFoundError|ValueError|OSError): .*none', said)

def test_without_models_they_are_trained_once_and_an_interrupted_training_leaves_no_half(tmp_path):
    "On the stand-in, without a network, as on somebody's train."
    (tmp_path/'sitecustomize.py').write_text(no_sockets)
    env = dict(DIGITS_FASTAI_STRICT=None, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ['PYTHONPATH']]))
    home = tmp_path/'home'
    home.mkdir()
    p = Page(home, 'port=0', **env)
    p.wait_for('training simple net')
    p.process.send_signal(signal.SIGINT)
    assert p.ended()[0]!=0
    there = home/'models'/'digits_fastai'/'standin'
    assert {o.name for o in there.iterdir() if o.name[0]!='.'}<={'pixel similarity','linear','simple net'}
    for o in there.iterdir(): load_reader(o, page_models())
    with page(home, 'port=0', **env) as p:
        trained = [o.split(' on ')[0] for o in p.seen if o.startswith('training')]
        assert trained[-1]=='training convnet' and 'training linear' not in trained
        assert json.loads(p.ask('/guess', question(drawn(0)))[2])['guesses']['convnet']['label']=='0'
    with page(home, 'port=0', **env) as p: assert not [o for o in p.seen if o.startswith('training')]
