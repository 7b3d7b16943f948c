"The page's server, as a process: it stays up, and polite, whatever it is sent, and keeps only what it was asked to."
import json,os,re,signal,socket,threading,time
from pathlib import Path

import pytest
from hypothesis import given,settings,strategies as st
from PIL import Image

import digits_fastai
from digits_fastai.app.draw import prepare,quick_models,quick_readers
from digits_fastai.images import load_folder
from digits_fastai.app.page import answer,draw,listen,most_bytes,page_app
from digits_fastai.nets.predict import load_reader
from drawn import Page,as_png,as_url,drawn,full_path,home_with_models,page
from test_offline import no_sockets

static = Path(digits_fastai.__file__).parent/'app'/'static'

@pytest.fixture(scope='module')
def home(tmp_path_factory): return home_with_models(tmp_path_factory)

@pytest.fixture(scope='module')
def readers(home, tmp_path_factory):
    return quick_readers(pytest.fail, folder=home/'models'/'digits_fastai'/full_path(tmp_path_factory).name)

@pytest.fixture(scope='module')
def served(home, tmp_path_factory):
    "A page that keeps drawings."
    collect = tmp_path_factory.mktemp('collected')
    code = f'''
from digits_fastai.app import page
page.question_seconds = 2 # nobody wants to wait for ten
page.draw(port=0, collect={str(collect)!r})
'''
    with page(home, code=code) as p:
        p.collect = collect
        yield p

def question(im=None, **more): return dict(image=as_url(as_png(im or drawn())), **more)
def files(folder): return sorted(o.relative_to(folder).as_posix() for o in folder.rglob('*') if o.is_file())


# what is asked, and what is answered

def test_a_drawing_is_guessed_by_every_model_as_in_python(served, readers):
    status,_,text = served.ask('/guess', question(drawn(7)))
    mine,said = answer(readers, prepare(drawn(7))),json.loads(text)
    assert status==200 and list(said['guesses'])==list(quick_models)
    for name,o in said['guesses'].items():
        here = mine['guesses'][name]
        assert o['label']==here['label'] and abs(o['probability']-here['probability'])<1e-4
    assert (said['pixels'],said['nearest'])==(mine['pixels'],mine['nearest'])

def test_it_is_healthy(served):
    assert json.loads(served.ask('/health')[2])==dict(status='ok', models=list(quick_models))

png = as_png(drawn())
faults = {
    'no JSON': (dict(data=b'{'), 400), 'nothing': (dict(data=b''), 400), 'no UTF-8': (dict(data=b'\xff\xfe{}'), 400),
    'a list': (dict(data=[question()]), 400), 'deep': (dict(data=b'['*100_000), 400),
    'no image': (dict(data={}), 422), 'a number': (dict(data=dict(image=3)), 422),
    'no base64': (dict(data=dict(image='data:image/png;base64,?')), 422), 'no ASCII': (dict(data=dict(image='ä')), 422),
    'an address': (dict(data=dict(image='http://127.0.0.1/x.png')), 422),
    'no picture': (dict(data=dict(image=as_url(b'hello'))), 422), 'an empty one': (dict(data=dict(image='')), 422),
    'half a picture': (dict(data=dict(image=as_url(png[:500]))), 422),
    'a bomb': (dict(data=dict(image=as_url(as_png(Image.new('1', (9000,9000)))))), 422),
    'an empty paper': (dict(data=question(Image.new('L', (280,280), 255))), 422),
    'too much': (dict(data=b' '*(most_bytes+1)), 413), 'far too much': (dict(data=b' '*20*most_bytes), 413),
    'a form': (dict(data=b'image=3', Content_Type='application/x-www-form-urlencoded'), 415),
    'a text': (dict(data=b'{}', Content_Type='text/plain'), 415), 'no kind': (dict(data=b'{}', Content_Type=''), 415),
    'many parts': (dict(data=b'--x', Content_Type='multipart/form-data'), 415)}

@pytest.mark.parametrize('fault', faults)
@pytest.mark.parametrize('where', ['/guess','/collect'])
def test_a_fault_gets_a_sentence_and_the_server_lives_on(fault, where, served):
    kwargs,status = faults[fault]
    if where=='/collect' and isinstance(kwargs['data'], dict): kwargs = dict(kwargs, data=dict(kwargs['data'], label='3'))
    try: got,headers,text = served.ask(where, **kwargs)
    except (BrokenPipeError,ConnectionResetError): # it didn't want to hear more
        assert fault=='far too much'
    else:
        assert got==status and len(text)>12 and 'Traceback' not in text and 'File "' not in text, text
        assert headers['content-type'].startswith('text/plain') and 'content-security-policy' in headers
    assert served.ask('/guess', question())[0]==200

