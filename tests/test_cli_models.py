"From pictures to a model and back, on the command line: train, predict, evaluate, and the digits themselves."
import csv,json,os,re,shutil,signal,subprocess,sys,time
from pathlib import Path

import pytest

from conftest import in_a_terminal,run
from test_check import good
from test_cli import digits,one_sentence,start
from test_offline import no_sockets


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    "A folder to work in, with an empty cache and no network: the digits are the stand-in's."
    tmp = tmp_path_factory.mktemp('alone')
    (tmp/'sitecustomize.py').write_text(no_sockets)
    (tmp/'work').mkdir()
    return dict(cwd=tmp/'work', FASTAI_HOME=str(tmp/'home'), DIGITS_FASTAI_STRICT=None,
                PYTHONPATH=os.pathsep.join([str(tmp), os.environ['PYTHONPATH']]))

@pytest.fixture(scope='module')
def trained(alone):
    "A linear model of 3s and 7s, in alone's folder model/."
    return digits('train', '--model', 'linear', '--epochs', 10, **alone)

@pytest.fixture(scope='module')
def ten(alone):
    "A convnet of all ten digits, in ten/, as JSON."
    return digits('train', '--full', '--epochs', 4, '--out', 'ten', '--json', **alone)

@pytest.fixture(scope='module')
def testing(ten, alone): return Path(alone['FASTAI_HOME'])/'data'/'digits_standin'/'testing'

def test_training_prints_the_table_and_what_came_of_it(trained, alone):
    rows = re.findall(r'^ +(\d+)  +([\d.]+)  +([\d.]+)  +([\d.]+)  +\d\d:\d\d$', trained.stdout, re.M)
    assert [int(o[0]) for o in rows]==list(range(10)) and float(rows[-1][3])>.8
    said = re.search(r"test set of scikit-learn's small digits: ([01]\.\d{4}) \(3 [01]\.\d{4}, 7 [01]\.\d{4}\)", trained.stdout)
    assert float(said[1])>.9 and trained.stdout.endswith('written: model\n')
    assert sorted(o.name for o in (alone['cwd']/'model').iterdir())==['card.md','model.json','weights.safetensors']

def test_into_a_pipe_goes_no_bar_and_no_warning(trained, ten):
    for o in (trained,ten): assert not re.search(r'[\r\x1b█▏]|%\||Warning|Traceback', o.stdout+o.stderr)

def test_on_a_terminal_there_is_a_bar_that_goes_away(trained, tmp_path, path):
    text = in_a_terminal(*start, 'train', '--model', 'linear', '--epochs', 2, '--out', tmp_path/'model', cwd=tmp_path)
    assert re.search(r'[█-]\|', text), 'no bar'
    assert '|' not in text.split('\r')[-2]+text.split('\r')[-1] and 'written:' in text

def test_json_is_all_that_json_prints(ten, alone):
    res = json.loads(ten.stdout)
    assert res['model']=='convnet' and res['epochs']==4 and not res['stopped'] and res['folder']=='ten'
    assert res['classes']==list('0123456789')==list(res['by_class'])
    assert .8<res['test_accuracy']<=1 and 0<=res['accuracy']<=1
    assert 'valid_loss' in ten.stderr, 'the table belongs to the other stream'

def test_the_export_says_what_it_is(ten, alone):
    card = (alone['cwd']/'ten'/'card.md').read_text()
    acc = json.loads(ten.stdout)['test_accuracy']
    for o in ('conv_net', "scikit-learn's small digits", f'{acc:.4f} of', 'seed 42', '| 9 |'): assert o in card, o

def test_the_same_seed_gives_the_same_bytes_and_another_others(trained, alone):
    def weights(o): return (alone['cwd']/o/'weights.safetensors').read_bytes()
    for name,seed in (('again',42), ('other',1)):
        digits('train', '--model', 'linear', '--epochs', 10, '--seed', seed, '--out', name, **alone)
    assert weights('again')==weights('model')!=weights('other')

def test_a_model_that_is_there_is_not_replaced_unasked(trained, alone):
    before = (alone['cwd']/'model'/'weights.safetensors').read_bytes()
    res = digits('train', '--model', 'linear', ok=False, **alone)
    assert '--force' in one_sentence(res) and 'epoch' not in res.stdout, 'say it before the training'
    assert (alone['cwd']/'model'/'weights.safetensors').read_bytes()==before
    shutil.copytree(alone['cwd']/'model', alone['cwd']/'forced')
    digits('train', '--model', 'linear', '--epochs', 1, '--out', 'forced', '--force', **alone)
    assert (alone['cwd']/'forced'/'weights.safetensors').read_bytes()!=before

