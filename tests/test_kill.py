"""Killed at any moment (SIGKILL), with others at work: what is there is whole, and the next call succeeds.

Each of the works below is done once in peace, and its changes of files are counted; then again and again, by processes
that die right before change number n. After each death somebody looks at what is there, and a fresh process does the
work again. It must end with just the files that are there after peaceful work, no more and no fewer. The twins at the
end see careless versions fail all this.
DIGITS_FASTAI_EVERY_KILL=1 kills at every single change of work that makes no more than 300; it takes some minutes.
"""
import hashlib,os,random,shutil,signal,threading,time
from dataclasses import dataclass,field,replace
from pathlib import Path

import pytest

from killing import Nursery
from server import Reply,Server,a_tree,as_tgz,noise,tree

pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='processes that fork are needed')

imports = '''
import hashlib,os,signal,tarfile,time
from pathlib import Path
from urllib.request import urlretrieve
import fastprogress.fastprogress,filelock,netrc,requests
from digits_fastai.files.archives import unpack
from digits_fastai.download import download,standin_path,untar_data
sleep = time.sleep
time.sleep = lambda s: sleep(min(s, .005)) # nobody is in need of a pause here

def read(folder):
    "Every visible file below a folder; FileNotFoundError if one is gone before it is read."
    def gone(e): raise e
    files = {}
    for where,folders,names in os.walk(folder, onerror=gone):
        folders[:] = [o for o in folders if o[0]!='.']
        for o in (os.path.join(where, o) for o in names if o[0]!='.'):
            files[os.path.relpath(o, folder)] = hashlib.md5(Path(o).read_bytes()).hexdigest()
    return files

def digest(folder): return hashlib.md5(repr(sorted(read(folder).items())).encode()).hexdigest()
'''
more_imports = imports + '''
import numpy as np,sklearn.datasets,sklearn.model_selection,torch,PIL.PngImagePlugin
from digits_fastai import images
from digits_fastai.images import load_folder

images._settled = -1 # what was made a moment ago is kept, too

def loaded(path, **kwargs):
    x,y,names = load_folder(path, **kwargs)
    return hashlib.md5(x.numpy().tobytes() + y.numpy().tobytes() + repr((x.shape, y.shape, names)).encode()).hexdigest()
'''

def hashes(files): return {k: hashlib.md5(v).hexdigest() for k,v in files.items()}
def digest(files): return hashlib.md5(repr(sorted(hashes(files).items())).encode()).hexdigest()

def open_nursery(imports):
    o = Nursery(imports, {k: v for k,v in os.environ.items() if not k.lower().endswith('_proxy')})
    try: yield o
    finally: o.close()

@pytest.fixture(scope='module')
def nursery():
    "Children that download and unpack."
    yield from open_nursery(imports)

@pytest.fixture(scope='module')
def big_nursery():
    "Children that know torch and scikit-learn as well, and are born more slowly."
    yield from open_nursery(more_imports)

@pytest.fixture(scope='module')
def server():
    with Server() as s: yield s

old_files,new_files = a_tree(30, 4000),a_tree(30, 4000, seed=5)
old_tgz,new_tgz = as_tgz(old_files),as_tgz(new_files)
old,new = Reply(old_tgz, etag='"old"', piece=8192),Reply(new_tgz, etag='"new"', piece=8192)
is_old,is_new = digest(old_files),digest(new_files)
other_files = {f'{k}.png': v for k,v in list(new_files.items())[:20]} # fewer, and of another kind
is_other,other_tgz = digest(other_files),as_tgz(other_files)
done = dict(works=0, kills=0)

def listing(base):
    "All files, the hidden ones, too."
    return {o.relative_to(base).as_posix() for o in base.rglob('*') if not o.is_dir()} if base.is_dir() else set()

def strays(found, known):
    "The files and folders that should not be there: a temporary folder counts as one, a part and its note as one."
    folders = {p.as_posix() for o in known for p in Path(o).parents}
    def root(o):
        if '.part' in o: return o.split('.part')[0] + '.part'
        above = [p.as_posix() for p in reversed(Path(o).parents)]
        return next((p for p in above if p not in folders), o)
    return {root(o) for o in found-known}

def an_hour_passes(base, known):
    "For what the dead have left: nobody can know at once that they are dead."
    for o in listing(base)-known:
        info = (base/o).lstat()
        os.utime(base/o, (info.st_atime-3600, info.st_mtime-3600), follow_symlinks=False)