def test_a_question_in_chunks_is_refused_since_nobody_knows_its_size(served):
    with socket.create_connection(served.address.split(':')) as s:
        s.sendall(f'POST /guess HTTP/1.1\r\nHost: {served.address}\r\nContent-Type: application/json\r\n'
                  'Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n'.encode())
        assert s.recv(99).startswith(b'HTTP/1.1 411')

keys = st.sampled_from(['image','label','x'])
json_values = st.recursive(st.none()|st.booleans()|st.floats(allow_nan=False)|st.text(max_size=40), max_leaves=8,
                           extend=lambda o: st.lists(o, max_size=3)|st.dictionaries(keys, o, max_size=3))

@settings(max_examples=80, deadline=None)
@given(data=st.one_of(json_values, st.binary(max_size=60)), where=st.sampled_from(['/guess','/collect']))
def test_no_nonsense_is_the_servers_fault(served, data, where): assert 400<=served.ask(where, data)[0]<500


# strangers

@pytest.mark.parametrize('where,method,status', [
    ('/nothing', 'GET', 404), ('/guess', 'GET', 405), ('/', 'POST', 405), ('/guess', 'OPTIONS', 405),
    ('/collect', 'DELETE', 405), ('/static/none.js', 'GET', 404), ('/static/', 'GET', 404)])
def test_other_addresses_methods_and_origins_are_refused(where, method, status, served):
    got,headers,text = served.ask(where, b'' if method=='POST' else None, method, Origin='http://evil.example')
    assert (got,'access-control-allow-origin' in headers)==(status,False) and len(text)<30

@pytest.mark.parametrize('where', [
    '/static/../page.py', '/static/..%2fpage.py', '/static/%2e%2e/page.py', '/static//etc/passwd', '/../settings.ini',
    '/static/..%5cpage.py', '/static/%00', '/static/....//page.py', '/static/static/../../page.py'])
def test_nothing_but_the_static_files_is_given_away(where, served):
    status,_,text = served.ask(where)
    assert status in (400,404) and 'def ' not in text and 'root:' not in text

@pytest.mark.parametrize('host,status', [
    ('127.0.0.1', 200), ('localhost:80', 200), ('evil.example', 400), ('127.0.0.1.evil.example:80', 400), ('', 400),
    ('localhost.evil', 400)])
def test_it_answers_to_its_own_names_only(host, status, served): assert served.ask('/health', Host=host)[0]==status

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
    texts = [html, *[served.ask(f'/static/{o.name}')[2] for o in static.iterdir()]]
    texts = [o.replace('http://www.w3.org/2000/svg', '') for o in texts] # that one is a name, not an address
    assert len(texts)>=4 and not [m for o in texts for m in re.findall(r'(?:https?:)?//[\w-]+\.\w+', o)]
    assert not re.search(r'<script(?![^>]*src=)|<style|\son\w+=|style=', html)
    assert set(re.findall(r'(?:src|href)="([^"]+)"', html))=={f'/static/{o.name}' for o in static.iterdir()}


# many

def half_a_question(p, n=1):
    "Connections on which the beginning of a question has been sent."
    host,port = p.address.split(':')
    slow = [socket.create_connection((host, int(port))) for _ in range(n)]
    for s in slow: s.sendall(f'POST /guess HTTP/1.1\r\nHost: {p.address}\r\nContent-Type: application/json\r\n'
                             'Content-Length: 1000\r\n\r\n{'.encode())
    return slow

def test_a_client_that_never_finishes_keeps_nobody_waiting(served):
    slow = half_a_question(served, 30)
    assert served.ask('/guess', question())[0]==200
    for s in slow[1:]: s.close() # in the middle of a question
    assert served.ask('/guess', question())[0]==200
    slow[0].settimeout(20)
    assert slow[0].recv(99).startswith(b'HTTP/1.1 408')
    slow[0].close()

