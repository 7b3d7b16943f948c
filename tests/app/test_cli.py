"""The command line: what it prints and writes, and what it says when something is wrong. Most commands are run in this
process, which has PyTorch already; where a process itself is the point (Ctrl-C, pipes, terminals), it is one of its own."""
import csv,json,os,re,shutil,signal,subprocess,sys,time
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from typer.testing import CliRunner

from conftest import in_a_terminal,python,run
from digits_fastai.app.cli import app
from test_check import good
from test_offline import no_sockets

script = shutil.which('digits', path=str(Path(python).parent)) # there if the package is installed
start = [script] if script else [python, '-c', 'from digits_fastai.app.cli import app; app(prog_name="digits")']
not_on_windows = pytest.mark.skipif(sys.platform=='win32', reason='terminals and signals are another matter on Windows')
commands = ['ladder','check','exercises','progress','train','predict','draw','evaluate','doctor',
            'data download','data where','data convert']

@contextmanager
def working_in(folder):
    before = os.getcwd()
    os.chdir(folder or before)
    try: yield
    finally: os.chdir(before)

def digits(*args, cwd=None, ok=True, **env):
    "Run a command in this process; a keyword that is None takes a variable out of the environment."
    with working_in(cwd):
        res = CliRunner().invoke(app, [str(o) for o in args], prog_name='digits', env={'COLUMNS': '120', **env})
    if res.exception and not isinstance(res.exception, SystemExit): raise res.exception
    if ok: assert res.exit_code==0, f'{args} gave {res.exit_code}:\n{res.output[-4000:]}'
    return CompletedProcess(args, res.exit_code, res.stdout, res.stderr)

def in_a_process(*args, **kwargs): return run(*start, *args, **{'COLUMNS': '120', **kwargs})

def one_sentence(res, status=1):
    "What an error said: one line on standard error, and its status."
    assert res.returncode==status and 'Traceback' not in res.stderr
    lines = [o for o in res.stderr.strip().splitlines() if 'small digits stand in' not in o]
    assert len(lines)==1 and lines[0].startswith('digits: '), res.stderr
    return lines[0]


# Help

def loaded_by(*words, cwd):
    "What a command has imported by its end."
    look = '''
import sys
from digits_fastai.app.cli import app
try: app(sys.argv[1:], prog_name='digits')
except SystemExit: print(*{o.split('.')[0] for o in sys.modules})
'''
    return set(run(python, '-c', look, *words, cwd=cwd).stdout.splitlines()[-1].split())

@pytest.mark.parametrize('words', [['--help'], ['train','--help'], ['data','where'], ['doctor','--quick']], ids=' '.join)
def test_what_is_light_loads_nothing_heavy(words, path, tmp_path):
    heavy = {'torch','fastai','torchvision','matplotlib','pandas','sklearn','numpy'}
    if words==['--help']: heavy.add('fastcore')
    assert not heavy&loaded_by(*words, cwd=tmp_path)

@pytest.fixture(scope='module')
def helps():
    "Each command's help, by its name; all of them in this process."
    answers = {o: CliRunner().invoke(app, [*o.split(), '--help'], prog_name='digits') for o in ['', *commands]}
    assert all(o.exit_code==0 for o in answers.values())
    return {k: o.stdout for k,o in answers.items()}

def test_help_names_the_commands(helps):
    found = re.findall(r'^  (\w+)  +\S', helps[''].split('Commands:')[1], re.M)
    assert sorted(found)==sorted({o.split()[0] for o in commands})

def test_no_command_at_all_shows_the_help(tmp_path):
    said = digits(cwd=tmp_path, ok=False)
    assert 'ladder' in said.stdout+said.stderr # click has moved it from one to the other

@pytest.mark.parametrize('line', commands)
def test_help_explains_every_option_with_its_comment(line, helps):
    from fastcore.docments import docments
    from digits_fastai.app import cli
    said = ' '.join(helps[line].split())
    comments = docments(getattr(cli, line.split()[-1]))
    del comments['return']
    assert comments and all(' '.join(o.split()) in said for o in comments.values())
    assert '--no-' not in said and '--as-' not in said

