"The command line as a process: what it prints and writes, and what it says when something is wrong."
import csv,json,os,re,shutil,subprocess,sys
from pathlib import Path

import pytest

from conftest import in_a_terminal,python,run
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


commands = ['ladder','check','exercises','progress','train','predict','draw','evaluate','doctor',
            'data download','data where','data convert']

def test_help_names_the_commands(tmp_path):
    said = digits('--help', cwd=tmp_path).stdout
    found = re.findall(r'^  (\w+)  +\S', said.split('Commands:')[1].split('For example')[0], re.M)
    assert sorted(found)==sorted({o.split()[0] for o in commands})

def test_no_command_at_all_shows_the_help(tmp_path):
    said = digits(cwd=tmp_path, ok=False)
    assert 'ladder' in said.stdout+said.stderr # click has moved it from one to the other

@pytest.fixture(scope='module')
def helps(tmp_path_factory):
    "Each command's help, and what had been imported by then. One process for each: what is imported stays."
    look = '''
import sys,json
from contextlib import redirect_stdout
from io import StringIO
from digits_fastai.cli import app
with redirect_stdout(StringIO()) as out:
    try: app(sys.argv[1:], prog_name='digits')
    except SystemExit as e: code = e.code
print(json.dumps([code, out.getvalue(), [*{o.split('.')[0] for o in sys.modules}]]))
'''
    lines = ['', *commands, 'data']
    cwd = tmp_path_factory.mktemp('help')
    return {o: json.loads(run(python, '-c', look, *o.split(), '--help', cwd=cwd, COLUMNS='100').stdout) for o in lines}

def test_help_is_there_before_anything_heavy_is(helps):
    for line,(code,said,loaded) in helps.items():
        assert code==0 and 'Usage: digits' in said, line
        assert not {'torch','fastai','fastcore','torchvision','matplotlib','pandas','sklearn','numpy'}&set(loaded), line

@pytest.mark.parametrize('line', commands)
def test_help_explains_every_option_and_has_an_example(line, helps):
    said = helps[line][1]
    examples = said.split('For example:')[1].strip().splitlines()
    assert examples and any(f'digits {line}' in o for o in examples)
    options = re.findall(r'^  (--[\w-]+|[A-Z]+(?:\.\.\.)?|\[\w+\]\.\.\.)(.*(?:\n {8,}\S.*)*)', said, re.M)
    for name,text in options: assert re.search('[a-z]{2}', re.sub(r'<.*?>|\[(required|default.*?)\]', '', text)), (name, text)
    assert len(options)>=2

@pytest.mark.parametrize('line', commands)
def test_examples_name_options_that_exist(line, helps):
    "A line that is copied from the help must be understood. (--help behind it keeps it from being run.)"
    for example in helps[line][1].split('For example:')[1].strip().splitlines():
        words = re.split(r'[|>]|\)/', example)[0].replace('$(', '').removeprefix('ls ').split()
        for o in (o for o in words if o.startswith('--')): assert o in helps[line][1], example

def test_a_light_command_does_not_load_torch_either(path, tmp_path):
    look = '''
import sys
from digits_fastai.cli import app
try: app(['data', 'where'])
except SystemExit as e: print('code', e.code, 'torch' in sys.modules)
'''
    assert run(python, '-c', look, cwd=tmp_path).stdout.splitlines()[-1]=='code 0 False'

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

@pytest.mark.parametrize('line', ['ladder --quik', 'lader', 'ladder --out', 'ladder --seed many', 'ladder surplus',
    'train --model resnet', 'train --epochs few', 'data convert jpg', 'data fetch', 'predict --model'])
def test_a_wrong_word_gives_a_sentence_and_status_2(line, tmp_path):
    res = digits(*line.split(), ok=False, cwd=tmp_path)
    assert res.returncode==2 and 'Traceback' not in res.stderr+res.stdout
    assert any(o in res.stderr for o in line.split()[1:] or [line]) and not list(tmp_path.iterdir())

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
    text = in_a_terminal(*start, 'ladder', '--quick', '--out', tmp_path, cwd=tmp_path)
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

@pytest.mark.parametrize('line', ['ladder --full --quick', 'ladder --full --long', 'ladder --slow', 'train --full --data x',
                                  'check x.py --json --csv'])
def test_options_that_do_not_go_together_are_a_wrong_question(line, tmp_path):
    (tmp_path/'x.py').touch()
    res = digits(*line.split(), ok=False, cwd=tmp_path)
    assert res.returncode==2 and 'Traceback' not in res.stderr and line.split()[-1].removesuffix(' x') in res.stderr+line
    assert '--' in res.stderr.split('Error:')[1] and [o.name for o in tmp_path.iterdir()]==['x.py']


# Manners: streams, statuses, pipes, Ctrl-C, tab