def test_a_hundred_at_once_are_all_answered_and_health_is_not_kept_waiting(served):
    got,q,start = [],question(),threading.Barrier(101)
    def client():
        start.wait()
        got.append(served.ask('/guess', q, timeout=60)[0])
    threads = [threading.Thread(target=client) for _ in range(100)]
    for t in threads: t.start()
    start.wait()
    waited = []
    while any(t.is_alive() for t in threads):
        at = time.perf_counter()
        assert served.ask('/health')[0]==200
        waited.append(time.perf_counter()-at)
    assert got==[200]*100 and sorted(waited)[len(waited)//2]<1


# drawings that are kept

def test_a_drawing_is_kept_as_the_course_has_its_data(served):
    for label,hand,n in (('7','school',1), ('0','school',1), ('7','other',2), ('7','other',2)):
        said = json.loads(served.ask('/collect', question(drawn(int(label), hand), label=label))[2])
        assert said==dict(label=label, drawings=n)
    x,y,names = load_folder(served.collect, cache=False)
    assert names==['0','7'] and y.tolist()==[0,1,1]
    assert min((o/255-prepare(drawn(7))).abs().max() for o in x)<.003

def test_a_drawing_has_one_label_and_can_be_taken_back(served):
    mine = drawn(4, 'shaky')
    before = files(served.collect)
    for label in '494':
        served.ask('/collect', question(mine, label=label))
        new = set(files(served.collect))-set(before)
        assert len(new)==1 and new.pop().startswith(f'{label}/')
    taken = [json.loads(served.ask('/forget', question(mine))[2]) for _ in range(2)]
    assert taken==[dict(forgotten=1), dict(forgotten=0)] and files(served.collect)==before
    assert served.ask('/forget', {})[0]==422

@pytest.mark.parametrize('label', ['../3', '..', '.', '/tmp', '', '10', '3/', ' 3', '³', '٣', '3\0', 'C:3', '..\\3',
                                   None, 3, True, ['3'], {'a': 1}])
def test_nothing_is_kept_outside_the_folder(label, served):
    before = files(served.collect.parent)
    status,_,text = served.ask('/collect', question(label=label))
    assert status==422 and 'is no digit' in text and files(served.collect.parent)==before

def test_a_file_in_the_way_is_an_error_in_a_sentence(served):
    (served.collect/'6').write_text('in the way')
    try:
        status,_,text = served.ask('/collect', question(label='6'))
        assert status==507 and 'could not be kept' in text
    finally: (served.collect/'6').unlink()


# the network

def test_any_loopback_address_is_this_machine(readers, tmp_path):
    with page(tmp_path, f'model={str(readers["linear"].folder)!r}, port=0, host="127.0.0.2"') as p:
        assert p.url.startswith('http://127.0.0.2:') and p.ask('/health')[0]==200 and 'encrypted' not in ' '.join(p.seen)
        assert p.ask('/health', Host='evil.example')[0]==400

def network_page(readers, tmp_path, more=''):
    return page(tmp_path, f'model={str(readers["linear"].folder)!r}, port=0, host="0.0.0.0"{more}')

def test_to_the_network_it_tells_addresses_answers_to_these_only_and_asks_for_a_code(readers, tmp_path):
    with network_page(readers, tmp_path) as p:
        p.wait_for('encrypted')
        url,code = p.url.split('/?code=')
        p.address = url.removeprefix('http://')
        others = [o.split()[-1] for o in p.seen if o.startswith('Others reach it at')]
        assert len(code)>=10 and all(o.endswith(f'/?code={code}') for o in others)
        for where in ('/','/health','/static/draw.js','/?code=','/?code=x','/health?code=%C3%A4'):
            status,_,text = p.ask(where)
            assert status==403 and '?code=' in text
        assert p.ask('/guess', question())[0]==403
        status,headers,_ = p.ask(f'/?code={code}')
        cookie = headers['set-cookie']
        assert (status,headers['location'])==(303,'/') and 'HttpOnly' in cookie and 'samesite=strict' in cookie.lower()
        cookie = cookie.partition(';')[0]
        assert p.ask('/', Cookie=cookie)[0]==200 and p.ask('/guess', question(), Cookie=cookie)[0]==200
        assert p.ask('/', Cookie='digits_code=x')[0]==403
        assert p.ask('/', Cookie=cookie, Host='evil.example')[0]==400, 'another name may be a stranger\'s'
        for o in others: assert p.ask('/', Cookie=cookie, Host=o.split('/')[2])[0]==200

def test_open_asks_for_no_code_and_still_answers_to_its_own_names_only(readers, tmp_path):
    with network_page(readers, tmp_path, ', open=True') as p:
        assert 'everybody there may draw' in p.wait_for('encrypted') and 'code' not in p.url
        assert p.ask('/')[0]==200 and p.ask('/', Host='evil.example')[0]==400

def test_idle_and_half_sent_connections_are_closed_and_keep_nobody_out(served):
    host,port = served.address.split(':')
    many = [socket.create_connection((host, int(port))) for _ in range(260)]
    try:
        for s in many[::3]: s.sendall(f'GET /health HTTP/1.1\r\nHost: {served.address}\r\n'.encode()) # half a question
        for s in many[1::3]: # a whole one, and half another
            s.sendall(f'GET /health HTTP/1.1\r\nHost: {served.address}\r\n\r\nGET /hea'.encode())
        assert served.ask('/guess', question())[0]==200
        deadline = time.monotonic()+15 # the page of these tests waits for 2 seconds, not for 10
        for s in many:
            s.settimeout(max(.1, deadline-time.monotonic()))
            while s.recv(4096): pass # until it is closed; a timeout is an error
    finally:
        for s in many: s.close()
    assert served.ask('/health')[0]==200


# start and end

def test_a_port_that_is_taken_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv('FASTAI_HOME', str(tmp_path))
    with listen(port=0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f'nobody can listen at 127.0.0.1, port {port}'): draw(port=port, say=pytest.fail)
    assert not list(tmp_path.iterdir())

def test_a_plain_start_finds_a_port_keeps_nothing_and_ends_at_ctrl_c_while_somebody_draws(home):
    try: taken = listen(port=8000)
    except OSError: taken = listen(port=0) # somebody has it already: as well
    with taken, page(home, '') as p:
        assert p.url!='http://127.0.0.1:8000'
        assert p.ask('/collect', question(label='3'))[0]==404 and 'It was a' not in p.ask('/')[2]
        host,port = p.address.split(':')
        with socket.create_connection((host, int(port))), half_a_question(p)[0]: # one says nothing at all
            assert p.ask('/health')[0]==200
            start = time.perf_counter()
            code,said = p.interrupt()
            assert code==0 and said.endswith('The page is closed.') and time.perf_counter()-start<8

@pytest.mark.parametrize('host', ['nowhere.invalid','999.1.1.1'])
def test_an_address_that_is_not_ours_is_refused_in_a_sentence(host):
    with pytest.raises(OSError, match=f'nobody can listen at {host}'): listen(host, 0)

def test_models_that_are_given_are_asked_and_nothing_else_is_needed(readers, tmp_path):
    with page(tmp_path, f'model={str(readers["convnet"].folder)!r}, port=0') as p:
        said = json.loads(p.ask('/guess', question(drawn(7)))[2])
        assert said['guesses']['convnet']['label']=='7' and list(said['guesses'])==['convnet'] and 'nearest' not in said
    with pytest.raises((OSError,ValueError), match='none'): draw(tmp_path/'none', port=0, say=pytest.fail)

def test_a_model_of_other_things_is_refused():
    class Cats:
        vocab,info = ['cat','dog'],{}
    with pytest.raises(ValueError, match='Cats knows cat, dog: this page is for 0 to 9'): page_app({'Cats': Cats()})

@pytest.mark.slow # test_draw.py has it in this process
def test_without_models_they_are_trained_once_and_an_interrupted_training_leaves_no_half(tmp_path):
    "On the stand-in, without a network, as on somebody's train."
    (tmp_path/'sitecustomize.py').write_text(no_sockets)
    env = dict(DIGITS_FASTAI_STRICT=None, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ['PYTHONPATH']]))
    home = tmp_path/'home'
    home.mkdir()
    p = Page(home, 'port=0', **env)
    p.wait_for('training simple_net')
    p.process.send_signal(signal.SIGINT)
    assert p.ended()[0]!=0
    there = home/'models'/'digits_fastai'/'digits_standin'
    assert {o.name for o in there.iterdir() if o.name[0]!='.'}<={'pixel similarity','linear','simple_net'}
    for o in there.iterdir(): load_reader(o)
    with page(home, 'port=0', **env) as p:
        trained = [o.split(' on ')[0] for o in p.seen if o.startswith('training')]
        assert trained[-1]=='training convnet' and 'training linear' not in trained
        assert json.loads(p.ask('/guess', question(drawn(0)))[2])['guesses']['convnet']['label']=='0'
    with page(home, 'port=0', **env) as p: assert not [o for o in p.seen if o.startswith('training')]