@pytest.mark.parametrize('line', commands)
def test_examples_name_options_that_exist(line, helps):
    options,examples = helps[line].split('For example:')
    assert f'digits {line}' in examples
    for o in re.findall(r'--[\w-]+', examples): assert o in options, f'{o} in an example'

@pytest.mark.parametrize('line', ['', *commands])
def test_h_is_help(line, helps):
    assert CliRunner().invoke(app, [*line.split(), '-h'], prog_name='digits').stdout==helps[line]

def test_version_is_that_of_the_package():
    from digits_fastai import __version__
    assert in_a_process('--version').stdout.strip()==__version__

def tab(words, cwd):
    return digits(cwd=cwd, _DIGITS_COMPLETE='complete_bash', COMP_WORDS=words,
                  COMP_CWORD=str(len(words.split(' '))-1)).stdout.split()

def test_tab_completes_commands_options_and_choices(tmp_path):
    assert tab('digits pr', tmp_path)==['progress','predict']
    assert '--batch-size' in tab('digits train --b', tmp_path)
    from digits_fastai.nets.recipes import recipes
    assert tab('digits train --model ', tmp_path)==list(recipes)


# Manners: statuses, streams, pipes, Ctrl-C

@pytest.mark.parametrize('line', ['ladder --quik', 'lader', 'ladder --out', 'ladder --seed many', 'ladder surplus',
    'train --model resnet', 'train --epochs few',
    'train --epochs 0', 'train --epochs -1', 'train --batch-size 0', 'train --batch-size -1', 'train --batch-size 99999999999999999999', 'train --lr nan',
    'train --lr -1', 'train --lr 0', 'train --lr inf', 'train --seed -1', 'ladder --seed -1', 'draw --port 70000', 'data convert jpg', 'data fetch', 'predict --model'])
def test_a_wrong_word_gives_a_sentence_and_status_2(line, tmp_path):
    res = digits(*line.split(), ok=False, cwd=tmp_path)
    assert res.returncode==2 and 'Traceback' not in res.stderr+res.stdout
    assert any(o in res.stderr for o in line.split()[1:] or [line]) and not list(tmp_path.iterdir())
    if '--lr' in line: assert 'no learning rate' in res.stderr

@pytest.mark.parametrize('line', ['ladder --full --quick', 'ladder --slow', 'train --full --data x', 'check x.py --json --csv'])
def test_options_that_do_not_go_together_are_a_wrong_question(line, tmp_path):
    (tmp_path/'x.py').touch()
    res = digits(*line.split(), ok=False, cwd=tmp_path)
    assert res.returncode==2 and 'Traceback' not in res.stderr
    assert '--' in res.stderr.split('Error:')[1] and [o.name for o in tmp_path.iterdir()]==['x.py']

faulty = r'''
from digits_fastai.app.cli import app,command,_print_result
from digits_fastai.files.atomic import write_whole
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
    if kind=='warn': warnings.warn('gone in 3.0', FutureWarning)
    if kind=='lines': raise ValueError('two\nlines')
    if kind=='os': open('no/such/file')
    if kind=='disk': write_whole('model.bin', bytes(2**20))
    if kind=='json': _print_result({'na\udce4me é\x9b': 1}, True, '')
    if kind=='text': _print_result(None, False, '3\x1b[2J\x9b\u202e, é')
app(prog_name='digits')
'''

@pytest.fixture(scope='module')
def fault(tmp_path_factory):
    "The real app with one more command, which goes wrong in the way that is asked for."
    file = tmp_path_factory.mktemp('fault')/'faulty.py'
    file.write_text(faulty)
    return [python, str(file), 'fault']

@pytest.mark.parametrize('kind,said,status', [('bug', "KeyError: 'no such key'. This was not expected", 1),
                                              ('lines', 'two lines', 1), ('os', 'no/such/file: No such file', 2)])
def test_an_error_is_one_sentence_and_its_status(fault, kind, said, status):
    res = run(*fault, kind, ok=False)
    assert said in one_sentence(res, status) and res.stdout==''

@not_on_windows
def test_a_full_disk_is_named_with_the_file(fault, tmp_path):
    "A limit on the size of files stands for it."
    shell = ['sh', '-c', 'ulimit -f 1; exec "$@"', 'sh']
    said = one_sentence(run(*shell, *fault, 'disk', ok=False, cwd=tmp_path))
    assert 'model.bin: ' in said and '.tmp' not in said and not list(tmp_path.iterdir())

