"""Downloads from servers that break off, lie, stall and change their mind.

Whatever the server does, there are two ways out: the file, to the last byte, or a DownloadError that says what happened
and nothing under the file's name. In either case the next call, to a server in its right mind, gives the file.
"""
import errno,gzip,hashlib,io,json,os,re,shutil,socket,tarfile,threading,time

import pytest

from digits_fastai.files.archives import ArchiveError
from digits_fastai.download import DownloadError,URLs,cache_folder,digits_path,download,is_standin,untar_data,verify
from digits_fastai.files.atomic import count_files
from server import DeafServer,Reply,Server,a_tree,as_tgz,certificate,noise,redirect,tree

quick = dict(timeout=(.4,.4), retries=3, wait=.01)
body,other = noise(300_000),noise(300_000, seed=1)
monday,tuesday = 'Mon, 01 Jan 2024 00:00:00 GMT','Tue, 02 Jan 2024 00:00:00 GMT'
good = Reply(body, etag='"a"', modified=monday)
new = Reply(other, etag='"b"', modified=tuesday)
cut = good.but(cut=100_000)
bare = Reply(body)
sha = hashlib.sha256(body).hexdigest()

def partly(first=100_000, total='300000', data=None, range=None, **kwargs):
    "An answer that calls itself a part; what it says of itself may be wrong."
    heads = {'Content-Range': range or f'bytes {first}-299999/{total}'}
    return Reply(body[100_000:] if data is None else data, 206, heads, **kwargs)

def raw(data):
    "Bytes instead of an answer."
    def answer(handler, seen):
        handler.close_connection = True
        handler.wfile.write(data)
    return answer

@pytest.fixture(scope='module')
def server():
    with Server() as s: yield s

@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    "No proxies but those of the test, nobody's caches."
    proxies = 'http_proxy','https_proxy','all_proxy','HTTP_PROXY','HTTPS_PROXY','ALL_PROXY'
    for k in (*proxies, 'REQUESTS_CA_BUNDLE','CURL_CA_BUNDLE','SSL_CERT_FILE','SSL_CERT_DIR'):
        monkeypatch.delenv(k, raising=False)
    monkeypatch.setenv('FASTAI_HOME', str(tmp_path/'nobodys'))

@pytest.fixture
def naps(monkeypatch):
    "How long was to be slept, in seconds; hardly anything of it is."
    slept,sleep = [],time.sleep
    def nap(s):
        slept.append(s)
        sleep(min(s, .005))
    monkeypatch.setattr(time, 'sleep', nap)
    return slept

def names(folder):
    "What is in a folder but for locks and notes, which are hidden."
    here = sorted(o.name for o in folder.iterdir()) if folder.is_dir() else []
    return [o for o in here if not (o[0]=='.' and o.endswith(('.lock','.json')))]

def named(e, url, *words):
    "Does an error say what was asked for, and what happened?"
    said = str(e.value)
    assert url in said, f'{url} is not in: {said}'
    for o in words: assert re.search(o, said, re.I), f'{o} is not in: {said}'
    assert len(said)<1000 and '0x7' not in said, f'no words for people: {said}'


# One file

# What is wrong: (the server's replies, the file that must come; or None), then what else must hold:
# words of the error, requests made, share of the file that may be sent in all
right = {
    'nothing': ([good], body, dict(requests=1)),
    'hung up in the middle': ([cut, good], body, dict(ranges=[None,'bytes=100000-'], share=1.01)),
    'reset in the middle': ([good.but(cut=100_000, reset=True), good], body, dict(requests=2, share=1.1)), # kB are lost
    'hung up three times': ([cut, good.but(cut=50_000), good.but(cut=80_000), good], body,
                            dict(ranges=[None,'bytes=100000-','bytes=150000-','bytes=230000-'], share=1.01)),
    'hung up before the last byte': ([good.but(cut=299_999), good], body, dict(share=1.01)),
    'hung up before the first byte': ([good.but(cut=0), good], body, dict(share=1.01)),
    'hung up without a word': ([good.but(cut=-1), good], body, dict(requests=2)),
    'stalled in the middle': ([good.but(cut=100_000, hold=True), good], body, dict(share=1.01)),
    'slow, never silent': ([good.but(piece=20_000, gap=.04)], body, dict(requests=1)), # for longer than the timeout
    'in small pieces': ([good.but(piece=700)], body, dict(requests=1)),
    **{f'{n} once': ([Reply(b'out of order', n), good], body, dict(requests=2)) for n in (429, 500, 503)},
    '500 in the middle': ([cut, Reply(b'out of order', 500), good], body, dict(share=1.01)),
    'no ranges': ([cut.but(ranges=False), good.but(ranges=False)], body, dict(requests=2, share=1.5)),
    'no tags': ([bare.but(cut=100_000), bare], body, dict(share=1.5)),
    'a weak tag': ([Reply(body, etag='W/"a"', cut=100_000), Reply(body, etag='W/"a"')], body, dict(share=1.5)),
    'no length': ([good.but(length=False)], body, dict(requests=1)),
    'chunked': ([good.but(chunked=True)], body, dict(requests=1)),
    'chunked, hung up': ([cut.but(chunked=True), good.but(chunked=True)], body, dict(share=1.5)),
    'a length too great, once': ([good.but(length=1000), good], body, {}),
    'another file, new tag': ([cut, new], other, dict(requests=2)),
    'another file, new tag, If-Range ignored': ([cut, new.but(if_range=False)], other, {}),
    'another file, weak tags, If-Range ignored':
        ([cut.but(etag='W/"a"', modified=None), new.but(etag='W/"b"', modified=None, if_range=False)], other, {}),
    'another file, nothing tells': ([bare.but(cut=100_000), Reply(other)], other, {}),
    'a shorter file': ([cut, new.but(body=other[:50_000])], other[:50_000], {}),
    'another file, twice': ([cut, new.but(cut=100_000), good], body, {}),
    'a part from elsewhere, as long as the right one, once':
        ([cut, partly(data=body[50_000:250_000], range='bytes 50000-249999/300000'), good], body, {}),
    'a part that does not say of what, once': ([cut, Reply(body[100_000:], 206), good], body, {}),
    'a part nobody asked for, once':
        ([Reply(body[:1000], 206, {'Content-Range': 'bytes 0-999/300000'}), good], body, {}),
    'the resumed part breaks off, too':
        ([cut, partly(cut=50_000, etag='"a"', modified=monday), good], body, dict(share=1.5)),
    'a range refused, once': ([cut, Reply(b'', 416, {'Content-Range': 'bytes */300000'}), good], body, {}),
    **{f'redirected ({n})': ([redirect('/elsewhere', n)], body, dict(requests=1)) for n in (301, 302, 307)},
    'redirected in the middle': ([cut, redirect('/elsewhere')], body, dict(share=1.5)),
}

