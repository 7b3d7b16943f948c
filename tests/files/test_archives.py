"""Archives that lie, climb out, burst or break off: none may write outside its own temporary folder, or leave a thing.

The table has one archive for each way to be bad; below it hypothesis makes good ones, mixes bad members in and flips
bytes.
"""
import gzip,io,lzma,os,sys,tarfile,zipfile
from contextlib import contextmanager
from itertools import count as counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck,given,settings,strategies as st

from digits_fastai.files.archives import ArchiveError,unpack
from server import as_tgz,a_tree,noise,parents,tree


# How to build what no honest tool builds

def member(name, data=b'', kind=tarfile.REGTYPE, mode=0o644, size=None, **kwargs):
    "One member of an archive, as its bytes."
    info = tarfile.TarInfo(name)
    info.type,info.mode,info.size = kind,mode,len(data) if size is None else size
    for k,v in kwargs.items(): setattr(info, k, v)
    return info.tobuf(tarfile.PAX_FORMAT) + data + b'\0'*(-len(data)%512)

def folder(name, mode=0o755): return member(name, kind=tarfile.DIRTYPE, mode=mode)
def symlink(name, to): return member(name, kind=tarfile.SYMTYPE, linkname=to)
def hardlink(name, to): return member(name, kind=tarfile.LNKTYPE, linkname=to)
def device(name, kind): return member(name, kind=kind, devmajor=1, devminor=3)

end = b'\0'*1024
good = folder('tiny') + member('tiny/a.bin', b'a'*700) + folder('tiny/sub') + member('tiny/sub/b.bin', b'b'*10)
good_tree = {'a.bin': b'a'*700, 'sub/b.bin': b'b'*10}

def tar(*members): return good + b''.join(members) + end
def tgz(*members): return gzip.compress(tar(*members), 1, mtime=0)

def padded(data): return data + b'\0'*(-len(data)%512)

def header_with(name, **fields):
    "A member's header with other bytes at some places, and the right sum."
    buf = bytearray(member(name)[:512])
    for at,value in fields.values(): buf[at:at+len(value)] = value
    buf[148:156] = b' '*8
    buf[148:156] = b'%06o\0 ' % sum(buf)
    return bytes(buf)

def long_name_of(n):
    "GNU's record of a long name, n bytes long, before a member: who reads it reads it into memory."
    return header_with('././@LongLink', kind=(156, b'L'), size=(124, b'%011o\0' % n)) + padded(b'x'*n) + member('x')

def pax_of(n):
    return header_with('./PaxHeaders/x', kind=(156, b'x'), size=(124, b'%011o\0' % n)) + padded(b'x'*n) + member('x')

def old_sparse(name, real):
    "GNU's older form of a file with holes: nothing is stored, `real` bytes come out."
    return header_with(name, kind=(156, b'S'), magic=(257, b'ustar  \0'), sparse=(386, b'%011o\0%011o\0' % (real, 0)),
                       real=(483, b'%011o\0' % real))

def new_sparse(name, real):
    heads = dict(map='0,0', size=str(real), name=name, numblocks='1')
    info = tarfile.TarInfo('GNUSparseFile.0/x')
    info.pax_headers = {f'GNU.sparse.{k}': v for k,v in heads.items()}
    return info.tobuf(tarfile.PAX_FORMAT)

def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as z: z.writestr('tiny/a.bin', b'a'*700)
    return buffer.getvalue()

def spoiled(data, at, by=b'\xff'):
    "The same bytes with some of them changed."
    at = at%len(data)
    return data[:at] + bytes(a^b for a,b in zip(data[at:at+len(by)], by)) + data[at+len(by):]

whole = tgz()
broken_header = good[:512*4] + spoiled(good[512*4:], 3, b'\x01') + end # 'tiny/sub' has the wrong sum
up = '../outside/owned'