faulty = '''
from digits_fastai.cli import app
from digits_fastai.terminal import command
import warnings

@command(app)
def fault(
    kind:str, # which
):
    "Goes wrong."
    if kind=='bug': {}['no such key']
    if kind=='ctrl-c': raise KeyboardInterrupt
    if kind=='many':
        for i in range(100_000): print(i)
    if kind=='few': print('one line')
    if kind=='warn':
        warnings.warn('beware of the dog')
        warnings.warn('gone in 3.0', FutureWarning)
        warnings.warn('old', DeprecationWarning)
        print('done')
    if kind=='letters': print('… ×')
    if kind=='lines': raise ValueError('two\\nlines')
    if kind=='os': open('no/such/file')
app(prog_name='digits')
'''

@pytest.fixture(scope='module')
def fault(tmp_path_factory):
    "The real app with one more command, which goes wrong in the way that is asked for."
    file = tmp_path_factory.mktemp('fault')/'faulty.py'
    file.write_text(faulty)
    return [python, str(file)]

@pytest.mark.parametrize('kind,status,said', [
    ('bug', 1, "digits: KeyError: 'no such key'. This was not expected"), ('ctrl-c', 130, 'digits: stopped'),
    ('lines', 1, 'digits: two lines'), ('os', 1, 'digits: no/such/file: No such file or directory')])
def test_whatever_happens_is_one_sentence_and_a_status(fault, kind, status, said):
    res = run(*fault, 'fault', kind, ok=False)
    assert (res.returncode,res.stdout)==(status,'') and res.stderr.startswith(said) and len(res.stderr.splitlines())==1

@pytest.mark.parametrize('kind', ['bug', 'lines'])
def test_debug_shows_the_traceback_before_the_sentence(fault, kind):
    res = run(*fault, '--debug', 'fault', kind, ok=False)
    assert res.returncode==1 and 'Traceback' in res.stderr and 'faulty.py' in res.stderr
    assert res.stderr.splitlines()[-1].startswith('digits: ')

def test_warnings_for_users_are_sentences_and_those_for_programmers_are_left_out(fault):
    res = run(*fault, 'fault', 'warn')
    assert (res.stdout,res.stderr)==('done\n','digits: beware of the dog\n')
    assert 'gone in 3.0' in run(*fault, '--debug', 'fault', 'warn').stderr

def test_a_terminal_that_does_not_know_a_letter_is_no_error(fault):
    res = run(*fault, 'fault', 'letters', PYTHONIOENCODING='ascii')
    assert res.stdout=='? ?\n' and not res.stderr

@pytest.mark.parametrize('kind', ['many', 'few'])
def test_whoever_has_heard_enough_may_go(fault, kind):
    "As in `digits … | head -1`: no traceback, no message, and the status that a shell reports for others, too."
    r,w = os.pipe()
    os.close(r)
    with os.fdopen(w, 'wb') as out:
        p = subprocess.run([*fault, 'fault', kind], stdout=out, stderr=subprocess.PIPE, text=True)
    assert (p.returncode,p.stderr)==(141,'')

def test_without_our_group_python_complains_about_the_pipe(tmp_path):
    "The twin: what the test above would see if nobody cared."
    r,w = os.pipe()
    os.close(r)
    with os.fdopen(w, 'wb') as out:
        p = subprocess.run([python, '-c', 'print("one line")'], stdout=out, stderr=subprocess.PIPE, text=True)
    assert 'BrokenPipeError' in p.stderr

def test_help_into_a_closed_pipe_is_no_traceback(tmp_path):
    r,w = os.pipe()
    os.close(r)
    with os.fdopen(w, 'wb') as out:
        p = subprocess.run([*start, 'train', '--help'], stdout=out, stderr=subprocess.PIPE, text=True)
    assert 'Traceback' not in p.stderr and 'Exception' not in p.stderr

def test_version_is_that_of_the_package():
    from digits_fastai import __version__
    assert digits('--version').stdout.strip()==__version__

@pytest.mark.parametrize('shell', ['bash', 'zsh', 'fish'])
def test_completion_is_shown_for_each_shell(shell):
    said = digits('--show-completion', shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION='1').stdout
    assert '_DIGITS_COMPLETE' in said and 'digits' in said and (shell in said or shell=='zsh' and '#compdef' in said)

def tab(words, cwd):
    return digits(cwd=cwd, _DIGITS_COMPLETE='complete_bash', COMP_WORDS=words,
                  COMP_CWORD=str(len(words.split(' '))-1)).stdout.split()

def test_tab_completes_commands_options_and_choices(tmp_path):
    assert tab('digits pr', tmp_path)==['progress','predict']
    assert tab('digits data con', tmp_path)==['convert']
    assert '--batch-size' in tab('digits train --b', tmp_path)
    from digits_fastai.recipes import recipes
    assert tab('digits train --model ', tmp_path)==list(recipes)

@pytest.mark.skipif(shutil.which('bash') is None, reason='there is no bash')
def test_bash_accepts_the_completion_script(tmp_path):
    (tmp_path/'complete.sh').write_text(digits(_DIGITS_COMPLETE='source_bash').stdout)
    said = run('bash', '-c', f'source {tmp_path/"complete.sh"} && complete -p digits').stdout
    assert '_digits_completion' in said