@pytest.mark.skipif(not Path('/dev/full').exists(), reason='there is no /dev/full here')
@pytest.mark.parametrize('kind', ['few','many','json'])
def test_a_full_disk_behind_the_output_is_said(fault, kind):
    with open('/dev/full', 'wb') as full: p = subprocess.run([*fault, kind], stdout=full, stderr=subprocess.PIPE, text=True)
    assert p.returncode==1 and len(p.stderr.splitlines())==1 and 'No space left' in p.stderr

@not_on_windows
@pytest.mark.parametrize('kind', ['few','many','json','text','bug'])
@pytest.mark.parametrize('closed', ['>&-','2>&-','>&- 2>&-'])
def test_a_closed_stream_is_no_traceback(fault, kind, closed):
    res = run('sh', '-c', f'exec "$@" {closed}', 'sh', *fault, kind, ok=False)
    assert 'Traceback' not in res.stdout+res.stderr and res.returncode==(kind=='bug')

@pytest.mark.parametrize('env', [dict(LC_ALL='C'), dict(LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0'),
                                 dict(PYTHONIOENCODING='latin-1'), {}], ids=str)
def test_names_in_json_are_kept_whatever_the_locale(fault, env):
    assert json.loads(run(*fault, 'json', **env).stdout)=={'na\udce4me é\x9b': 1}

def test_what_a_terminal_would_obey_is_shown_as_a_code(fault):
    assert run(*fault, 'text').stdout=='3\\x1b[2J\\x9b\\u202e, é\n'

def test_debug_shows_the_traceback_and_warnings(fault):
    debug = [*fault[:2], '--debug', 'fault']
    res = run(*debug, 'bug', ok=False)
    assert res.returncode==1 and 'Traceback' in res.stderr and 'faulty.py' in res.stderr
    assert 'gone in 3.0' in run(*debug, 'warn').stderr and not run(*fault, 'warn').stderr

def test_ctrl_c_is_status_130_and_no_traceback(fault):
    res = run(*fault, 'ctrl-c', ok=False)
    assert res.returncode==130 and 'Traceback' not in res.stderr

@pytest.mark.parametrize('kind', ['many','few','--help'])
def test_whoever_has_heard_enough_may_go(fault, kind):
    "As in `digits … | head -1`: no traceback and no message."
    r,w = os.pipe()
    os.close(r)
    with os.fdopen(w, 'wb') as out: p = subprocess.run([*fault, kind], stdout=out, stderr=subprocess.PIPE, text=True)
    assert p.returncode!=0 and p.stderr==''


# The ladder

@pytest.fixture(scope='session')
def climbed(path, tmp_path_factory):
    "One quick climb, and the folder that it wrote into."
    out = tmp_path_factory.mktemp('ladder')/'new'/'folder'
    return digits('ladder', '--quick', '--out', out, cwd=out.parents[1]),out

def rows(stdout):
    "The table that was printed: rung -> (accuracy, epochs)."
    found = re.findall(r'^(\w.*?)\s+(\d\.\d{4})\s+(\d+)\s', stdout, re.M)
    return {rung: (float(a), int(n)) for rung,a,n in found}

def written(file):
    "The table that was written, in the form of `rows`."
    with open(file, newline='', encoding='utf-8') as f: table = list(csv.DictReader(f))
    return {o['rung']: (round(float(o['accuracy']), 4), int(o['epochs'])) for o in table}

def test_the_quick_ladder_prints_a_row_for_each_rung_but_resnet18(climbed, path):
    from digits_fastai.download import is_standin
    res,_ = climbed
    table = rows(res.stdout)
    assert list(table)==['guessing','pixel similarity','linear, by hand','linear, Learner','simple_net']
    accs = [a for a,_ in table.values()]
    assert accs[0]<.6 and min(accs[1:])>.9 and ('not MNIST' in res.stdout)==is_standin(path)
    assert not re.search(r'[\r\x1b█▏]|Warning|Traceback', res.stdout+res.stderr), 'that is for terminals'

def test_the_quick_ladder_writes_the_table_and_the_plot(climbed):
    res,out = climbed
    assert sorted(o.name for o in out.iterdir())==['ladder.csv','ladder.png']
    assert written(out/'ladder.csv')==rows(res.stdout)
    from PIL import Image
    with Image.open(out/'ladder.png') as im: assert min(im.size)>300 and len(im.convert('L').getcolors())>10
    assert str(out/'ladder.csv') in res.stdout and str(out/'ladder.png') in res.stdout

def test_on_mnist_the_ladder_gives_the_books_figures(climbed, mnist):
    table = rows(climbed[0].stdout)
    assert table['pixel similarity']==(.9511, 0) and table['guessing']==(.5044, 0)
    for rung,low,high in (('linear, by hand', .96, .985), ('linear, Learner', .96, .985), ('simple_net', .978, .987)):
        assert low<=table[rung][0]<=high, rung

@not_on_windows
def test_on_a_terminal_the_rows_stand_alone_in_their_lines(climbed, alone, tmp_path, monkeypatch):
    "A spinner turns below them, which wipes its line away before a row is printed."
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('FASTAI_HOME', alone['FASTAI_HOME'])
    monkeypatch.setenv('PYTHONPATH', alone['PYTHONPATH'])
    monkeypatch.delenv('DIGITS_FASTAI_STRICT', raising=False)
    text = in_a_terminal(*start, 'ladder', '--quick', '--out', tmp_path, cwd=tmp_path)
    assert 'climbing …' in text
    lines = [o for o in re.split(r'\r|\n|\x1b\[2K|\x1b\[1A|\x1b\[\?25[hl]', text) if o]
    assert list(rows('\n'.join(lines)))==list(rows(climbed[0].stdout))
    assert rows('\n'.join(lines))==written(tmp_path/'ladder.csv')

def test_the_full_ladder_has_ten_digits_and_no_resnet18(alone):
    from digits_fastai.nets.ten_digits import quick_ten_rungs
    res = digits('ladder', '--full', '--out', 'full', **alone)
    table = rows(res.stdout)
    assert list(table)==quick_ten_rungs and 'All ten digits' in res.stdout and 'not MNIST' in res.stdout
    accs = {k: a for k,(a,_) in table.items()}
    assert accs['guessing']<.2<accs['nearest mean, L1'] and accs['linear, cross-entropy']>.8
    assert accs['convnet']>.5 # three short epochs on 1,200 digits are not much

@pytest.mark.parametrize('out,said', [('taken', 'taken'), ('taken/sub', 'taken'), ('locked', 'locked'), ('full', 'ladder.csv')])
def test_a_result_that_cannot_be_written_is_told_before_the_climb(out, said, tmp_path):
    (tmp_path/'taken').write_text('')
    (tmp_path/'full'/'ladder.csv').mkdir(parents=True)
    (tmp_path/'locked').mkdir(mode=0o555)
    if out=='locked' and os.access(tmp_path/out, os.W_OK): pytest.skip('this user may write everywhere')
    res = digits('ladder', '--quick', '--out', tmp_path/out, ok=False)
    assert said in one_sentence(res) and not res.stdout

def test_strict_and_without_data_it_gives_one_sentence(alone, tmp_path):
    nowhere = {**alone, 'FASTAI_HOME': str(tmp_path/'empty'), 'DIGITS_FASTAI_STRICT': '1'}
    assert 'mnist_sample.tgz' in one_sentence(digits('ladder', '--quick', '--out', tmp_path/'out', ok=False, **nowhere))


# From pictures to a model and back

@pytest.fixture(scope='session')
def alone(tmp_path_factory):
    "A folder to work in, with an empty cache and no network, here and in new processes: the digits are the stand-in's."
    tmp = tmp_path_factory.mktemp('alone')
    (tmp/'sitecustomize.py').write_text(no_sockets)
    (tmp/'work').mkdir()
    return dict(cwd=tmp/'work', FASTAI_HOME=str(tmp/'home'), DIGITS_FASTAI_STRICT=None, https_proxy='http://127.0.0.1:9',
                PYTHONPATH=os.pathsep.join([str(tmp), os.environ['PYTHONPATH']]))

def started(*args, alone):
    "A process of the command line that goes on."
    env = {k: v for k,v in {**os.environ, **alone, 'PYTHONUNBUFFERED': '1'}.items() if v is not None and k!='cwd'}
    return subprocess.Popen([*start, *args], cwd=alone['cwd'], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

@pytest.fixture(scope='session')
def ten(alone):
    "A convnet of all ten digits, in ten/, and what its training said as JSON. Trained once for all tests."
    return digits('train', '--full', '--epochs', 4, '--out', 'ten', '--json', **alone)

@pytest.fixture(scope='session')
def testing(ten, alone): return Path(alone['FASTAI_HOME'])/'data'/'digits_standin'/'testing'

def test_json_is_all_that_training_prints_and_without_a_terminal_there_is_no_progress(ten):
    res = json.loads(ten.stdout)
    assert res['model']=='convnet' and res['epochs']==4 and not res['stopped'] and res['folder']=='ten'
    assert res['classes']==list('0123456789')==list(res['by_class'])
    assert .8<res['test_accuracy']<=1 and 0<=res['accuracy']<=1
    assert all('small digits stand in' in o for o in ten.stderr.splitlines())

def test_a_training_that_ends_in_nan_is_an_error_and_leaves_no_model(alone):
    res = digits('train', '--model', 'linear', '--lr', 1e38, '--epochs', 2, '--out', 'far', '--json', ok=False, **alone)
    assert res.returncode==1 and 'predicts nan' in res.stderr and 'lower learning rate' in res.stderr and not res.stdout
    assert not (alone['cwd']/'far').exists()

@not_on_windows
@pytest.mark.parametrize('words,sign', [
    (['train','--model','linear','--epochs',2,'--out','m','--json'], r'[█-]\|'), (['data','convert','sheet'], 'converting'),
    pytest.param(['check','right.py','--json'], 'checking 1 file', marks=pytest.mark.slow),
    pytest.param(['ladder','--quick'], 'climbing', marks=pytest.mark.slow)], ids=lambda o: o[0] if isinstance(o, list) else '')
def test_progress_is_on_standard_error_and_the_result_alone_on_the_other(words, sign, tmp_path, path):
    (tmp_path/'right.py').write_text(good)
    shell = ['sh', '-c', 'exec "$@" >out', 'sh', *start]
    seen = in_a_terminal(*shell, *words, cwd=tmp_path)
    out = (tmp_path/'out').read_text()
    assert re.search(sign, seen) and out and not re.search(r'[\r\x1b█]', out)
    if '--json' in words: json.loads(out)

def test_a_model_that_is_there_is_replaced_only_with_force(ten, alone):
    folder = alone['cwd']/'copy'
    shutil.copytree(alone['cwd']/'ten', folder)
    def weights(): return (folder/'weights.safetensors').read_bytes()
    before = weights()
    res = digits('train', '--model', 'linear', '--out', folder, ok=False, **alone)
    assert '--force' in one_sentence(res) and 'epoch' not in res.stdout and weights()==before
    said = digits('train', '--model', 'linear', '--epochs', 1, '--out', folder, '--force', **alone).stdout
    assert weights()!=before and re.search(r"test set of scikit-learn's small digits: [01]\.\d{4} \(3 [01]\.\d{4}, 7 ", said)

@pytest.mark.parametrize('args,said', [('--data gone','gone'), ('--out thesis --force','no exported model')])
def test_what_cannot_be_trained_is_one_sentence(args, said, alone):
    (alone['cwd']/'thesis').mkdir(exist_ok=True)
    (alone['cwd']/'thesis'/'chapter1.tex').write_text('years of work')
    status = 2 if 'gone' in args else 1
    assert said in one_sentence(digits('train', '--out', 'never', *args.split(), ok=False, **alone), status)
    assert not (alone['cwd']/'never').exists() and (alone['cwd']/'thesis'/'chapter1.tex').read_text()=='years of work'

@not_on_windows
def test_ctrl_c_keeps_what_has_had_an_epoch(alone):
    p = started('train', '--model', 'linear', '--epochs', '100000', '--out', 'stopped', alone=alone)
    try:
        for line in p.stdout:
            if re.match(r' +1 ', line): break
        p.send_signal(signal.SIGINT)
        out,err = p.communicate(timeout=60)
    finally: p.kill()
    assert p.returncode==130 and 'Traceback' not in err and 'is kept' in err.splitlines()[-1]
    assert 'stopped by hand' in (alone['cwd']/'stopped'/'card.md').read_text()
    assert 'written: stopped' in out

def test_a_model_reads_the_test_pictures_in_a_new_process(ten, alone, testing):
    res = in_a_process('predict', '--model', 'ten', testing, '--json', **alone)
    rows = json.loads(res.stdout)
    right = [Path(o['file']).parent.name==o['label'] for o in rows]
    assert len(rows)==360 and abs(sum(right)/len(right)-json.loads(ten.stdout)['test_accuracy'])<1e-6
    for o in rows: assert abs(sum(o['probabilities'].values())-1)<1e-4 and o['probabilities'][o['label']]==o['probability']

def test_one_bad_file_does_not_keep_the_others_from_being_read(ten, alone, testing, tmp_path):
    (tmp_path/'letter.png').write_text('Dear digits')
    good = next((testing/'3').iterdir())
    files = [tmp_path/'letter.png', good, tmp_path/'gone.png']
    res = digits('predict', '--model', 'ten', *files, ok=False, **alone)
    head,row = res.stdout.splitlines()
    assert res.returncode==2 and head.split()==['file','label','probability'] and row.split()[0]==str(good)
    errors = res.stderr.splitlines()
    assert len(errors)==2 and 'letter.png: is no image' in errors[0] and 'gone.png: is not there' in errors[1]
    res = digits('predict', '--model', 'ten', '--json', *files, ok=False, **alone)
    assert res.returncode==2 and ['error' in o for o in json.loads(res.stdout)]==[True,False,True]
    res = digits('predict', '--model', 'ten', files[0], ok=False, **alone)
    assert (res.returncode,res.stdout)==(1,'')

def test_dark_ink_is_read_with_invert_and_the_message_says_so(ten, alone, testing, tmp_path):
    from PIL import Image,ImageOps
    ImageOps.invert(Image.open(next((testing/'0').iterdir()))).save(tmp_path/'dark.png')
    assert '--invert' in one_sentence(digits('predict', '--model', 'ten', tmp_path/'dark.png', ok=False, **alone))
    digits('predict', '--model', 'ten', '--invert', tmp_path/'dark.png', **alone)

def drawing(file, upscale=11):
    "A test digit as somebody might draw it: large, black on white, off the middle."
    from PIL import Image
    im = Image.open(file).resize((28*upscale,)*2, Image.Resampling.BICUBIC).point(lambda v: 255*(v<100))
    paper = Image.new('L', (500,400), 255)
    paper.paste(im, (30,60))
    return paper

def test_drawings_of_any_size_are_prepared_first(ten, alone, testing, tmp_path):
    for label in '07':
        (tmp_path/'mine'/label).mkdir(parents=True)
        for i,o in enumerate(sorted((testing/label).iterdir())[:8]): drawing(o).save(tmp_path/'mine'/label/f'{i}.png')
    unprepared = digits('predict', '--model', 'ten', tmp_path/'mine', ok=False, **alone).stderr
    assert '500×400' in unprepared and '--drawing' in unprepared
    res = digits('predict', '--model', 'ten', '--drawing', tmp_path/'mine', 'gone.png', '--json', ok=False, **alone)
    rows = json.loads(res.stdout)
    assert res.returncode==2 and 'gone.png: No such file' in res.stderr
    assert sum(Path(o['file']).parent.name==o.get('label') for o in rows)>=12

    rows = json.loads(digits('evaluate', tmp_path/'mine', '--model', 'ten', '--json', **alone).stdout)
    assert [(o['digit'],o['drawings']) for o in rows]==[('0',8),('7',8),('all',16)] and rows[-1]['accuracy']>=.75
    said = digits('evaluate', tmp_path/'mine', '--model', 'ten', **alone).stdout.splitlines()
    assert said[0].split()==['digit','drawings','accuracy','test_set','unlike'] and len(said)==4

@pytest.mark.parametrize('line,said', [
    ('predict x.png --model no_model', 'no_model: train one first: digits train --out no_model'),
    ('predict x.png', 'train one first: digits train'), ('evaluate nowhere', 'nowhere'), ('check gone.py', 'gone.py'),
    ('draw --model no_model --port 0', 'train one first'), ('evaluate . --model no_model', 'train one first'),
    ('progress nowhere', 'digits exercises --out nowhere'), ('train --data gone --out never', 'belong into DIR/training/3')])
def test_what_is_not_there_is_one_sentence_and_status_2(line, said, alone):
    res = digits(*line.split(), ok=False, **alone)
    assert said in one_sentence(res, 2) and not res.stdout

def test_what_cannot_be_fetched_is_one_sentence(alone):
    assert 'Ways out' in one_sentence(digits('data', 'download', '--full', ok=False, **alone))

def test_a_name_with_a_new_line_is_told_in_one(ten, alone):
    assert r'gone\n\x1b[31m.jpg: No such file' in one_sentence(digits('predict', '--model', 'ten', '--drawing', 'gone\n\x1b[31m.jpg',
                                                                    ok=False, **alone), 2)

def test_invert_and_drawing_go_together(ten, alone, testing, tmp_path):
    from PIL import ImageOps
    drawing(next((testing/'0').iterdir())).save(tmp_path/'dark.png')
    ImageOps.invert(drawing(next((testing/'0').iterdir()))).save(tmp_path/'light.png')
    def said(*args): return json.loads(digits('predict', '--model', 'ten', '--drawing', '--json', *args, **alone).stdout)[0]
    assert said(tmp_path/'dark.png')['probabilities']==said('--invert', tmp_path/'dark.png')['probabilities']
    assert said(tmp_path/'light.png')['probabilities']==said(tmp_path/'dark.png')['probabilities']

def test_a_sheet_gives_a_row_for_each_digit_in_reading_order(ten, alone, testing, tmp_path):
    from PIL import Image
    sheet = Image.new('L', (1000,800), 255)
    for i,label in enumerate('4071'):
        sheet.paste(drawing(next((testing/label).iterdir())), (i%2*480, i//2*390))
    sheet.save(tmp_path/'sheet.webp', lossless=True)
    rows = json.loads(digits('predict', '--model', 'ten', '--drawing', '--json', tmp_path/'sheet.webp', **alone).stdout)
    assert [(o['digit'],o['digits']) for o in rows]==[(i,4) for i in (1,2,3,4)]
    assert sum(o['label']==label for o,label in zip(rows, '4071'))>=3
    lefts,tops = ([o['box'][i] for o in rows] for i in (0,1))
    assert lefts[0]<400<lefts[1] and lefts[2]<400<lefts[3] and max(tops[:2])<380<min(tops[2:])

def test_a_name_in_a_model_is_not_obeyed_by_a_terminal(ten, alone, testing):
    folder = alone['cwd']/'odd'
    shutil.copytree(alone['cwd']/'ten', folder)
    info = json.loads((folder/'model.json').read_text())
    info['vocab'] = [f'\x1b[3{o}m{o}' for o in info['vocab']]
    (folder/'model.json').write_text(json.dumps(info))
    res = digits('predict', '--model', 'odd', next((testing/'3').iterdir()), **alone)
    assert '\\x1b[3' in res.stdout and '\x1b' not in res.stdout+res.stderr

@not_on_windows
@pytest.mark.parametrize('force', [['--force'],[]], ids=['force','plain'])
def test_of_two_trainings_for_one_folder_one_wins_whole_and_the_other_is_told(force, ten, alone):
    name = f'same{len(force)}'
    first = started('train', '--model', 'linear', '--epochs', '100000', '--out', name, *force, alone=alone)
    try:
        for line in first.stdout:
            if re.match(r' +1 ', line): break
        second = digits('train', '--model', 'linear', '--epochs', 1, '--out', name, *force, ok=False, **alone)
        assert f'{name} is in use' in one_sentence(second) and not second.stdout
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
    finally: first.kill()
    assert first.returncode==130 and 'stopped by hand' in (alone['cwd']/name/'card.md').read_text()
    again = digits('train', '--model', 'linear', '--epochs', 1, '--out', name, *force, ok=False, **alone)
    assert again.returncode==(not force), 'the lock of a process that has ended keeps nobody out'

@not_on_windows
def test_the_page_is_served_until_ctrl_c(ten, alone):
    from urllib.request import ProxyHandler,build_opener
    p = started('draw', '--model', 'ten', '--port', '0', alone=alone)
    try:
        url = next(o for line in p.stdout for o in re.findall(r'http://127\.0\.0\.1:\d+', line))
        for _ in range(100): # it says where before it listens there
            try: answer = build_opener(ProxyHandler({})).open(f'{url}/health', timeout=10).read()
            except OSError: time.sleep(.1)
            else: break
        assert json.loads(answer)['models']==['ten']
        p.send_signal(signal.SIGINT)
        out,err = p.communicate(timeout=60)
    finally: p.kill()
    assert p.returncode==0 and 'closed' in out and 'Traceback' not in err


# The digits

def test_where_prints_the_folder_and_nothing_else(ten, alone):
    folder = Path(alone['FASTAI_HOME'])/'data'/'digits_standin'
    res = digits('data', 'where', '--full', **alone)
    assert (res.stdout,res.stderr)==(f'{folder}\n','')
    assert json.loads(digits('data', 'where', '--full', '--json', **alone).stdout)==dict(path=str(folder), standin=True)

def test_where_fetches_nothing(alone, tmp_path):
    res = digits('data', 'where', '--full', ok=False, **{**alone, 'FASTAI_HOME': str(tmp_path/'none')})
    assert 'digits data download --full' in one_sentence(res) and not res.stdout and not (tmp_path/'none').exists()

def test_a_download_of_what_is_here_prints_where_it_is(mnist):
    assert digits('data', 'download').stdout==f'{mnist}\n'

@pytest.mark.parametrize('form,n', [('idx',4), ('csv',2), ('sheet',2)])
def test_conversions_are_written_and_their_names_printed(form, n, ten, alone):
    res = digits('data', 'convert', form, '--full', '--out', form, **alone)
    files = [alone['cwd']/o for o in res.stdout.splitlines()]
    assert sorted(files)==sorted((alone['cwd']/form).iterdir()) and len(files)==n
    assert all(o.stat().st_size>100 for o in files)


# check, exercises, progress: that the commands reach what is tested elsewhere

def test_check_tells_right_from_wrong_by_its_status(tmp_path):
    (tmp_path/'right.py').write_text(good)
    (tmp_path/'wrong.py').write_text(good.replace('-=', '+='))
    row, = csv.DictReader(digits('check', 'right.py', '--csv', cwd=tmp_path).stdout.splitlines())
    assert row['optimizer']=='right'
    res = digits('check', 'wrong.py', '--json', ok=False, cwd=tmp_path)
    assert res.returncode==1 and 'wrong' in [o['verdict'] for r in json.loads(res.stdout) for o in r['findings']]

def test_exercises_are_written_once_and_progress_is_told(path, tmp_path):
    res = json.loads(digits('exercises', '02', '--out', 'mine', '--json', cwd=tmp_path).stdout)
    assert res['02_baseline.ipynb']=='written' and (tmp_path/'mine'/'02_baseline.ipynb').exists()
    assert 'kept' in digits('exercises', '02', '--out', 'mine', cwd=tmp_path).stdout
    res = json.loads(digits('progress', 'mine', '--json', cwd=tmp_path).stdout)
    assert res['ok'] and res['done']==0 and res['of']>=2
    assert f'0 of {res["of"]} done' in digits('progress', 'mine', cwd=tmp_path).stdout

def test_check_takes_folders_and_leaves_out_what_tools_have_made(tmp_path):
    for name in ('a/right.py','b.py','.hidden/c.py','venv/lib/d.py'):
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/name).write_text('')
    (tmp_path/'venv'/'pyvenv.cfg').touch()
    from digits_fastai.app.cli import _python_files
    with working_in(tmp_path):
        assert [str(o) for o in _python_files([Path('.')])]==['a/right.py','b.py']
        assert [str(o) for o in _python_files([Path('b.py'),Path('a')])]==['b.py','a/right.py']
    (tmp_path/'empty').mkdir()
    assert 'empty has no Python files' in one_sentence(digits('check', 'empty', ok=False, cwd=tmp_path), 2)

def test_an_unknown_piece_lists_those_that_are_there(tmp_path):
    (tmp_path/'right.py').write_text(good)
    res = digits('check', '.', '--piece', 'MySDG', ok=False, cwd=tmp_path)
    assert res.returncode==2 and 'MySDG' in res.stderr and '(optimizer)' in res.stderr and not res.stdout