# name: (archive, the member that the message must name, limits)
hostile = {
    'absolute path': (tgz(member('/tmp/digits_fastai_owned', b'x')), '/tmp/digits_fastai_owned'),
    'absolute after slashes': (tgz(member('//tmp/digits_fastai_owned', b'x')), '/tmp/digits_fastai_owned'),
    'climbs out': (tgz(member(up, b'x')), up),
    'climbs out later': (tgz(member('tiny/../../outside/owned', b'x')), 'tiny/../../outside/owned'),
    'is the folder above': (tgz(folder('tiny/./..'), folder('./..')), '..'),
    'climbs, and stays in': (tgz(member('tiny/sub/../c.bin', b'x')), 'tiny/sub/../c.bin'),
    'symbolic link out': (tgz(symlink('tiny/l', '../../outside')), 'tiny/l'),
    'symbolic link, then a file through it':
        (tgz(symlink('tiny/l', '../../outside'), member('tiny/l/owned', b'x')), 'tiny/l'),
    'symbolic link in the place of the top':
        (gzip.compress(symlink('tiny', '../outside') + member('tiny/owned', b'x') + end), 'tiny'),
    'hard link out': (tgz(hardlink('tiny/h', '../outside/kept')), 'tiny/h'),
    'hard link to nothing': (tgz(hardlink('tiny/h', 'tiny/nothing')), 'tiny/h'),
    'character device': (tgz(device('tiny/null', tarfile.CHRTYPE)), 'tiny/null'),
    'fifo': (tgz(device('tiny/pipe', tarfile.FIFOTYPE)), 'tiny/pipe'),
    'a file where a folder is': (tgz(member('tiny/sub', b'x')), 'tiny/sub'),
    'a folder where a file is': (tgz(folder('tiny/a.bin')), 'tiny/a.bin'),
    'a file below a file': (tgz(member('tiny/a.bin/c.bin', b'x')), 'tiny/a.bin'),
    'one name twice': (tgz(member('tiny/a.bin', b'other')), 'tiny/a.bin'),
    'one name twice, by a dot': (tgz(member('tiny/./a.bin', b'other')), 'a.bin'),
    'backslashes': (tgz(member('tiny\\..\\..\\owned', b'x')), 'owned'),
    'a drive': (tgz(member('C:/owned', b'x')), 'C:'),
    'a name of nothing': (tgz(member('', b'x')), ''),
    'a name with NUL': (tgz(member('tiny/o', pax_headers={'path': 'tiny/a\0b'})), ''),
    'a name too long for any disk': (tgz(member('tiny/' + 'n'*300, b'x')), 'nnnnnnnn'),
    'too deep for any disk': (tgz(member('tiny/' + 'd/'*3000 + 'x', b'x')), ''),
    'too many files': (tgz(*(member(f'tiny/{i}') for i in range(20))), 'tiny/', dict(max_files=12)),
    'too many folders': (tgz(*(folder(f'tiny/{i}') for i in range(50))), '', dict(max_files=12)),
    'too many bytes': (tgz(member('tiny/big', bytes(3000))), 'tiny/big', dict(max_bytes=2000)),
    'gzip bomb': (tgz(member('tiny/bomb', bytes(40_000_000))), 'tiny/bomb', dict(max_bytes=1_000_000)),
    'a size that nothing holds': (tgz(member('tiny/big', size=10**13)), 'tiny/big'),
    'a size below nothing': (tgz(header_with('tiny/n', size=(124, b'\xff'*12))), ''),
    'sparse bomb': (tgz(old_sparse('tiny/sparse', 8*2**30-1)), 'tiny/sparse'),
    'sparse bomb, newer': (tgz(new_sparse('tiny/sparse', 10**15)), 'tiny/sparse'),
    'a name of many bytes': (tgz(long_name_of(40_000_000)), '', dict(max_bytes=1_000_000)),
    'a pax header of many bytes': (tgz(pax_of(40_000_000)), '', dict(max_bytes=1_000_000)),
    'empty file': (b'', None),
    'plain text': (b'<html>Please log in</html>\n'*40, None),
    'noise': (noise(5000), None),
    'zip': (zipped(), None),
    'tar without gzip': (tar(), None),
    'xz': (lzma.compress(tar()), None),
    'gzip of nothing': (gzip.compress(b''), None),
    'empty archive': (gzip.compress(end), None),
    'nothing but a folder': (gzip.compress(folder('tiny') + end), None),
    **{f'cut off at {n}': (whole[:n], None) for n in (1, 10, len(whole)//2, len(whole)-9)},
    **{f'{n} bytes short': (whole[:-n], None) for n in (1, 8)},
    'wrong CRC': (spoiled(whole, -8), None),
    'wrong length in the trailer': (spoiled(whole, -4), None),
    'tar cut off in a file': (gzip.compress(tar(member('tiny/c.bin', b'c'*5000))[:-1024-3000]), None),
    'tar cut off between files': (gzip.compress(good), None),
    'tar with a spoiled header': (gzip.compress(broken_header), None),
    'tar with noise for a header': (gzip.compress(good[:512*4] + noise(512) + good[512*4:] + end), None),
}

def everything(path):
    "Names, kinds, sizes, modes and contents of all that lies below `path`."
    found = {}
    for where,folders,names in os.walk(path):
        for o in folders+names:
            o = Path(where)/o
            info = o.lstat()
            what = os.readlink(o) if o.is_symlink() else o.read_bytes() if o.is_file() else ''
            found[o.relative_to(path).as_posix()] = info.st_mode,info.st_mtime_ns if not o.is_dir() else 0,what
    return found

changed,listening = [],[] # such a hook can't be taken away again: it listens only while `listening` is not empty

def audit(event, args):
    if not listening: return
    if event=='open':
        if args[2] is not None and args[2] & (os.O_WRONLY|os.O_RDWR|os.O_CREAT): changed.append(args[0])
    elif event in ('os.mkdir','os.rename','os.symlink','os.link','os.chmod','os.utime','os.chown'):
        first = event=='os.symlink' # what a link says is no path that is written
        changed.extend(o for o in args[first:2] if isinstance(o, (str,bytes,os.PathLike)))

sys.addaudithook(audit)

@contextmanager
def watched():
    "Collects the paths that are written, made, linked or renamed within."
    changed.clear()
    listening.append(1)
    try: yield changed
    finally: listening.clear()

def astray(paths, dest):
    "Those of the paths that are neither `dest` nor in a hidden temporary file or folder beside it."
    beside = [os.path.relpath(os.path.abspath(os.fsdecode(o)), dest.parent) for o in paths if not isinstance(o, int)]
    return [o for o in beside if o!=dest.name and not (o.startswith('.') and not o.startswith('..')) and o!='.']

@pytest.fixture
def place(tmp_path):
    "A folder to unpack into, with neighbours and an older self."
    (tmp_path/'outside').mkdir()
    (tmp_path/'outside'/'kept').write_bytes(b'kept')
    data = tmp_path/'data'
    data.mkdir()
    (data/'neighbour').write_bytes(b'kept, too')
    (data/'tiny').mkdir()
    (data/'tiny'/'old.bin').write_bytes(b'old')
    return data/'tiny'

def refusal(unpack, name, place, tmp_path):
    "Unpack a hostile archive: what is wrong with how it is refused. Nothing else in `tmp_path` must feel a thing."
    body,blamed,*limits = hostile[name]
    archive = tmp_path/'tiny.tgz'
    archive.write_bytes(body)
    before = everything(tmp_path)
    with watched() as paths:
        try: unpack(archive, place, **(limits[0] if limits else {}))
        except ArchiveError as e: said = str(e)
        else: return 'it was not refused'
    if wrong := astray(paths, place): return f'written where it must not be: {wrong}'
    if everything(tmp_path)!=before: return 'something was left behind, or changed'
    if 'tiny.tgz' not in said: return f'the archive is not named: {said}'
    if blamed and not (blamed in said or repr(blamed)[1:-1] in said): return f'{blamed} is not named: {said}'
    if len(said)>2000: return 'the message is as long as the name that it blames'

@pytest.mark.parametrize('name', hostile)
def test_hostile_archives_are_refused_and_nothing_happens(name, place, tmp_path):
    fault = refusal(unpack, name, place, tmp_path)
    assert fault is None, fault
    assert not os.path.lexists('/tmp/digits_fastai_owned')

@pytest.mark.skipif(not hasattr(tarfile, 'data_filter'), reason='this Python has no filters for tar files')
def test_the_standard_librarys_own_filter_would_fail_here(tmp_path):
    "The twin: what the lines that Python's manual recommends would let through is seen."
    def few_lines(archive, dest, max_files=None, max_bytes=None):
        try:
            with tarfile.open(archive) as t: t.extractall(dest, filter='data')
        except (tarfile.TarError,OSError,EOFError,KeyError,ValueError) as e: raise ArchiveError(f'{archive}: {e}')
    faults,left_out = {},('a size','sparse','absolute','too deep')
    harmless = [k for k,o in hostile.items() if len(o[0])<10_000 and not k.startswith(left_out)]
    for i,k in enumerate(harmless):
        (tmp_path/str(i)).mkdir()
        faults[k] = refusal(few_lines, k, tmp_path/str(i)/'data'/'tiny', tmp_path/str(i))
    seen = [k for k,o in faults.items() if o]
    assert len(seen)>=15, seen
    assert {'tar with a spoiled header','wrong CRC','one name twice'} <= {*seen}

def test_a_bomb_is_not_held_in_memory(tmp_path):
    "Neither is what a header says unpacked, nor is more read than was allowed."
    import tracemalloc
    for name in ('gzip bomb', 'a name of many bytes', 'a pax header of many bytes', 'sparse bomb'):
        body,_,*kwargs = hostile[name]
        (tmp_path/'bomb.tgz').write_bytes(body)
        tracemalloc.start()
        with pytest.raises(ArchiveError): unpack(tmp_path/'bomb.tgz', tmp_path/'out', **(kwargs[0] if kwargs else {}))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak<20_000_000, f'{name}: {peak:,} bytes'

# Odd, and no harm in them: unpacked rightly or refused, nothing in between.

odd = {
    'a link within': (tgz(symlink('tiny/l', 'a.bin')), {**good_tree, 'l': b'a'*700}),
    'names that differ in case': (tgz(member('tiny/A.bin', b'x')), {**good_tree, 'A.bin': b'x'}),
    'folders that differ in case': (tgz(member('tiny/SUB/c.bin', b'x')), {**good_tree, 'SUB/c.bin': b'x'}),
    'names that differ in normal form': (tgz(member('tiny/\u00e9', b'x'), member('tiny/e\u0301', b'y')),
                                         {**good_tree, '\u00e9': b'x', 'e\u0301': b'y'}),
    'a hard link within': (tgz(hardlink('tiny/h', 'tiny/a.bin')), {**good_tree, 'h': b'a'*700}),
    'gzip in two pieces': (gzip.compress(tar()[:1500]) + gzip.compress(tar()[1500:]), good_tree),
    'zeros after the end': (whole + b'\0'*2000, good_tree),
    'noise after the end': (whole + noise(100), good_tree),
    'a million zeros after the end': (gzip.compress(tar() + bytes(1_000_000)), good_tree),
    'a new line in a name': (tgz(member('tiny/a\nb', b'x')), {**good_tree, 'a\nb': b'x'}),
    'a dot before all':
        (gzip.compress(folder('./') + folder('./tiny') + member('./tiny/a.bin', b'x') + end), {'a.bin': b'x'}),
    'no folders of their own': (gzip.compress(member('tiny/sub/b.bin', b'b') + end), {'sub/b.bin': b'b'}),
    'a file with a folder\'s slash': (tgz(member('tiny/c.bin/')), {**good_tree, 'c.bin': b''}),
    'a folder twice': (tgz(folder('tiny/sub'), folder('tiny/sub/')), good_tree),
    'files of nothing': (tgz(member('tiny/empty')), {**good_tree, 'empty': b''}),
    'a few holes': (tgz(old_sparse('tiny/sparse', 1000)), {**good_tree, 'sparse': bytes(1000)}),
    'a time before time': (tgz(member('tiny/old', b'x', mtime=-10**12)), {**good_tree, 'old': b'x'}),
    'a time after time': (tgz(member('tiny/new', b'x', mtime=10**17)), {**good_tree, 'new': b'x'}),
    'somebody else\'s':
        (tgz(member('tiny/theirs', b'x', uid=10**9, gid=10**9, uname='nobody-here')), {**good_tree, 'theirs': b'x'}),
}

@pytest.mark.parametrize('name', odd)
def test_odd_archives_are_unpacked_rightly_or_refused(name, place, tmp_path):
    body,expected = odd[name]
    archive = tmp_path/'tiny.tgz'
    archive.write_bytes(body)
    before = everything(tmp_path)
    with watched() as paths:
        try: assert unpack(archive, place)==place
        except ArchiveError: assert everything(tmp_path)==before
        else: assert tree(place)==expected
    assert not astray(paths, place)
    assert sorted(o.name for o in place.parent.iterdir())==['neighbour', 'tiny']

@pytest.mark.parametrize('mode', [0o4755, 0o2755, 0o6777, 0o1777, 0o777, 0o000, 0o200])
def test_modes_are_tamed(tmp_path, mode):
    "No set-user-id, nothing that others may write, nothing that its owner can't read; refusing is as good."
    archive = tmp_path/'tiny.tgz'
    archive.write_bytes(tgz(folder('tiny/d', mode), member('tiny/x', b'x', mode=mode)))
    try: unpack(archive, tmp_path/'out')
    except ArchiveError: return
    for o,least in ((tmp_path/'out'/'x', 0o400), (tmp_path/'out'/'d', 0o700)):
        got = o.stat().st_mode & 0o7777
        assert not got & 0o7022 and got & least==least, f'{o.name} has mode {got:o}'

def test_a_good_archive_is_unpacked_as_it_is(place, tmp_path):
    archive = tmp_path/'tiny.tgz'
    archive.write_bytes(whole)
    with watched() as paths: assert unpack(archive, place)==place
    assert tree(place)==good_tree and not astray(paths, place)
    assert sorted(o.name for o in place.parent.iterdir())==['neighbour', 'tiny']

def test_a_disk_that_takes_two_names_for_one_is_noticed(place, tmp_path, monkeypatch):
    "As the disks of most Macs do with A.bin and a.bin. It stands for any disk on which less comes out than went in."
    archive,real = tmp_path/'tiny.tgz',tarfile.TarFile.extractall
    archive.write_bytes(tgz(member('tiny/A.bin', b'x')))
    def careless(t, path, **kwargs):
        real(t, path, **kwargs)
        (path/'tiny'/'A.bin').replace(path/'tiny'/'a.bin')
    monkeypatch.setattr(tarfile.TarFile, 'extractall', careless)
    before = everything(tmp_path)
    with pytest.raises(ArchiveError, match='one and the same'): unpack(archive, place)
    assert everything(tmp_path)==before

def test_limits_are_not_off_by_one(tmp_path):
    (tmp_path/'tiny.tgz').write_bytes(as_tgz(a_tree(10, 100)))
    total = 10*100
    unpack(tmp_path/'tiny.tgz', tmp_path/'a', max_bytes=total)
    with pytest.raises(ArchiveError): unpack(tmp_path/'tiny.tgz', tmp_path/'b', max_bytes=total-1)
    assert not (tmp_path/'b').exists()

def test_archives_without_a_top_folder_become_the_folder(tmp_path):
    (tmp_path/'a.tgz').write_bytes(gzip.compress(member('x/1', b'1') + member('y/2', b'2') + end))
    assert tree(unpack(tmp_path/'a.tgz', tmp_path/'a'))=={'x/1': b'1', 'y/2': b'2'}
    (tmp_path/'b.tgz').write_bytes(gzip.compress(member('1', b'1') + end))
    assert tree(unpack(tmp_path/'b.tgz', tmp_path/'b'))=={'1': b'1'}

def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises((ArchiveError,FileNotFoundError), match='nothing.tgz'):
        unpack(tmp_path/'nothing.tgz', tmp_path/'out')
    assert not list(tmp_path.iterdir())

def test_a_full_disk_leaves_nothing(tmp_path):
    "A limit on the size of a file stands for the disk that is full: the write fails, like any other."
    resource = pytest.importorskip('resource')
    (tmp_path/'big.tgz').write_bytes(as_tgz({'big': noise(200_000), 'small': b'x'}))
    unpack(tmp_path/'big.tgz', tmp_path/'out')
    before = everything(tmp_path)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        with pytest.raises((ArchiveError,OSError)) as e: unpack(tmp_path/'big.tgz', tmp_path/'out')
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert everything(tmp_path)==before
    assert 'large' in str(e.value), str(e.value) # the system's own words for it


# What hypothesis makes

several = settings(max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=[
    HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large])
letters = st.text('abcdefghijklm0123456789_-. é漢', min_size=1, max_size=8)
names = letters.filter(lambda o: o.strip(' .') and o[-1] not in ' .') # Windows would drop the others' last letters
paths = st.lists(names, min_size=1, max_size=4).map('/'.join)
contents = st.dictionaries(paths, st.binary(max_size=1500), min_size=1, max_size=8)
tried = counter()

def consistent(files):
    "No file lies below another, and no two names are one on some disk."
    import unicodedata
    def key(o): return unicodedata.normalize('NFC', o).casefold()
    every = {p for o in files for p in parents(o)} | set(files)
    return not any(p in files for o in files for p in parents(o)) and len({key(o) for o in every})==len(every)

trees = contents.filter(consistent)

@st.composite
def archives(draw, top='top'):
    "A good archive's files, and its members in an order and with folders that tar allows."
    files = draw(trees)
    body = [member(f'{top}/{k}', v) for k,v in files.items()]
    if draw(st.booleans()): body = [folder(f'{top}/{p}') for o in files for p in parents(o)] + body
    return files,draw(st.permutations(body))

bad_members = st.sampled_from([
    member('/abs', b'x'), member('top/../../up', b'x'), member('../up', b'x'), symlink('top/link', '../../..'),
    symlink('top/link', '/'), hardlink('top/hard', '../../kept'), hardlink('top/hard', 'no/such'),
    device('top/dev', tarfile.CHRTYPE), device('top/fifo', tarfile.FIFOTYPE), old_sparse('top/sparse', 8*2**30-1),
    member('top/big', size=10**13), member('top\\..\\up', b'x'), member('C:/x', b'x'),
    member('top/twice', b'x') + member('top/twice', b'y')])

def put(tmp_path, body):
    "A folder of its own for each example; returns the archive and the place for what is in it."
    here = tmp_path/str(next(tried))
    here.mkdir()
    (here/'a.tgz').write_bytes(body)
    return here/'a.tgz',here/'out'

@several
@given(made=archives(), level=st.sampled_from([0,1,9]))
def test_good_archives_come_out_as_they_went_in(tmp_path, made, level):
    files,body = made
    archive,dest = put(tmp_path, gzip.compress(b''.join(body) + end, level))
    unpack(archive, dest)
    got = {o.relative_to(dest).as_posix(): o.read_bytes() for o in dest.rglob('*') if o.is_file()}
    assert got==files
    assert sorted(o.name for o in archive.parent.iterdir())==['a.tgz', 'out']

@several
@given(made=archives(), bad=bad_members, data=st.data())
def test_one_bad_member_spoils_the_archive(tmp_path, made, bad, data):
    _,body = made
    at = data.draw(st.integers(0, len(body)))
    archive,dest = put(tmp_path, gzip.compress(b''.join(body[:at]) + bad + b''.join(body[at:]) + end, 1))
    with watched() as paths, pytest.raises(ArchiveError): unpack(archive, dest)
    assert not astray(paths, dest)
    assert [o.name for o in archive.parent.iterdir()]==['a.tgz'], 'something was left behind'

def right_or_refused(tmp_path, body, files):
    archive,dest = put(tmp_path, body)
    try: unpack(archive, dest)
    except ArchiveError:
        assert [o.name for o in archive.parent.iterdir()]==['a.tgz'], 'something was left behind'
        return False
    got = {o.relative_to(dest).as_posix(): o.read_bytes() for o in dest.rglob('*') if o.is_file()}
    assert got==files, 'other files than were packed, and not a word'
    return True

@several
@given(made=archives(), at=st.floats(0, 1, exclude_max=True), by=st.binary(min_size=1, max_size=4).filter(any))
def test_flipped_bits_are_noticed(tmp_path, made, at, by):
    files,body = made
    right = gzip.compress(b''.join(body) + end, 1, mtime=0)
    right_or_refused(tmp_path, spoiled(right, int(at*len(right)), by), files)

@several
@given(made=archives(), at=st.floats(0, 1, exclude_max=True), by=st.integers(1, 255))
def test_a_spoiled_header_is_noticed_where_gzip_is_no_help(tmp_path, made, at, by):
    "Spoiled before it was packed: the CRC is right. tar's own sum of a header is left, which any one byte changes."
    files,body = made
    plain = b''.join(body) + end
    starts = [i for i in range(0, len(plain)-1024, 512) if plain[i+257:i+262]==b'ustar']
    at = int(at*len(starts)*512)
    archive,dest = put(tmp_path, gzip.compress(spoiled(plain, starts[at//512] + at%512, bytes([by])), 1))
    try: unpack(archive, dest)
    except ArchiveError: return
    got = {o.relative_to(dest).as_posix(): o.read_bytes() for o in dest.rglob('*') if o.is_file()}
    assert got==files, 'a header was spoiled, and what followed it is gone without a word'

@several
@given(made=archives(), keep=st.floats(0, 1, exclude_max=True))
def test_what_is_cut_off_is_refused(tmp_path, made, keep):
    files,body = made
    right = gzip.compress(b''.join(body) + end, 1, mtime=0)
    assert not right_or_refused(tmp_path, right[:int(keep*len(right))], files)
