"The command line as a process: what it prints and writes, and what it says when something is wrong."
import csv,os,re,shutil,subprocess,sys
from pathlib import Path

import pytest

from conftest import python,run
from test_offline import no_sockets

script = shutil.which('digits', path=str(Path(python).parent)) # there if the package is installed
start = [script] if script else [python, '-c', 'from digits_fastai.cli import app; app(prog_name="digits")']

def digits(*args, **kwargs): return run(*start, *args, **{'COLUMNS': '120', **kwargs})

@pytest.fixture(scope='module')
def climbed(path, tmp_path_factory):
    "One quick climb, and the folder that it wrote into."
    out = tmp_path_factory.mktemp('ladder')/'new'/'folder'
    return digits('ladder', '--quick', '--out', out, cwd=out.parents[1]),out

def rows(stdout):
    "The table that was printed: rung -> (accuracy, epochs)."
    found = re.findall(r'^(\S.*?)\s+(\d\.\d{4})\s+(\d+)\s', stdout, re.M)
    return {rung: (float(a), int(n)) for rung,a,n in found}


def test_help_names_the_commands(tmp_path):
    res = digits('--help', cwd=tmp_path)
    assert 'ladder' in res.stdout and 'Traceback' not in res.stderr
    assert all(o in digits('ladder', '--help', cwd=tmp_path).stdout for o in ('--quick','--long','--out'))

def test_no_command_at_all_shows_the_help(tmp_path):
    said = digits(cwd=tmp_path, ok=False)
    assert 'ladder' in said.stdout+said.stderr # click has moved it from one to the other

def test_help_is_there_before_torch_is(tmp_path):
    look = '''
import sys
from digits_fastai.cli import app
try: app(['--help'])
except SystemExit as e: print('code', e.code)
print('loaded', *{'torch','fastai','torchvision','matplotlib','pandas','sklearn','numpy'}&set(sys.modules))
'''
    assert run(python, '-c', look, cwd=tmp_path).stdout.split('code ')[1].split()==['0', 'loaded']

def test_the_quick_ladder_prints_a_row_for_each_rung_but_resnet18(climbed):
    res,_ = climbed
    table = rows(res.stdout)
    assert list(table)==['guessing','pixel similarity','linear, by hand','linear, Learner','simple_net']
    assert list(table.values())[0][1]==0 and all(n>=10 for _,n in list(table.values())[2:])
    accs = [a for a,_ in table.values()]
    assert accs[0]<.6 and min(accs[1:])>.9

def test_the_quick_ladder_writes_the_table_and_the_plot(climbed):
    res,out = climbed
    assert sorted(o.name for o in out.iterdir())==['ladder.csv','ladder.png']
    with open(out/'ladder.csv', newline='', encoding='utf-8') as f: written = list(csv.DictReader(f))
    assert {'rung','accuracy','epochs','seconds','book'}<=set(written[0])
    assert {o['rung']: (round(float(o['accuracy']), 4), int(o['epochs'])) for o in written}==rows(res.stdout)
    from PIL import Image
    with Image.open(out/'ladder.png') as im: assert min(im.size)>300 and len(im.convert('L').getcolors())>10
    assert str(out/'ladder.csv') in res.stdout and str(out/'ladder.png') in res.stdout

def test_on_mnist_the_ladder_gives_the_books_figures(climbed, mnist):
    table = rows(climbed[0].stdout)
    assert table['pixel similarity']==(.9511, 0)
    assert table['guessing']==(.5044, 0)
    for rung,low,high in (('linear, by hand', .96, .985), ('linear, Learner', .96, .985), ('simple_net', .978, .987)):
        assert low<=table[rung][0]<=high, rung
    assert 'MNIST' in climbed[0].stdout and 'scikit' not in climbed[0].stdout

def test_on_the_stand_in_the_ladder_says_so(climbed, path):
    from digits_fastai.download import is_standin
    if not is_standin(path): pytest.skip('the real MNIST is here: this is for an empty cache without a network')
    assert 'not MNIST' in climbed[0].stdout

def test_into_a_pipe_go_lines_and_nothing_else(climbed):
    res,_ = climbed
    assert not re.search(r'[\r\x1b█▏]|%\|', res.stdout+res.stderr)
    assert 'Warning' not in res.stderr and 'Traceback' not in res.stderr

@pytest.mark.parametrize('line', ['ladder --quik', 'lader', 'ladder --out', 'ladder --seed many', 'ladder surplus'])
def test_a_wrong_word_gives_a_sentence_and_status_2(line, tmp_path):
    res = digits(*line.split(), ok=False, cwd=tmp_path)
    assert res.returncode==2 and 'Traceback' not in res.stderr+res.stdout
    assert any(o in res.stderr for o in line.split() if o!='ladder') and not list(tmp_path.iterdir())