@pytest.mark.parametrize('force', [[], ['--force']])
def test_a_folder_that_is_no_model_is_left_alone(force, alone, tmp_path):
    (tmp_path/'thesis').mkdir()
    (tmp_path/'thesis'/'chapter1.tex').write_text('years of work')
    assert 'no exported model' in one_sentence(digits('train', '--out', tmp_path/'thesis', *force, ok=False, **alone))
    assert (tmp_path/'thesis'/'chapter1.tex').read_text()=='years of work'

@pytest.mark.parametrize('args,said', [(['--epochs','0'], 'epochs=0'), (['--data','gone'], 'gone'), (['--epochs','-1'], 'epochs=-1')])
def test_what_cannot_be_trained_is_one_sentence(args, said, alone):
    assert said in one_sentence(digits('train', '--out', 'never', *args, ok=False, **alone))
    assert not (alone['cwd']/'never').exists()

@pytest.mark.skipif(sys.platform=='win32', reason='signals are another matter on Windows')
def test_ctrl_c_keeps_what_has_had_an_epoch(alone):
    env = {k: v for k,v in {**os.environ, **alone, 'PYTHONUNBUFFERED': '1'}.items() if v is not None and k!='cwd'}
    p = subprocess.Popen([*start, 'train', '--model', 'linear', '--epochs', '100000', '--out', 'stopped'], cwd=alone['cwd'],
                         env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in p.stdout:
            if re.match(r' +1 ', line): break
        p.send_signal(signal.SIGINT)
        out,err = p.communicate(timeout=60)
    finally: p.kill()
    assert p.returncode==130 and 'Traceback' not in err and 'is kept' in err.splitlines()[-1]
    assert 'stopped by hand' in (alone['cwd']/'stopped'/'card.md').read_text()
    assert 'written: stopped' in out


# predict

def test_a_model_reads_the_test_pictures_in_a_new_process(ten, alone, testing):
    res = digits('predict', '--model', 'ten', testing, '--json', **alone)
    rows = json.loads(res.stdout)
    right = [Path(o['file']).parent.name==o['label'] for o in rows]
    assert len(rows)==360 and abs(sum(right)/len(right)-json.loads(ten.stdout)['test_accuracy'])<1e-6
    for o in rows: assert abs(sum(o['probabilities'].values())-1)<1e-4 and o['probabilities'][o['label']]==o['probability']

def test_a_person_gets_a_table(ten, alone, testing):
    file = next((testing/'7').iterdir())
    res = digits('predict', '--model', 'ten', file, **alone)
    head,row = res.stdout.splitlines()
    assert head.split()==['file','label','probability'] and row.split()[0]==str(file) and not res.stderr

def test_one_bad_file_does_not_keep_the_others_from_being_read(ten, alone, testing, tmp_path):
    (tmp_path/'letter.png').write_text('Dear digits')
    good = next((testing/'3').iterdir())
    res = digits('predict', '--model', 'ten', tmp_path/'letter.png', good, tmp_path/'gone.png', ok=False, **alone)
    assert res.returncode==1 and len(res.stdout.splitlines())==2 and 'Traceback' not in res.stderr
    errors = res.stderr.splitlines()
    assert len(errors)==2 and 'letter.png: is no image' in errors[0] and 'gone.png: is not there' in errors[1]
    res = digits('predict', '--model', 'ten', '--json', tmp_path/'letter.png', good, ok=False, **alone)
    assert res.returncode==1 and [sorted(o)[0] for o in json.loads(res.stdout)]==['error','file']

def test_only_bad_files_print_nothing_on_the_stream_for_results(ten, alone):
    res = digits('predict', '--model', 'ten', 'gone.png', ok=False, **alone)
    assert (res.returncode,res.stdout)==(1,'')

def test_dark_ink_is_read_with_invert_and_the_message_says_so(ten, alone, testing, tmp_path):
    from PIL import Image,ImageOps
    ImageOps.invert(Image.open(next((testing/'0').iterdir()))).save(tmp_path/'dark.png')
    assert '--invert' in one_sentence(digits('predict', '--model', 'ten', tmp_path/'dark.png', ok=False, **alone))
    assert digits('predict', '--model', 'ten', '--invert', tmp_path/'dark.png', '--json', **alone).returncode==0

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
    assert '500×400' in digits('predict', '--model', 'ten', tmp_path/'mine', ok=False, **alone).stderr
    rows = json.loads(digits('predict', '--model', 'ten', '--drawing', tmp_path/'mine', '--json', **alone).stdout)
    assert sum(Path(o['file']).parent.name==o['label'] for o in rows)>=12
    res = digits('predict', '--model', 'ten', '--drawing', 'gone.png', ok=False, **alone)
    assert res.returncode==1 and 'gone.png: No such file' in res.stderr

    rows = json.loads(digits('evaluate', tmp_path/'mine', '--model', 'ten', '--json', **alone).stdout)
    assert [(o['digit'],o['drawings']) for o in rows]==[('0',8),('7',8),('all',16)] and rows[-1]['accuracy']>=.75
    said = digits('evaluate', tmp_path/'mine', '--model', 'ten', **alone).stdout.splitlines()
    assert said[0].split()==['digit','drawings','accuracy','test_set'] and len(said)==4

@pytest.mark.parametrize('args,said', [(['predict','x.png','--model','no_model'], 'no_model'), (['evaluate','nowhere'], 'nowhere'),
                                       (['draw','--model','no_model','--port','0'], 'no_model')])
def test_a_folder_that_is_not_there_is_one_sentence(args, said, alone):
    assert said in one_sentence(digits(*args, ok=False, **alone))


# data

def test_where_prints_the_folder_and_nothing_else(ten, trained, alone):
    for args,name in (([], 'digits_standin_sample'), (['--full'], 'digits_standin')):
        folder = Path(alone['FASTAI_HOME'])/'data'/name
        res = digits('data', 'where', *args, **alone)
        assert (res.stdout,res.stderr)==(f'{folder}\n','')
        assert json.loads(digits('data', 'where', *args, '--json', **alone).stdout)==dict(path=str(folder), standin=True)

def test_where_fetches_nothing(alone, tmp_path):
    res = digits('data', 'where', '--full', ok=False, **{**alone, 'FASTAI_HOME': str(tmp_path/'none')})
    assert 'digits data download --full' in one_sentence(res) and not res.stdout and not (tmp_path/'none').exists()

def test_a_download_without_a_network_is_one_sentence_that_names_ways_out(alone, tmp_path):
    res = digits('data', 'download', ok=False, **{**alone, 'FASTAI_HOME': str(tmp_path/'home')})
    assert 'Ways out' in one_sentence(res) and not res.stdout

def test_a_download_of_what_is_here_prints_where_it_is(mnist):
    assert digits('data', 'download').stdout==f'{mnist}\n'

@pytest.mark.parametrize('form', ['idx','csv','sheet'])
def test_conversions_can_be_read_back(form, ten, alone):
    files = [alone['cwd']/o for o in digits('data', 'convert', form, '--full', '--out', form, **alone).stdout.splitlines()]
    assert len(files)=={'idx': 4}.get(form, 2) and all(o.stat().st_size>100 for o in files)
    from digits_fastai.formats import mnist_arrays,read_csv
    from PIL import Image
    if form=='idx': assert [len(o) for o in mnist_arrays(alone['cwd']/form)]==[1437,1437,360,360]
    if form=='csv':
        x,y = read_csv(files[1])
        assert x.shape==(360,28,28) and sorted(set(y.tolist()))==list(range(10))
    if form=='sheet':
        with Image.open(files[1]) as im: assert im.width*im.height>=360*28*28


# draw, check, exercises, progress: that the commands reach what is tested elsewhere

@pytest.mark.skipif(sys.platform=='win32', reason='signals are another matter on Windows')
def test_the_page_is_served_until_ctrl_c(ten, alone):
    from urllib.request import ProxyHandler,build_opener
    env = {k: v for k,v in {**os.environ, **alone}.items() if v is not None and k!='cwd'}
    p = subprocess.Popen([*start, 'draw', '--model', 'ten', '--port', '0'], cwd=alone['cwd'], env=env, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
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

def test_check_tells_right_from_wrong_by_its_status(tmp_path):
    (tmp_path/'right.py').write_text(good)
    (tmp_path/'wrong.py').write_text(good.replace('-=', '+='))
    assert digits('check', 'right.py', cwd=tmp_path).returncode==0
    res = digits('check', 'wrong.py', '--json', ok=False, cwd=tmp_path)
    assert res.returncode==1 and 'wrong' in [o['verdict'] for r in json.loads(res.stdout) for o in r['findings']]
    res = digits('check', 'right.py', 'wrong.py', '--csv', ok=False, cwd=tmp_path)
    rows = list(csv.DictReader(res.stdout.splitlines()))
    assert res.returncode==1 and [o['optimizer'] for o in rows]==['right','wrong']
    assert 'gone.py' in one_sentence(digits('check', 'gone.py', ok=False, cwd=tmp_path))

def test_exercises_are_written_once_and_progress_is_told(path, tmp_path):
    res = json.loads(digits('exercises', '02', '--out', 'mine', '--json', cwd=tmp_path).stdout)
    assert res['02_baseline.ipynb']=='written' and (tmp_path/'mine'/'02_baseline.ipynb').exists()
    assert 'kept' in digits('exercises', '02', '--out', 'mine', cwd=tmp_path).stdout
    res = json.loads(digits('progress', 'mine', '--json', cwd=tmp_path).stdout)
    assert res['ok'] and res['done']==0 and res['of']>=2
    assert f'0 of {res["of"]} done' in digits('progress', 'mine', cwd=tmp_path).stdout
    assert 'nowhere' in one_sentence(digits('progress', 'nowhere', ok=False, cwd=tmp_path))