def check_requests(server, path, url, ranges=None, requests=None, share=None):
    log = [o for o in server.log if o.path in (path, '/elsewhere')]
    if requests: assert len([o for o in log if o.path==path])==requests
    if ranges: assert server.ranges(path)==ranges
    if share: assert sum(o.sent for o in log)<=share*len(body), 'it was sent more than once'
    for o in log:
        heads = {k.lower(): v for k,v in o.headers.items()}
        assert heads.get('accept-encoding')=='identity', 'sizes count what is sent, so it must be the file itself'
        assert not heads.get('if-range', '').startswith('W/'), 'a weak tag does not tell bytes apart'

@pytest.mark.parametrize('name', right)
def test_faults_that_pass_end_with_the_file(name, server, tmp_path):
    steps,want,also = right[name]
    server.at('/elsewhere', good)
    url,dest = server.at('/file.bin', *steps),tmp_path/'file.bin'
    assert download(url, dest, **quick)==dest
    assert dest.read_bytes()==want
    assert names(tmp_path)==['file.bin'], 'something is left beside it'
    check_requests(server, '/file.bin', url, **also)

# for ever: (the server's reply or replies, words of the error, requests at most)
wrong = {
    'hangs up': ([good.but(cut=0)], ['connection|ended|broke|closed'], 4),
    'resets': ([good.but(cut=-1, reset=True)], ['connection|reset|broke'], 4),
    'stalls': ([good.but(cut=1000, hold=True)], ['time|second|silent'], 4),
    **{str(n): ([Reply(b'<html>no</html>', n)], [str(n)], 1) for n in (401, 403, 404)},
    **{str(n): ([Reply(b'<html>no</html>', n)], [str(n)], 4) for n in (500, 503, 429)},
    '304': ([Reply(b'', 304)], ['304'], 4),
    '500, and dropped before': ([cut, Reply(b'', 500)], ['500'], 4),
    'redirects for ever': ([redirect('/file.bin')], ['redirect'], 50),
    'redirects to nothing': ([redirect('/nothing')], ['404'], 1),
    'redirects to a file of ours': ([redirect(f'file://{__file__}')], [], 4),
    'redirects to nowhere': ([Reply(b'', 302)], [], 4),
    'nonsense': ([raw(b'what do you want?\r\n\r\n')], [], 4),
    'nonsense for chunks': ([raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello')], [], 4),
    'a part nobody asked for': ([Reply(body[:1000], 206, {'Content-Range': 'bytes 0-999/300000'})], [], 4),
}

@pytest.mark.parametrize('name', wrong)
def test_faults_that_stay_end_with_an_error_and_no_file(name, server, tmp_path):
    steps,words,requests = wrong[name]
    url,dest = server.at('/file.bin', *steps),tmp_path/'file.bin'
    with pytest.raises(DownloadError) as e: download(url, dest, **quick)
    named(e, url, *words)
    assert not dest.exists()
    assert all(o.startswith('file.bin.part') for o in names(tmp_path)), 'what is kept must be what can be resumed'
    assert len(server.ranges('/file.bin'))<=requests
    assert download(server.at('/file.bin', good), dest, **quick).read_bytes()==body, 'the next call is not as good'
    assert names(tmp_path)==['file.bin']

# nobody can say what should come of it, only what must not: another file
doubtful = {
    'a length too great': [good.but(length=1000)],
    'come back in an hour': [Reply(b'busy', 503, {'Retry-After': '3600'}), good],
    'a part from elsewhere, as long as the right one':
        [cut, partly(data=body[50_000:250_000], range='bytes 50000-249999/300000')],
    'a part of another whole': [cut, partly(total='999999')],
    'a part of a whole of unknown length': [cut, partly(total='*', etag='"a"')],
    'a part that does not say of what': [cut, Reply(body[100_000:], 206)],
    'a part too long': [cut, partly(data=body[100_000:] + b'more')],
    'a part too short': [cut, partly(data=body[100_000:-5])],
    'a range refused': [cut, Reply(b'', 416, {'Content-Range': 'bytes */300000'})],
    'a page for all after the first': [cut, Reply(b'<html>log in</html>', 200, {'Content-Type': 'text/html'})],
    'packed on the way': [Reply(gzip.compress(body), 200, {'Content-Encoding': 'gzip'})],
    'packed on the way, from the middle': [cut, Reply(gzip.compress(body[100_000:]), 206, {
        'Content-Encoding': 'gzip', 'Content-Range': 'bytes 100000-299999/300000'})],
    'two lengths': [raw(b'HTTP/1.1 200 OK\r\nContent-Length: 300000\r\nContent-Length: 1000\r\n\r\n' + body)],
    'multipart': [cut, Reply(
        b'--x\r\nContent-Range: bytes 100000-299999/300000\r\n\r\n' + body[100_000:] + b'\r\n--x--', 206,
        {'Content-Type': 'multipart/byteranges; boundary=x'})],
}
pages = {b'<html>log in</html>'} # a whole answer to a fresh request: without a hash, that is the file

@pytest.mark.parametrize('hashed', [False, True])
@pytest.mark.parametrize('name', doubtful)
def test_doubtful_faults_never_give_another_file(name, hashed, server, tmp_path, naps):
    url,dest = server.at('/file.bin', *doubtful[name]),tmp_path/'file.bin'
    kwargs = dict(quick, sha256=sha if hashed else None)
    try: download(url, dest, **kwargs)
    except DownloadError as e:
        assert url in str(e) and not dest.exists()
    else: assert dest.read_bytes()==body or not hashed and dest.read_bytes() in pages
    assert sum(naps)<=60, 'a server can make us wait for ever'
    dest.unlink(missing_ok=True)
    assert download(server.at('/file.bin', good), dest, **kwargs).read_bytes()==body
    assert names(tmp_path)==['file.bin']

# Only a hash can tell.
lies = {
    'a length too small': [good.but(length=-1000)],
    'no length, and hung up': [good.but(length=False, cut=200_000)],
    'one byte is another': [good.but(body=body[:-1] + b'?')],
    'a page': [Reply(b'<html>Please log in</html>', 200, {'Content-Type': 'text/html'})],
    'the archive, labelled as packed on the way': [good.but(headers={'Content-Encoding': 'gzip'})],
    'another file from the middle on, nothing tells': [cut, good.but(body=other)],
}

@pytest.mark.parametrize('name', lies)
def test_a_hash_tells_lies_from_the_file(name, server, tmp_path):
    url,dest = server.at('/file.bin', *lies[name]),tmp_path/'file.bin'
    try: download(url, dest, sha256=sha, **quick)
    except DownloadError as e:
        assert url in str(e) and not dest.exists()
        if 'SHA' in str(e).upper():
            assert sha in str(e) and len(set(re.findall(r'\b[0-9a-f]{64}\b', str(e))))==2, 'both values, please'
            assert names(tmp_path)==[], 'what is known to be wrong is no good to resume from'
    else: assert dest.read_bytes()==body
    assert download(server.at('/file.bin', good), dest, sha256=sha, **quick).read_bytes()==body
    assert names(tmp_path)==['file.bin']


# Resuming where another call, or another process, has left off

def broken_off(server, tmp_path, n=200_000, reply=good):
    "A download that failed after `n` bytes. Returns its URL and file."
    url,dest = server.at('/file.bin', reply.but(cut=n)),tmp_path/'file.bin'
    with pytest.raises(DownloadError): download(url, dest, **{**quick, 'retries': 0})
    assert server.ranges('/file.bin')==[None]
    return url,dest

def parts(tmp_path):
    "The part, and what is written down about it."
    part = tmp_path/'file.bin.part'
    return part,[tmp_path/o for o in names(tmp_path) if o.startswith('file.bin.part') and o!=part.name]

def test_the_next_call_resumes(server, tmp_path):
    url,dest = broken_off(server, tmp_path)
    part,records = parts(tmp_path)
    assert part.read_bytes()==body[:200_000] and len(records)==1
    server.at('/file.bin', good)
    assert download(url, dest, **quick).read_bytes()==body
    [seen] = server.log[-1:]
    assert seen.range=='bytes=200000-' and seen.headers['If-Range']=='"a"'
    assert server.sent('/file.bin')==100_000 and names(tmp_path)==['file.bin']

def test_the_next_call_does_not_resume_another_file(server, tmp_path):
    url,dest = broken_off(server, tmp_path)
    server.at('/file.bin', new)
    assert download(url, dest, **quick).read_bytes()==other

def test_a_part_of_another_url_is_not_resumed(server, tmp_path):
    "Two mirrors may use one tag for two files."
    _,dest = broken_off(server, tmp_path)
    url = server.at('/mirror/file.bin', Reply(other, etag='"a"', modified=monday))
    assert download(url, dest, **quick).read_bytes()==other

damages = {
    'the note is gone': lambda part,note: note.unlink(),
    'the note is cut off': lambda part,note: note.write_bytes(note.read_bytes()[:20]),
    'the note is another thing': lambda part,note: note.write_text('[1, 2]'),
    'the note has other kinds of values': lambda part,note: note.write_text(
        json.dumps({k: [1] for k in json.loads(note.read_text())})),
    'the part is gone': lambda part,note: part.unlink(),
    'the part is empty': lambda part,note: part.write_bytes(b''),
    'the part is shorter than it was': lambda part,note: part.write_bytes(body[:1000]),
    'the part is the whole': lambda part,note: part.write_bytes(body),
}

@pytest.mark.parametrize('name', damages)
def test_a_damaged_beginning_does_no_harm(name, server, tmp_path):
    url,dest = broken_off(server, tmp_path)
    part,[record] = parts(tmp_path)
    damages[name](part, record)
    server.at('/file.bin', good)
    assert download(url, dest, **quick).read_bytes()==body
    assert names(tmp_path)==['file.bin']

@pytest.mark.parametrize('left', [body + b'more than there is', other[:200_000]])
def test_a_foreign_beginning_is_told_by_the_hash(left, server, tmp_path):
    "Somebody else's bytes under our name: the first call may fail, and says so; the second may not."
    url,dest = broken_off(server, tmp_path)
    parts(tmp_path)[0].write_bytes(left)
    server.at('/file.bin', good)
    try: download(url, dest, sha256=sha, **quick)
    except DownloadError as e: assert sha in str(e) and not dest.exists()
    assert download(url, dest, sha256=sha, **quick).read_bytes()==body
    assert names(tmp_path)==['file.bin']

def test_what_nobody_can_go_on_with_is_not_kept(server, tmp_path):
    "A server without tags: nothing tells of which version the part is."
    url = server.at('/file.bin', bare.but(cut=200_000))
    with pytest.raises(DownloadError): download(url, tmp_path/'file.bin', **quick)
    assert names(tmp_path)==[]

def test_a_folder_in_the_way_of_the_part_is_named(server, tmp_path):
    (tmp_path/'file.bin.part').mkdir()
    with pytest.raises((DownloadError,OSError), match='file.bin'):
        download(server.at('/file.bin', good), tmp_path/'file.bin', **quick)


# No server, no name, no network

ways_out = ['again', 'by hand', r'digits_path\(\)']

def test_nobody_listens(tmp_path):
    with socket.socket() as s: # a port that was just given back
        s.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{s.getsockname()[1]}/tiny.tgz'
    with pytest.raises(DownloadError) as e: download(url, tmp_path/'archive'/'tiny.tgz', **quick)
    named(e, url, 'refuse', *ways_out)
    assert names(tmp_path/'archive')==[]

def test_nobody_answers(tmp_path):
    with DeafServer() as deaf:
        start = time.monotonic()
        with pytest.raises(DownloadError) as e:
            download(f'{deaf.url}/tiny.tgz', tmp_path/'tiny.tgz', timeout=(.2,5.), retries=1, wait=.01)
        took = time.monotonic()-start
    named(e, f'{deaf.url}/tiny.tgz', 'time|second|answer', *ways_out)
    assert took<2, f'{took:.1f} s for two attempts of .2 s'

@pytest.mark.parametrize('name', ['getaddrinfo','connect'])
def test_no_network(name, tmp_path, monkeypatch):
    def unknown(*args, **kwargs): raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
    def unreachable(*args, **kwargs): raise OSError(errno.ENETUNREACH, 'Network is unreachable')
    if name=='connect': monkeypatch.setattr(socket.socket, 'connect', unreachable)
    else: monkeypatch.setattr(socket, 'getaddrinfo', unknown)
    host = 'nowhere.invalid' if name=='getaddrinfo' else '127.0.0.1'
    url = f'http://{host}/tiny.tgz'
    with pytest.raises(DownloadError) as e: download(url, tmp_path/'tiny.tgz', **quick)
    named(e, url, 'unreachable|network|name|found|address', *ways_out)
    assert str(tmp_path) in str(e.value), 'by hand, but where?'

no_urls = ['', 'tiny.tgz', 'gopher://127.0.0.1/tiny.tgz', 'http:///tiny.tgz', 'http://[1/tiny.tgz']

@pytest.mark.parametrize('url', no_urls)
def test_what_is_no_url_is_refused(url, tmp_path):
    with pytest.raises((DownloadError,ValueError)) as e: download(url, tmp_path/'tiny.tgz', **quick)
    assert url in str(e.value) and not (tmp_path/'tiny.tgz').exists()


# Certificates and proxies

def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    cert,tls = certificate(tmp_path, 'IP:127.0.0.1')
    with Server(tls=tls) as s:
        url = s.at('/file.bin', good)
        with pytest.raises(DownloadError) as e: download(url, tmp_path/'file.bin', **quick)
        named(e, url, 'certificate')
        assert not s.log and not (tmp_path/'file.bin').exists()

@pytest.mark.parametrize('variable', ['REQUESTS_CA_BUNDLE','SSL_CERT_FILE'])
def test_a_certificate_that_the_environment_vouches_for_is_accepted(variable, tmp_path, monkeypatch):
    cert,tls = certificate(tmp_path, 'IP:127.0.0.1')
    monkeypatch.setenv(variable, str(cert))
    with Server(tls=tls) as s:
        url = s.at('/file.bin', cut, good)
        assert download(url, tmp_path/'file.bin', **quick).read_bytes()==body
        assert s.ranges('/file.bin')==[None, 'bytes=100000-']

def test_a_certificate_for_another_host_is_refused(tmp_path, monkeypatch):
    cert,tls = certificate(tmp_path, 'DNS:elsewhere.example')
    monkeypatch.setenv('REQUESTS_CA_BUNDLE', str(cert))
    monkeypatch.setenv('SSL_CERT_FILE', str(cert))
    with Server(tls=tls) as s:
        with pytest.raises(DownloadError) as e: download(s.at('/file.bin', good), tmp_path/'file.bin', **quick)
    named(e, s.url, 'certificate')
    assert not (tmp_path/'file.bin').exists()

def test_a_ca_bundle_that_is_not_there_is_an_error_in_words(tmp_path, monkeypatch):
    _,tls = certificate(tmp_path, 'IP:127.0.0.1')
    monkeypatch.setenv('REQUESTS_CA_BUNDLE', str(tmp_path/'nothing.pem'))
    with Server(tls=tls) as s:
        with pytest.raises(DownloadError) as e: download(s.at('/file.bin', good), tmp_path/'file.bin', **quick)
    named(e, s.url, 'nothing.pem|certificate')

def test_a_proxy_of_the_environment_is_used(tmp_path, monkeypatch):
    url = 'http://mirror.invalid/file.bin' # a name that nobody has: only a proxy could know it
    with Server() as proxy:
        proxy.at(url, cut, good)
        monkeypatch.setenv('http_proxy', proxy.url)
        assert download(url, tmp_path/'file.bin', **quick).read_bytes()==body
        assert proxy.ranges(url)==[None, 'bytes=100000-']

def test_a_proxy_is_not_used_where_the_environment_says_so(server, tmp_path, monkeypatch):
    with Server() as proxy:
        monkeypatch.setenv('http_proxy', proxy.url)
        monkeypatch.setenv('no_proxy', '127.0.0.1')
        assert download(server.at('/file.bin', good), tmp_path/'file.bin', **quick).read_bytes()==body
        assert not proxy.log

def test_a_proxy_that_is_not_there_is_named(tmp_path, monkeypatch):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        monkeypatch.setenv('http_proxy', f'http://127.0.0.1:{s.getsockname()[1]}')
    with pytest.raises(DownloadError) as e: download('http://mirror.invalid/file.bin', tmp_path/'file.bin', **quick)
    named(e, 'http://mirror.invalid/file.bin', 'proxy')

def test_a_proxy_that_wants_a_password_is_an_error_in_words(tmp_path, monkeypatch):
    with Server() as proxy:
        proxy.at('http://mirror.invalid/file.bin', Reply(b'who?', 407, {'Proxy-Authenticate': 'Basic realm="x"'}))
        monkeypatch.setenv('http_proxy', proxy.url)
        with pytest.raises(DownloadError) as e: download('http://mirror.invalid/file.bin', tmp_path/'file.bin', **quick)
        named(e, 'http://mirror.invalid/file.bin', '407')
        assert len(proxy.log)==1, 'asking again is no password'


# fastai's own addresses, served from here: a proxy whose certificate the environment vouches for

@pytest.fixture
def pretender(tmp_path, monkeypatch):
    "Answers for s3.amazonaws.com."
    cert,tls = certificate(tmp_path, 'DNS:s3.amazonaws.com')
    with Server(tunnel=tls) as proxy:
        for k in ('https_proxy','HTTPS_PROXY'): monkeypatch.setenv(k, proxy.url)
        for k in ('REQUESTS_CA_BUNDLE','SSL_CERT_FILE'): monkeypatch.setenv(k, str(cert))
        yield proxy

size,md5 = 3214948,'2dbc7ec6f9259b583af0072c55816a88' # mnist_sample.tgz, as fastai published them

@pytest.mark.parametrize('n,words', [(1000, ['size', '1,?000', '3,?214,?948']), (size, ['MD5', md5])])
def test_fastais_archives_are_held_against_what_fastai_published(pretender, tmp_path, n, words):
    data = noise(n)
    pretender.at(URLs.MNIST_SAMPLE, Reply(data))
    with pytest.raises(DownloadError) as e: download(URLs.MNIST_SAMPLE, tmp_path/'archive'/'mnist_sample.tgz', **quick)
    assert pretender.tunnels and pretender.log
    named(e, URLs.MNIST_SAMPLE, *words)
    if n==size: named(e, URLs.MNIST_SAMPLE, hashlib.md5(data[:2**20]).hexdigest())
    assert names(tmp_path/'archive')==[]

def test_what_is_not_mnist_never_becomes_mnist(pretender, monkeypatch, naps):
    pretender.at(URLs.MNIST_SAMPLE, Reply(as_tgz(a_tree())))
    with pytest.raises(DownloadError): untar_data(URLs.MNIST_SAMPLE)
    monkeypatch.setenv('DIGITS_FASTAI_STRICT', '1')
    with pytest.raises(DownloadError): digits_path()
    monkeypatch.delenv('DIGITS_FASTAI_STRICT')
    assert is_standin(digits_path())
    assert names(cache_folder('archive'))==[] and names(cache_folder('data'))==['digits_standin_sample']

def test_a_file_put_there_by_hand_is_held_against_it_too(pretender, capsys):
    "With the wrong bytes under the right name the archive is fetched; if that fails, too, the error says so."
    cache_folder('archive').mkdir(parents=True)
    (cache_folder('archive')/'mnist_sample.tgz').write_bytes(as_tgz(a_tree()))
    pretender.at(URLs.MNIST_SAMPLE, Reply(b'no', 404))
    with pytest.raises(DownloadError): untar_data(URLs.MNIST_SAMPLE)
    assert names(cache_folder('data'))==[]
    assert f'expected {size}' in capsys.readouterr().err, 'why it is not used'

def test_verify_says_which_and_both_values(tmp_path):
    (tmp_path/'x.tgz').write_bytes(body)
    assert verify('http://127.0.0.1/x.tgz', tmp_path/'x.tgz', sha256=sha) is None
    assert verify('http://127.0.0.1/x.tgz', tmp_path/'x.tgz', sha256=sha.upper()) is None
    with pytest.raises(DownloadError, match=sha) as e: verify('http://127.0.0.1/x.tgz', tmp_path/'x.tgz', sha256='0'*64)
    assert '0'*64 in str(e.value)
    with pytest.raises((DownloadError,ValueError)): verify('http://127.0.0.1/x.tgz', tmp_path/'x.tgz', sha256='')


# From a URL to a folder

files,files2 = a_tree(),a_tree(seed=7)
tgz,tgz2 = as_tgz(files),as_tgz(files2)
packed = Reply(tgz, etag='"a"', modified=monday)
big = as_tgz(a_tree(3, 500_000)) # more than a MiB, and can't be made smaller

spoiled_archives = {
    'a page': (b'<html>Please log in</html>'*10, tgz),
    'nothing': (b'', tgz),
    'half of it': (tgz[:len(tgz)//2], tgz),
    'all but the last byte': (tgz[:-1], tgz),
    'one byte after the first MiB': (big[:1_300_000] + bytes([big[1_300_000]^1]) + big[1_300_001:], big),
    'the checksum': (tgz[:-8] + bytes(4) + tgz[-4:], tgz),
    'a zip': (b'PK\3\4' + noise(1000), tgz),
    'unpacked on the way': (gzip.decompress(tgz), tgz),
    'packed once more': (gzip.compress(tgz), tgz),
}

@pytest.mark.parametrize('name', spoiled_archives)
def test_a_spoiled_archive_becomes_no_folder_and_is_not_kept(name, server, tmp_path, naps):
    sent,should = spoiled_archives[name]
    url = server.at('/tiny.tgz', Reply(sent, etag='"x"'))
    with pytest.raises((DownloadError,ArchiveError)) as e: untar_data(url, base=tmp_path)
    assert 'tiny.tgz' in str(e.value)
    assert names(tmp_path/'data')==[]
    if name!='packed once more': assert names(tmp_path/'archive')==[] # as a gzip file, that one is whole
    path = untar_data(server.at('/tiny.tgz', Reply(should, etag='"y"')), base=tmp_path)
    assert tree(path)==(a_tree(3, 500_000) if should is big else files)

def test_the_folder_is_made_once_and_whole(server, tmp_path, naps):
    url = server.at('/tiny.tgz', packed)
    path = untar_data(url, base=tmp_path)
    assert path==tmp_path/'data'/'tiny' and tree(path)==files and len(server.log[-1:])==1
    assert (tmp_path/'archive'/'tiny.tgz').read_bytes()==tgz
    assert names(tmp_path/'data')==['tiny'] and names(tmp_path/'archive')==['tiny.tgz']
    assert untar_data(url, base=tmp_path)==path and server.ranges('/tiny.tgz')==[None]

def test_untar_data_resumes(server, tmp_path, naps):
    url = server.at('/tiny.tgz', packed.but(cut=len(tgz)//2), packed)
    assert tree(untar_data(url, base=tmp_path))==files
    assert server.ranges('/tiny.tgz')==[None, f'bytes={len(tgz)//2}-'] and server.sent('/tiny.tgz')==len(tgz)

def test_force_fetches_again(server, tmp_path, naps):
    url = server.at('/tiny.tgz', packed, Reply(tgz2))
    untar_data(url, base=tmp_path)
    assert tree(untar_data(url, base=tmp_path))==files
    assert tree(untar_data(url, base=tmp_path, force=True))==files2
    assert (tmp_path/'archive'/'tiny.tgz').read_bytes()==tgz2

bad_days = {'500': Reply(b'', 500), 'a page': Reply(b'<html>log in</html>'), 'hangs up': packed.but(cut=0),
            'spoiled': Reply(tgz[:-20])}

@pytest.mark.parametrize('day', bad_days)
def test_force_that_fails_loses_nothing(day, server, tmp_path, naps):
    url = server.at('/tiny.tgz', packed)
    path = untar_data(url, base=tmp_path)
    server.at('/tiny.tgz', bad_days[day])
    with pytest.raises((DownloadError,ArchiveError)): untar_data(url, base=tmp_path, force=True)
    assert tree(path)==files
    server.at('/tiny.tgz', Reply(b'', 404))
    assert tree(untar_data(url, base=tmp_path))==files

def test_an_archive_put_there_by_hand_is_used(server, tmp_path, naps):
    (tmp_path/'archive').mkdir()
    (tmp_path/'archive'/'tiny.tgz').write_bytes(tgz)
    url = server.at('/tiny.tgz', Reply(b'no', 404))
    assert tree(untar_data(url, base=tmp_path))==files and not server.ranges('/tiny.tgz')

def test_a_bad_archive_put_there_by_hand_is_not(server, tmp_path, naps):
    (tmp_path/'archive').mkdir()
    (tmp_path/'archive'/'tiny.tgz').write_bytes(tgz[:-100])
    url = server.at('/tiny.tgz', packed)
    try: path = untar_data(url, base=tmp_path)
    except (DownloadError,ArchiveError) as e: assert 'tiny.tgz' in str(e) and names(tmp_path/'data')==[]
    else: assert tree(path)==files

def test_a_hash_is_asked_of_the_archive(server, tmp_path, naps):
    url = server.at('/tiny.tgz', packed)
    with pytest.raises(DownloadError): untar_data(url, base=tmp_path, sha256='0'*64)
    assert names(tmp_path/'data')==[]
    assert tree(untar_data(url, base=tmp_path, sha256=hashlib.sha256(tgz).hexdigest()))==files

def test_an_archive_that_climbs_out_stays_in(server, tmp_path, naps):
    url = server.at('/tiny.tgz', Reply(as_tgz({'../../../owned': b'x', **files})))
    with pytest.raises(ArchiveError, match=r'tiny/\.\.'): untar_data(url, base=tmp_path/'base')
    assert names(tmp_path)==['base'] and names(tmp_path/'base'/'data')==[]

@pytest.mark.parametrize('kind', ['file','folder','symbolic link','hard link'])
def test_an_archive_that_knows_our_note_gains_nothing(kind, server, tmp_path, naps):
    "It may hold a note of its own under our note's name, or a link through which ours would be written into a file."
    path = untar_data(server.at('/tiny.tgz', packed), base=tmp_path)
    notes = [o.name for o in path.iterdir() if o.name.startswith('.')]
    assert notes
    buffer,theirs = io.BytesIO(),b'{"files": 1, "url": "http://elsewhere"}'
    with tarfile.open(fileobj=buffer, mode='w') as t:
        for name in ('tiny/a.bin', *(f'tiny/{o}' for o in notes)):
            info,data = tarfile.TarInfo(name),theirs
            if name=='tiny/a.bin' or kind=='file': info.size = len(data)
            elif kind=='folder': info.type,data = tarfile.DIRTYPE,b''
            elif kind=='symbolic link': info.type,info.linkname,data = tarfile.SYMTYPE,'a.bin',b''
            else: info.type,info.linkname,data = tarfile.LNKTYPE,'tiny/a.bin',b''
            t.addfile(info, io.BytesIO(data))
    url = server.at('/tiny.tgz', Reply(gzip.compress(buffer.getvalue())))
    for _ in range(2):
        try: path = untar_data(url, base=tmp_path, force=True)
        except ArchiveError: assert tree(path)==files
        else: assert tree(path)=={'a.bin': theirs} and untar_data(url, base=tmp_path)==path

def test_two_addresses_with_one_file_name_are_two_things(server, tmp_path, naps):
    "What was asked for, or an error: never what somebody else's archive of that name held."
    a,b = server.at('/a/tiny.tgz', packed),server.at('/b/tiny.tgz', Reply(tgz2))
    assert tree(untar_data(a, base=tmp_path))==files
    try: path = untar_data(b, base=tmp_path)
    except (DownloadError,ArchiveError,ValueError) as e: assert 'tiny' in str(e) and 'force' in str(e)
    else: assert tree(path)==files2

def test_an_archive_of_another_address_is_not_taken(server, tmp_path, naps):
    "The same, when only the archive is left."
    a,b = server.at('/a/tiny.tgz', packed),server.at('/b/tiny.tgz', Reply(tgz2))
    shutil.rmtree(untar_data(a, base=tmp_path))
    try: path = untar_data(b, base=tmp_path)
    except (DownloadError,ArchiveError,ValueError) as e: assert 'tiny' in str(e) and 'force' in str(e)
    else: assert tree(path)==files2

no_names = ['', '/', '/..', '/a/..', '/.tgz', '/..%2f..%2fowned.tgz', '/..\\..\\owned.tgz', '/...tgz']

@pytest.mark.parametrize('end', no_names)
def test_a_url_with_no_decent_name_touches_nothing(end, server, tmp_path, naps):
    "Its last part becomes a file's and a folder's name: it must not become another folder's."
    base = tmp_path/'base'
    (base/'data').mkdir(parents=True)
    (base/'data'/'precious').write_bytes(b'kept')
    server.at(end or '/', packed)
    try: path = untar_data(server.url + end, base=base, force=True)
    except (DownloadError,ArchiveError,ValueError) as e: assert server.url in str(e) or 'name' in str(e)
    else: assert path.parent==base/'data' and tree(path)==files
    assert (base/'data'/'precious').read_bytes()==b'kept' and names(tmp_path)==['base']

@pytest.mark.parametrize('end', ['?version=2', '#top', '?a=/b/c.zip'])
def test_what_follows_the_name_in_a_url_is_left_out(end, server, tmp_path, naps):
    server.at('/tiny.tgz' + end.split('#')[0], packed)
    assert untar_data(f'{server.url}/tiny.tgz{end}', base=tmp_path)==tmp_path/'data'/'tiny'


# Folders that are not whole

def test_a_file_that_is_gone_is_noticed_and_force_repairs(server, tmp_path, naps):
    url = server.at('/tiny.tgz', packed)
    path = untar_data(url, base=tmp_path)
    next(path.rglob('*.bin')).unlink()
    with pytest.raises((DownloadError,ArchiveError), match='force=True') as e: untar_data(url, base=tmp_path)
    assert str(path) in str(e.value) and '29' in str(e.value) and '30' in str(e.value)
    assert tree(untar_data(url, base=tmp_path, force=True))==files
    assert untar_data(url, base=tmp_path)==path

def test_an_emptied_folder_is_noticed(server, tmp_path, naps):
    url = server.at('/tiny.tgz', packed)
    path = untar_data(url, base=tmp_path)
    shutil.rmtree(path)
    path.mkdir()
    with pytest.raises((DownloadError,ArchiveError), match='force=True'): untar_data(url, base=tmp_path)
    path.rmdir()
    assert tree(untar_data(url, base=tmp_path))==files, 'a folder that is gone is made again'

def test_a_file_in_the_folders_place_is_noticed(server, tmp_path, naps):
    url = server.at('/tiny.tgz', packed)
    (tmp_path/'data').mkdir()
    (tmp_path/'data'/'tiny').write_bytes(b'a file')
    with pytest.raises((DownloadError,ArchiveError,OSError), match='tiny'): untar_data(url, base=tmp_path)
    assert (tmp_path/'data'/'tiny').read_bytes()==b'a file'

@pytest.mark.parametrize('full', [False, True])
@pytest.mark.parametrize('n', [0, 5])
def test_half_of_mnist_is_noticed_without_a_record(full, n, tmp_path):
    "As fastai leaves it when it is stopped while it unpacks."
    url = URLs.MNIST if full else URLs.MNIST_SAMPLE
    folder = cache_folder('data')/('mnist_png' if full else 'mnist_sample')
    (folder/'train'/'3').mkdir(parents=True)
    for i in range(n): (folder/'train'/'3'/f'{i}.png').write_bytes(b'x')
    with pytest.raises((DownloadError,ArchiveError), match='force=True') as e: untar_data(url)
    assert re.search('70,?000' if full else '14,?434', str(e.value)) and str(folder) in str(e.value)

def test_hidden_files_and_notes_of_others_do_no_harm(server, tmp_path, naps):
    url = server.at('/tiny.tgz', packed)
    path = untar_data(url, base=tmp_path)
    (path/'.DS_Store').write_bytes(b'x')
    (path/'train'/'.hidden').mkdir()
    (path/'train'/'.hidden'/'x').write_bytes(b'x')
    assert untar_data(url, base=tmp_path)==path

def test_what_load_folder_keeps_in_the_folder_does_no_harm(server, tmp_path, naps):
    from PIL import Image
    from digits_fastai.images import load_folder
    buffer = io.BytesIO()
    Image.new('L', (28,28)).save(buffer, 'png')
    digits = {f'train/{c}/{i}.png': buffer.getvalue() for c in (3,7) for i in range(3)}
    url = server.at('/tiny.tgz', Reply(as_tgz(digits)))
    path = untar_data(url, base=tmp_path)
    for o in (path, path/'train'): load_folder(path/'train')
    assert untar_data(url, base=tmp_path)==path

spoiled_notes = ['', 'nonsense', '{}', '[]', '{"files": "many"}', '{"files": [1], "kind": 3, "url": {}}']

@pytest.mark.parametrize('text', spoiled_notes)
def test_a_spoiled_record_is_noticed_or_does_no_harm(text, server, tmp_path, naps):
    url = server.at('/tiny.tgz', packed)
    path = untar_data(url, base=tmp_path)
    records = [o for o in (tmp_path/'data').rglob('*') if o.is_file() and o.suffix not in ('.bin','.lock')]
    assert records, 'where is the count written down?'
    for o in records: o.write_text(text)
    try: assert untar_data(url, base=tmp_path)==path
    except (DownloadError,ArchiveError) as e: assert 'force=True' in str(e)
    assert tree(untar_data(url, base=tmp_path, force=True))==files

def test_a_folder_without_a_record_is_taken_as_it_is(server, tmp_path, naps):
    "fastai makes no records; for archives that are not its own nobody knows the count."
    url = server.at('/tiny.tgz', Reply(b'', 404))
    (tmp_path/'data'/'tiny').mkdir(parents=True)
    (tmp_path/'data'/'tiny'/'x').write_bytes(b'x')
    assert untar_data(url, base=tmp_path)==tmp_path/'data'/'tiny' and not server.ranges('/tiny.tgz')

def test_a_folder_that_is_a_link_is_followed(server, tmp_path, naps):
    "People keep large data on another disk."
    url = server.at('/tiny.tgz', packed)
    path = untar_data(url, base=tmp_path)
    path.rename(tmp_path/'elsewhere')
    path.symlink_to(tmp_path/'elsewhere')
    assert tree(untar_data(url, base=tmp_path))==files

def test_a_cache_that_may_not_be_written(server, tmp_path, naps):
    "What is there is given; what is not there is an error that names the folder."
    url,more = server.at('/tiny.tgz', packed),server.at('/more.tgz', packed)
    path = untar_data(url, base=tmp_path)
    folders = tmp_path,tmp_path/'data',tmp_path/'archive'
    for o in folders: o.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK): pytest.skip('permissions do not bind this user: root, most likely')
        assert untar_data(url, base=tmp_path)==path
        for address,force in ((url,True), (more,False)):
            with pytest.raises(DownloadError, match=str(tmp_path)): untar_data(address, base=tmp_path, force=force)
    finally:
        for o in folders: o.chmod(0o755)
    assert tree(untar_data(url, base=tmp_path, force=True))==files


# Many at once, in one process

def test_threads_that_ask_at_once_download_once(server, tmp_path, naps):
    asked,got = threading.Event(),[]
    url = server.at('/tiny.tgz', packed.but(watch=lambda n: asked.wait(.3))) # nothing is sent before all have asked
    threads = [threading.Thread(target=lambda: got.append(tree(untar_data(url, base=tmp_path)))) for _ in range(3)]
    for o in threads: o.start()
    time.sleep(.1)
    asked.set()
    for o in threads: o.join(20)
    assert got==[files]*3 and len(server.ranges('/tiny.tgz'))==1

def test_a_whole_folder_is_given_at_once_while_somebody_is_at_work_beside_it(server, tmp_path):
    from filelock import FileLock
    url = server.at('/tiny.tgz', packed)
    dest = untar_data(url, base=tmp_path)
    left = dest.with_name('.tiny-abcdefgh.tmp')
    left.mkdir()
    with FileLock(tmp_path/'archive'/'.tiny.tgz.lock'):
        got = []
        asks = threading.Thread(target=lambda: got.append(untar_data(url, base=tmp_path)), daemon=True)
        asks.start()
        asks.join(10)
        assert got==[dest] and left.is_dir()
    assert untar_data(url, base=tmp_path)==dest and not left.exists(), 'and when nobody is, it is tidied up'

def test_a_full_disk_is_an_error_and_no_file(server, tmp_path):
    "A limit on the size of a file stands for the disk that is full: the write fails, like any other."
    resource = pytest.importorskip('resource')
    url,dest = server.at('/file.bin', good),tmp_path/'file.bin'
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        with pytest.raises(OSError) as e: download(url, dest, **quick)
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert 'file.bin' in str(e.value) and 'large' in str(e.value) # the system's own words for it
    assert not dest.exists() and len(server.ranges('/file.bin'))==1, 'another attempt makes no room'
    assert download(url, dest, **quick).read_bytes()==body
    assert names(tmp_path)==['file.bin']

def test_files_are_counted_while_their_folder_is_being_replaced(tmp_path, monkeypatch):
    "Another process takes a folder away right after we have seen its name: it counts as gone, and nothing fails."
    for name in ('3','7'): (tmp_path/name).mkdir()
    for name in ('3/a.png','7/b.png'): (tmp_path/name).touch()
    real = os.walk
    def walk(folder, **kwargs):
        for where,folders,names in real(folder, **kwargs):
            if where.endswith('7'): shutil.rmtree(where)
            yield where,folders,names
    monkeypatch.setattr('os.walk', walk)
    assert count_files(tmp_path, '.png')==1