def one_sentence(res):
    assert res.returncode==1 and 'Traceback' not in res.stderr
    lines = [o for o in res.stderr.strip().splitlines() if 'small digits stand in' not in o]
    assert len(lines)==1 and lines[0].startswith('digits: '), res.stderr
    return lines[0]

def test_a_folder_that_is_a_file_gives_one_sentence(path, tmp_path):
    (tmp_path/'taken').write_text('')
    assert 'taken' in one_sentence(digits('ladder', '--quick', '--out', tmp_path/'taken', ok=False))

def test_a_folder_inside_a_file_gives_one_sentence(path, tmp_path):
    (tmp_path/'taken').write_text('')
    assert 'taken' in one_sentence(digits('ladder', '--quick', '--out', tmp_path/'taken'/'sub', ok=False))

def test_a_folder_that_may_not_be_written_to_gives_one_sentence(path, tmp_path):
    locked = tmp_path/'locked'
    locked.mkdir()
    locked.chmod(0o555)
    if os.access(locked, os.W_OK): pytest.skip('this user may write everywhere')
    assert 'locked' in one_sentence(digits('ladder', '--quick', '--out', locked, ok=False))

def test_a_file_in_the_way_of_a_result_gives_one_sentence(path, tmp_path):
    (tmp_path/'ladder.csv').mkdir()
    res = digits('ladder', '--quick', '--out', tmp_path, ok=False)
    assert 'ladder.csv' in one_sentence(res)

def test_strict_and_without_data_it_gives_one_sentence(tmp_path):
    (tmp_path/'sitecustomize.py').write_text(no_sockets)
    res = digits('ladder', '--quick', '--out', tmp_path/'out', ok=False, FASTAI_HOME=str(tmp_path/'empty'),
                 DIGITS_FASTAI_STRICT='1', PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ['PYTHONPATH']]))
    assert 'mnist_sample.tgz' in one_sentence(res)

@pytest.mark.skipif(sys.platform=='win32', reason='terminals and signals are another matter on Windows')
def test_on_a_terminal_progress_is_shown_and_wiped_away_and_the_figures_are_the_same(climbed, tmp_path):
    "A terminal is made with pty; what is left on the screen are the rows, the same as into a pipe, since the seed is."
    import pty
    leader,follower = pty.openpty()
    p = subprocess.Popen([*start, 'ladder', '--quick', '--out', str(tmp_path)], cwd=tmp_path,
                         stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    seen = b''
    while True:
        try: block = os.read(leader, 4096)
        except OSError: break
        if not block: break
        seen += block
    os.close(leader)
    assert p.wait(60)==0
    text = seen.decode()
    assert 'simple_net …' in text
    screen = '\n'.join(o.split('\r\x1b[K')[-1].rstrip('\r') for o in text.split('\n'))
    assert rows(screen)==rows(climbed[0].stdout) and '…' not in screen


# All ten digits: on the stand-in, where forty epochs take a moment

@pytest.fixture(scope='module')
def climbed_full(tmp_path_factory):
    tmp = tmp_path_factory.mktemp('full')
    (tmp/'sitecustomize.py').write_text(no_sockets)
    paths = os.pathsep.join([str(tmp), os.environ['PYTHONPATH']])
    return digits('ladder', '--full', '--out', tmp/'out', cwd=tmp, FASTAI_HOME=str(tmp/'home'),
                  DIGITS_FASTAI_STRICT=None, PYTHONPATH=paths),tmp/'out'

def test_the_full_ladder_has_ten_digits_and_no_resnet18(climbed_full):
    from digits_fastai.ten_digits import quick_ten_rungs
    res,out = climbed_full
    table = rows(res.stdout)
    assert list(table)==quick_ten_rungs and 'All ten digits' in res.stdout and 'not MNIST' in res.stdout
    accs = {k: a for k,(a,_) in table.items()}
    assert accs['guessing']<.2<accs['nearest mean, L1'] and accs['linear, cross-entropy']>.8
    assert accs['convnet']>.5 # three short epochs on 1,200 digits are not much
    said = re.search(r'most often confused by the convnet: (.*)', res.stdout).group(1)
    assert re.match(r'\d taken for \d \(\d+\)', said)
    with open(out/'ladder.csv', newline='', encoding='utf-8') as f: assert [o['rung'] for o in csv.DictReader(f)]==quick_ten_rungs

@pytest.mark.parametrize('line', ['--full --quick', '--full --long', '--slow'])
def test_options_that_do_not_go_together_give_one_sentence(line, tmp_path):
    said = one_sentence(digits('ladder', *line.split(), ok=False, cwd=tmp_path))
    assert '--full' in said and not list(tmp_path.iterdir())