def spread(n, most):
    "Numbers from 1 to n: all of them, or about `most`, the first and the last ones among them."
    if os.getenv('DIGITS_FASTAI_EVERY_KILL'): most = 300
    if n<=most: return list(range(1, n+1))
    ends = {*range(1, 2+most//6), *range(n-most//4, n+1)}
    between = most-len(ends)
    return sorted(ends | {1+round(i*(n-1)/between) for i in range(between+1)})


@dataclass
class Work:
    "Something that changes files, done by a process that is going to be killed."
    nursery: Nursery
    code: str # `base` is a folder, `url` where the archive is
    again: str # what a fresh process does after the death
    right: object # is what that gave, `out`, right?
    look: object = lambda base: None # what is wrong with what lies there right after the death
    lay: object = lambda base: base.mkdir() # what was there before
    steps: tuple = () # what the server answers, one request after another
    then: tuple = () # ... after the death; it goes on as before if there are none
    names: dict = field(default_factory=dict) # more variables
    most: int = 20 # how often to kill
    stays: int = 0 # how many things of the dead may lie there even after the next call

    def run(self, server, base, code=None, **kwargs):
        return self.nursery.run(code or self.code, base=base, url=server.url+'/tiny.tgz', **self.names, **kwargs)

    def reset(self, server, base):
        "Everything as it was before; returns what files that are."
        if base.exists(): shutil.rmtree(base)
        self.lay(base)
        server.at('/tiny.tgz', *self.steps)
        return listing(base)

    def in_peace(self, server, base):
        "The changes of files that the work makes, and which files are there at the end."
        self.reset(server, base)
        res = self.run(server, base, watch=base)
        assert res['error'] is None, res['error']
        assert (fault := self.once_more(server, base)) is None, fault
        return res['seen'],listing(base)

    def once_more(self, server, base, expected=None):
        "What is wrong after the next, peaceful call."
        if self.then: server.at('/tiny.tgz', *self.then)
        res = self.run(server, base, self.again)
        if res['error']: return f'the next call failed: {res["error"]}'
        if not self.right(res['out']): return f'the next call gave something else: {res["out"]}'
        if expected is None: return None
        got = {o for o in listing(base) if '.part' not in o or not self.then} # what was begun waits for its end
        if missing := expected-got: return f'too little is there: {missing}'
        if len(left := strays(got, expected))>self.stays: return f'too much is there: {left}'

    def fault_after(self, server, base, before, expected):
        "What is wrong after a death, and after an hour has passed and it is done again."
        if fault := self.look(base): return fault
        if len(left := strays(listing(base), before|expected))>2: return f'too much is left: {left}' # a folder, a note
        an_hour_passes(base, before|expected)
        return self.once_more(server, base, expected)

    def kill_everywhere(self, server, base, most=None):
        "Kill it at many moments, `most` of them if given. Returns the number of deaths, and what was wrong: {change: words}."
        seen,expected = self.in_peace(server, base)
        deaths,faults = 0,{}
        for n in spread(len(seen), min(self.most, most or self.most)):
            before = self.reset(server, base)
            if not self.run(server, base, watch=base, die_at=n)['killed']: continue # this time it made fewer changes
            deaths += 1
            if fault := self.fault_after(server, base, before, expected):
                faults[f'{n}, {seen[n-1]}'.replace(str(base), '')] = fault
        return deaths,faults


# The works

def whole_or_none(*allowed, folder='data/tiny', archive='archive/tiny.tgz', archives=()):
    "A look at a folder and an archive: is each of them one of those that it may be, or not there at all?"
    def look(base):
        if (base/folder).exists() and tree(base/folder) not in allowed: return f'{folder} is half there'
        if (base/archive).exists() and (base/archive).read_bytes() not in archives: return f'{archive} is half there'
    return look

@pytest.fixture(scope='module')
def installed(nursery, server, tmp_path_factory):
    "A cache with the old archive and its folder in it."
    base = tmp_path_factory.mktemp('installed')/'base'
    assert nursery.run('untar_data(url, base=base)', base=base, url=server.at('/tiny.tgz', old))['error'] is None
    return base

@pytest.fixture(scope='module')
def downloads(nursery, server, installed):
    breaks,fetch = old.but(cut=40_000),'untar_data(url, base=base)'
    def copied(base): shutil.copytree(installed, base)
    def archive_only(base): shutil.copytree(installed/'archive', base/'archive')
    fresh = whole_or_none(old_files, archives=[old_tgz])
    both = whole_or_none(old_files, new_files, archives=[old_tgz,new_tgz])
    def gives_old(out): return out==is_old
    ask = f'out = digest({fetch})'
    asked = f'''
try: {ask}
except OSError as e: out = "refused" if "force=True" in str(e) else repr(e)'''
    force = 'untar_data(url, base=base, force=True)'
    return {
        'download': Work(nursery, 'download(url, base+"/x.tgz")',
                         'out = Path(download(url, base+"/x.tgz")).read_bytes().hex()', lambda out: out==old_tgz.hex(),
                         whole_or_none(folder='x', archive='x.tgz', archives=[old_tgz]), steps=(breaks,old)),
        'unpack': Work(nursery, 'unpack(tgz, base+"/tiny")', 'out = digest(unpack(tgz, base+"/tiny"))', gives_old,
                       whole_or_none(old_files, folder='tiny'), names=dict(tgz=installed/'archive/tiny.tgz'), stays=1),
        'untar': Work(nursery, fetch, ask, gives_old, fresh, steps=(breaks,old)),
        'untar, the archive is there': Work(nursery, fetch, ask, gives_old, fresh, archive_only, (Reply(b'', 404),)),
        'force': Work(nursery, force, f'out = [digest({fetch}), digest({force})]',
                      lambda out: out[0] in (is_old,is_new) and out[1]==is_new, both, copied, (new,)),
        'force, and it is something else': Work(
            nursery, force, f'out = [digest({fetch}), digest({force})]',
            lambda out: out[0] in (is_old,is_other) and out[1]==is_other,
            whole_or_none(old_files, other_files, archives=[old_tgz,other_tgz]), copied, (Reply(other_tgz),)),
        'force, from another address': Work( # what the first address gave is never taken for what the second gives
            nursery, f'untar_data("{server.at("/b/tiny.tgz", new)}", base=base, force=True)', asked,
            lambda out: out in (is_old,'refused'), both, copied, (Reply(b'', 404),), stays=2),
        'force, then no network': Work(nursery, force, ask, lambda out: out in (is_old,is_new), both, copied, (new,),
                                       (Reply(b'', 404),), stays=1)} # a note that was being written: till the next one

def pictures(base):
    "Thirty of something, in two folders."
    from PIL import Image
    for i in range(30):
        file = base/'set'/str(3 + 4*(i%2))/f'{i}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes('L', (28,28), noise(784, i)).save(file)
        os.utime(file, (1e9+i,)*2)

@pytest.fixture(scope='module')
def loaded(big_nursery, tmp_path_factory):
    "The pictures, and what load_folder keeps of them."
    base = tmp_path_factory.mktemp('loaded')/'base'
    pictures(base)
    assert big_nursery.run('load_folder(base+"/set")', base=base)['error'] is None
    return base

def truth(base, big_nursery):
    "What load_folder must give: read without what was kept."
    res = big_nursery.run('out = loaded(base+"/set", cache=False)', base=base)
    assert res['out'], res['error']
    return res['out']

@pytest.fixture(scope='module')
def loads(big_nursery, loaded, tmp_path_factory):
    tmp = tmp_path_factory.mktemp('loads')
    def stale(base):
        shutil.copytree(loaded, base)
        (base/'set'/'3'/'0.png').write_bytes((base/'set'/'3'/'2.png').read_bytes())
    pictures(tmp/'a')
    stale(tmp/'b')
    one,other = truth(tmp/'a', big_nursery),truth(tmp/'b', big_nursery)
    assert one!=other
    code,twice = 'load_folder(base+"/set")','out = [loaded(base+"/set") for _ in range(2)]'
    small = big_nursery.run('out = digest(standin_path(base=base))', base=tmp)['out']
    def part_of_standin(base):
        there = base/'data'/'digits_standin_sample'
        if there.exists() and len(tree(there))!=362: return 'it is half there'
    return {
        'load_folder': Work(big_nursery, code, twice, lambda out: out==[one]*2, lay=pictures),
        'load_folder, what was kept is stale': Work(big_nursery, code, twice, lambda out: out==[other]*2, lay=stale),
        'standin_path': Work(big_nursery, 'standin_path(base=base)', 'out = digest(standin_path(base=base))',
                             lambda out: out==small, part_of_standin, most=8)}

@pytest.fixture
def work(request, name):
    return request.getfixturevalue('loads' if name.startswith(('load','standin')) else 'downloads')[name]

every_work = ['download', 'unpack', 'untar', 'untar, the archive is there', 'force',
              'force, and it is something else', 'force, from another address', 'force, then no network', 'load_folder',
              'load_folder, what was kept is stale', 'standin_path']

@pytest.mark.parametrize('most', [5, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize('name', every_work)
def test_killed_at_any_change_of_a_file_the_next_call_succeeds(name, most, work, server, tmp_path):
    deaths,faults = work.kill_everywhere(server, tmp_path/'base', most)
    print(f'{name}: {deaths} processes were killed')
    done['works'] += 1
    done['kills'] += deaths
    assert not faults, '\n'.join(f'{k}: {v}' for k,v in faults.items())
    assert deaths>=(3 if most<6 or name.startswith('load') else 6), 'the harness sees too little of the work'

@pytest.mark.parametrize('name', ['untar','force','load_folder, what was kept is stale',
                                  pytest.param('standin_path', marks=pytest.mark.slow)])
def test_killed_again_and_again_nothing_piles_up(name, work, server, tmp_path):
    "Killed in the work, killed in the work that repairs it, and so on; then it is done in peace."
    base,rng = tmp_path/'base',random.Random(0)
    seen,expected = work.in_peace(server, base)
    before = work.reset(server, base)
    for _ in range(5):
        done['kills'] += work.run(server, base, watch=base, die_at=rng.randint(len(seen)//3, len(seen)))['killed']
        assert work.look(base) is None
        assert len(left := strays(listing(base), before|expected))<=2, left
        an_hour_passes(base, before|expected)
    fault = work.once_more(server, base, expected)
    assert fault is None, fault

@pytest.mark.parametrize('name', ['untar','force','load_folder, what was kept is stale'])
def test_killed_at_random_moments(name, work, server, tmp_path):
    "By the clock this time: within a write, within a rename, anywhere."
    base,rng,deaths = tmp_path/'base',random.Random(0),0
    _,expected = work.in_peace(server, base)
    before = work.reset(server, base)
    start = time.monotonic()
    work.run(server, base)
    took = time.monotonic()-start
    for _ in range(8):
        before = work.reset(server, base)
        child = work.nursery.start(work.code, base=base, url=server.url+'/tiny.tgz', **work.names)
        time.sleep(rng.uniform(0, took))
        os.kill(child, signal.SIGKILL) # if it has ended, its number is still its own until the nursery is asked for it
        deaths += work.nursery.wait(child)['killed']
        fault = work.fault_after(server, base, before, expected)
        assert fault is None, fault
    done['kills'] += deaths

def wait_for(what, *args):
    "Until `what(*args)` is true; ten seconds at most."
    for _ in range(2000):
        if what(*args): return
        time.sleep(.005)
    assert what(*args), 'it did not come so far in ten seconds'

def fetched(base, n): return sum(o.stat().st_size for o in base.glob('archive/*.part'))>=n

def test_killed_while_bytes_trickle_in_the_next_call_resumes(nursery, server, tmp_path):
    "Killed by another process, in the middle of reading; each next call goes on, and the last one ends with all of it."
    base,files,calls = tmp_path/'base',a_tree(30, 20_000),12
    tgz = as_tgz(files)
    url = server.at('/tiny.tgz', *[Reply(tgz, etag='"a"', piece=2048, gap=.0005)]*calls, Reply(tgz, etag='"a"'))
    for i in range(calls):
        child = nursery.start('untar_data(url, base=base)', base=base, url=url)
        wait_for(fetched, base, (i+1)*len(tgz)//(calls+2))
        os.kill(child, signal.SIGKILL)
        assert nursery.wait(child)['killed']
        assert not (base/'data'/'tiny').exists() and not (base/'archive'/'tiny.tgz').exists()
    assert nursery.run('out = digest(untar_data(url, base=base))', base=base, url=url)['out']==digest(files)
    asked = [int(o.removeprefix('bytes=').rstrip('-')) if o else 0 for o in server.ranges('/tiny.tgz')]
    assert asked==sorted(asked) and asked[-1]>len(tgz)*.8, f'it did not go on where it was killed: {asked}'
    done['kills'] += calls

def test_stopped_by_ctrl_c_the_next_call_resumes(nursery, server, tmp_path):
    base = tmp_path/'base'
    url = server.at('/tiny.tgz', old.but(cut=40_000, hold=True), old)
    code = 'signal.signal(signal.SIGINT, signal.default_int_handler); untar_data(url, base=base)'
    child = nursery.start(code, base=base, url=url)
    wait_for(fetched, base, 1)
    os.kill(child, signal.SIGINT)
    assert nursery.wait(child)['error'].startswith('KeyboardInterrupt') and not (base/'data'/'tiny').exists()
    assert nursery.run('out = digest(untar_data(url, base=base))', base=base, url=url)['out']==is_old
    assert server.ranges('/tiny.tgz')[1], 'it began anew'


# Several at once

def ask_together(nursery, server, base, code, n=3):
    "Several processes ask for the archive before its first byte is sent. Returns how they ended."
    asked = threading.Event()
    url = server.at('/tiny.tgz', old.but(watch=lambda sent: asked.wait(5)))
    children = [nursery.start(code, base=base, url=url) for _ in range(n)]
    time.sleep(.2)
    asked.set()
    return [nursery.wait(o) for o in children]

def test_processes_that_ask_at_once_download_once(nursery, server, tmp_path):
    ends = ask_together(nursery, server, tmp_path, 'out = digest(untar_data(url, base=base))')
    assert [o['out'] for o in ends]==[is_old]*3, ends
    assert len(server.ranges('/tiny.tgz'))==1, 'it was downloaded more than once'

def test_processes_that_download_to_one_file(nursery, server, tmp_path):
    ends = ask_together(nursery, server, tmp_path, 'out = Path(download(url, base+"/x.tgz")).stat().st_size')
    assert [o['out'] for o in ends]==[len(old_tgz)]*3, ends
    assert (tmp_path/'x.tgz').read_bytes()==old_tgz and not list(tmp_path.glob('*.part*'))

def test_one_that_is_killed_leaves_the_rest_to_another(nursery, server, tmp_path):
    "The second waits for the first; when that dies, it goes on."
    url = server.at('/tiny.tgz', old.but(cut=40_000, hold=True), old)
    first = nursery.start('untar_data(url, base=base)', base=tmp_path, url=url)
    wait_for(fetched, tmp_path, 1)
    second = nursery.start('out = digest(untar_data(url, base=base))', base=tmp_path, url=url)
    time.sleep(.1)
    os.kill(first, signal.SIGKILL)
    assert nursery.wait(first)['killed'] and nursery.wait(second)['out']==is_old
    assert len(server.ranges('/tiny.tgz'))==2 and server.ranges('/tiny.tgz')[1], 'it began anew'
    done['kills'] += 1

def test_two_that_force_at_once(nursery, server, installed, tmp_path):
    base = tmp_path/'base'
    shutil.copytree(installed, base)
    url = server.at('/tiny.tgz', new)
    code = 'for _ in range(4): untar_data(url, base=base, force=True)'
    children = [nursery.start(code, base=base, url=url) for _ in range(2)]
    for o in map(nursery.wait, children): assert o['error'] is None, o
    assert tree(base/'data'/'tiny')==new_files
    assert listing(base)==listing(installed), 'something is left'

reading = '''
out = dict(reads=0, gaps=0, faults=[])
def which(path): return os.stat(path).st_ino,os.stat(path).st_ctime_ns
while not os.path.exists(stop):
    path = untar_data(url, base=base)
    try:
        was = which(path)
        files = read(path)
        same = was==which(path)
    except FileNotFoundError: same = False
    out['reads' if same else 'gaps'] += 1 # a gap: another folder was put in its place while we read
    if not same: continue
    if files not in (old,new): out['faults'].append(len(files))
'''

def test_a_reader_during_a_writer(nursery, server, installed, tmp_path):
    "While one makes the folder anew again and again, others ask for it and read it: no error, no half, no mixture."
    base,stop = tmp_path/'base',tmp_path/'stop'
    shutil.copytree(installed, base)
    url = server.at('/tiny.tgz', *[new,old]*8)
    known = dict(old=hashes(old_files), new=hashes(new_files))
    readers = [nursery.start(reading, base=base, url=url, stop=stop, **known) for _ in range(2)]
    writer = nursery.run('for _ in range(15): untar_data(url, base=base, force=True)', base=base, url=url)
    stop.touch()
    ends = [nursery.wait(o) for o in readers]
    assert not any(o['error'] for o in (writer,*ends)), (writer,ends)
    print(*(o['out'] for o in ends))
    assert all(not o['out']['faults'] and o['out']['reads']>o['out']['gaps'] for o in ends), ends
    assert listing(base)==listing(installed)

spoiling = '''
def spoil(file, i):
    try:
        with open(file, 'r+b') as f:
            if i%2: f.truncate(os.path.getsize(file)//2)
            f.seek(5000)
            f.write(b'spoiled')
    except FileNotFoundError: pass # another process's, and done with

for i in range(20):
    os.utime(base+"/set/3/0.png", (1e9, 1e9+i)) # what was kept is out of date
    assert loaded(base+"/set")==right
    for where,_,names in os.walk(base):
        for o in names:
            if o[0]=='.' or '/.' in where: spoil(os.path.join(where, o), i)
    assert loaded(base+"/set")==right
'''

def test_loading_while_others_load(big_nursery, loaded, tmp_path):
    "What was kept is made, used and spoiled by four processes at once; nobody gets anything but the pictures."
    base = tmp_path/'base'
    pictures(base)
    right = truth(base, big_nursery)
    codes = [spoiling] + ['for _ in range(30): assert loaded(base+"/set")==right']*3
    children = [big_nursery.start(o, base=base, right=right) for o in codes]
    for o in map(big_nursery.wait, children): assert o['error'] is None, o
    assert big_nursery.run('out = loaded(base+"/set")', base=base)['out']==right
    assert not (left := strays(listing(base), listing(loaded))), left

def test_the_stand_in_is_made_by_four_at_once(big_nursery, tmp_path):
    children = [big_nursery.start('out = len(read(standin_path(base=base)))', base=tmp_path) for _ in range(4)]
    ends = [big_nursery.wait(o) for o in children]
    assert [o['out'] for o in ends]==[362]*4, ends
    assert {o.split('/')[1] for o in listing(tmp_path) if not o.endswith('.lock')}=={'digits_standin_sample'}


# The twins: careless versions, and what the harness says of them

careless_untar = '''
def untar_data(url, base, force=False):
    archive,dest = Path(base)/'archive'/'tiny.tgz',Path(base)/'data'/'tiny'
    if dest.exists() and not force: return dest
    for o in (archive, dest): o.parent.mkdir(parents=True, exist_ok=True)
    if force or not archive.exists(): urlretrieve(url, archive)
    with tarfile.open(archive) as t: t.extractall(dest.parent)
    return dest
'''
careless_load = '''
def load_folder(path, cache=True):
    kept,files = Path(path)/'.decoded',sorted(Path(path).glob('*/*.png'))
    if not kept.exists():
        with open(kept, 'wb') as f:
            for o in files: f.write(np.asarray(PIL.Image.open(o)).tobytes())
    return torch.tensor(list(kept.read_bytes())),torch.tensor([int(o.parent.name) for o in files]),['3','7']
'''

@pytest.mark.parametrize('name', ['untar','force','load_folder'])
def test_the_harness_sees_careless_versions_fail(name, work, server, tmp_path):
    twin = careless_load if 'load' in name else careless_untar
    work = replace(work, code=twin+work.code, again=twin+work.again, steps=[o.but(cut=None) for o in work.steps])
    if 'load' in name: # its pictures have another shape
        pictures(tmp_path/'set')
        seen = work.run(server, tmp_path/'set', work.again)['out']
        work = replace(work, right=lambda out: out==seen)
    deaths,faults = work.kill_everywhere(server, tmp_path/'base')
    assert len(faults)>=deaths//2, f'{deaths} deaths, and only {len(faults)} were noticed: {faults}'

def test_the_harness_sees_careless_versions_get_in_each_others_way(nursery, server, tmp_path):
    ends = ask_together(nursery, server, tmp_path, careless_untar + 'out = digest(untar_data(url, base=base))')
    assert len(server.ranges('/tiny.tgz'))>1 or [o['out'] for o in ends]!=[is_old]*3

def test_enough_processes_were_killed():
    "The last of this file: counts what the others did. Left out where they were not all run."
    if done['works']<len(every_work): pytest.skip('not all of this file was run')
    print(f'{done["kills"]} processes were killed')
    assert done['kills']>=60, done
