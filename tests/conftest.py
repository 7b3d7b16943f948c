"What all tests share: where things are, the digits, and how to run a command without touching anybody's files."
import os,shutil,signal,subprocess,sys
from configparser import ConfigParser
from pathlib import Path

import pytest

root = Path(__file__).resolve().parents[1]
python = sys.executable

# Comparisons to 1e-6 want one kind of arithmetic: the GPU is kept out. test_learner_edges.py lets it in again, once.
visible_gpus = os.environ.get('CUDA_VISIBLE_DEVICES')
os.environ.update(CUDA_VISIBLE_DEVICES='', MPLBACKEND='agg', PYTHONDONTWRITEBYTECODE='1')
os.environ.setdefault('OMP_NUM_THREADS', '1') # small tensors: threads would only wait for each other
os.environ['no_proxy'] = ','.join(filter(None, [os.getenv('no_proxy'), '127.0.0.1'])) # our own little servers are near

# Ctrl-C is tested, and a shell that starts us in the background may have told us not to listen to it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The package is found whether it is installed or not, here and in the processes that the tests start.
os.environ['PYTHONPATH'] = os.pathsep.join([str(root), *filter(None, [os.getenv('PYTHONPATH')])])
# So are the pages' tools in docs/, and what one test file takes from another, whatever room it is in.
sys.path[:0] = map(str, [root, root/'docs', *(o for o in (root/'tests').iterdir() if o.is_dir() and o.name[0] not in '._')])
sys.dont_write_bytecode = True

from rooms import chapters as all_chapters

chapters = all_chapters()
notebooks = [o.nb for o in chapters]


def settings():
    "What settings.ini says, as a dictionary."
    ini = ConfigParser(delimiters=['='])
    ini.read(root/'settings.ini', encoding='utf-8')
    return dict(ini['DEFAULT'])


def run(*cmd, cwd=None, timeout=300, ok=True, **env):
    "Run a command and return it with its output; a keyword that is None takes a variable out of the environment."
    full = {k: v for k,v in {**os.environ, **env}.items() if v is not None}
    cmd = [str(o) for o in cmd]
    res = subprocess.run(cmd, cwd=cwd, env=full, capture_output=True, text=True, encoding='utf-8', timeout=timeout)
    said = f'{res.stdout[-2000:]}\n{res.stderr[-4000:]}'
    if ok: assert res.returncode==0, f'{" ".join(cmd)[:200]} gave {res.returncode}:\n{said}'
    return res


def in_a_terminal(*cmd, cwd=None):
    "What a command shows on a terminal that pty makes, with all its control characters."
    import pty
    leader,follower = pty.openpty()
    p = subprocess.Popen([str(o) for o in cmd], cwd=cwd, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    seen = b''
    while True:
        try: block = os.read(leader, 4096)
        except OSError: break
        if not block: break
        seen += block
    os.close(leader)
    assert p.wait(60)==0, seen.decode()
    return seen.decode()


def copy_of_repository(dest):
    "All files that are tracked, or new and not ignored; nothing that is built or downloaded."
    listed = subprocess.run(['git', 'ls-files', '-coz', '--exclude-standard'], cwd=root, capture_output=True, text=True)
    if listed.returncode: # no git here, or no clone: leave out what can't be source
        ignore = shutil.ignore_patterns('.*', '__pycache__', '*.egg-info', 'build', 'dist', 'venv', '_docs', '_proc')
        return shutil.copytree(root, dest, ignore=ignore)
    for name in filter(None, listed.stdout.split('\0')):
        if not (root/name).is_file(): continue
        (dest/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root/name, dest/name)
    return dest


def pytest_configure(config):
    for o in ('`torch.jit', "The 'mode.chained"): # torch's and fastai's own
        config.addinivalue_line('filterwarnings', f'ignore:{o}')


# Files in which processes are killed, Ctrl-C is pressed or memory is measured: one worker has them all.
one_worker = {f'test_{o}.py' for o in ('archives','callbacks','checkpoints','cli','formats','images','kill','learner_edges',
                                       'page','scale','streams','tracking')}

@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    "With `-n 2` a file's tests stay together, for what they share is made once."
    from xdist.scheduler import LoadScopeScheduling
    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split('::')[0]
            return 'one worker' if Path(file).name in one_worker else file
    return ByFile(config, log)


def pytest_make_parametrize_id(config, val):
    "Every worker must call a test by the same name, so none has an address in it."
    if ' at 0x' in repr(val): return getattr(val, '__name__', type(val).__name__)


@pytest.fixture(scope='session')
def path(tmp_path_factory):
    "The 3s and 7s in train/ and valid/: MNIST's, or the stand-in's. Never fetched into the cache that people use."
    from digits_fastai.download import cache_folder,digits_path
    if not (cache_folder('data')/'mnist_sample').is_dir():
        os.environ['FASTAI_HOME'] = str(tmp_path_factory.mktemp('fastai'))
    return digits_path()


@pytest.fixture(scope='session')
def mnist(path):
    "The real MNIST_SAMPLE; on the stand-in the test is left out, by name."
    from digits_fastai.download import is_standin
    if is_standin(path): pytest.skip('its figures hold on MNIST only, and MNIST is neither cached nor to be fetched')
    return path
