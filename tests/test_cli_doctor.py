"digits doctor: what it says to a healthy installation, and to each kind of patient."
import json,os,sys
from pathlib import Path

import pytest

from conftest import python,run
from test_cli import digits


def examined(*args, ok=True, **env):
    res = digits('doctor', '--json', *args, ok=ok, **env)
    said = json.loads(res.stdout)
    assert res.returncode==(not said['well'])==any(o['verdict']=='wrong' for o in said['findings'])
    assert all(o['do'] for o in said['findings'] if o['verdict']=='wrong'), 'it names something and says not what to do'
    return {o['what']: o for o in said['findings']},res

def with_packages(folder, *versions, **modules):
    "An environment in which these packages seem to be installed, and these modules are found first."
    for o in versions:
        name,version = o.rsplit('-', 1)
        (info := folder/f'{name}-{version}.dist-info').mkdir()
        (info/'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name.replace("_", "-")}\nVersion: {version}\n')
    for name,code in modules.items(): (folder/f'{name}.py').write_text(code)
    return dict(PYTHONPATH=os.pathsep.join([str(folder), os.environ['PYTHONPATH']]))


def test_a_healthy_installation_is_well(path, tmp_path):
    found,_ = examined(cwd=tmp_path)
    assert {'python','torch','fastai','plum-dispatch','cache','free space','mnist_sample'}<=set(found)
    tried = {k: o['verdict'] for k,o in found.items() if k.startswith('trying')}
    assert len(tried)==5 and set(tried.values())=={'fine'}
    assert not list(tmp_path.iterdir()), 'it leaves nothing behind'

def test_a_person_sees_a_line_for_each_and_the_end(tmp_path, path):
    res = digits('doctor', '--quick', cwd=tmp_path)
    lines = res.stdout.splitlines()
    assert all(o.split()[0] in ('fine','note','->') for o in lines[:-1]) and lines[-1]=='all is well' and not res.stderr

def test_it_does_not_load_what_it_examines(tmp_path, path):
    look = '''
import sys
from digits_fastai.cli import app
try: app(['doctor', '--quick'])
except SystemExit as e: print('loaded', *{'torch','fastai','numpy','matplotlib','pandas'}&set(sys.modules))
'''
    assert run(python, '-c', look, cwd=tmp_path).stdout.splitlines()[-1]=='loaded'

@pytest.mark.parametrize('versions,said', [(['plum_dispatch-2.10.1'], '_thread.RLock'),
                                           (['fastai-2.8.7','fastcore-2.2.39'], 'starmap'),
                                           (['nbdev-2.4.14','execnb-0.2.0'], 'execnb')])
def test_known_enemies_are_named(versions, said, tmp_path, path):
    found,res = examined('--quick', ok=False, **with_packages(tmp_path, *versions))
    assert found['combination']['verdict']=='wrong' and said in res.stdout

def test_the_newest_set_is_no_enemy(tmp_path, path):
    env = with_packages(tmp_path, 'fastai-2.8.12', 'fastcore-2.2.39', 'plum_dispatch-2.9.0', 'nbdev-3.0.0')
    assert 'combination' not in examined('--quick', ok=False, **env)[0]

@pytest.mark.parametrize('code,how', [('raise ImportError("undefined symbol")', 'undefined symbol'),
                                      ('import os; os.abort()', 'signal 6'), ('import os; os._exit(3)', 'status 3')])
def test_a_torch_that_cannot_be_imported_is_found_and_the_rest_still_tried(code, how, tmp_path, path):
    found,_ = examined(ok=False, **with_packages(tmp_path, torch=code))
    assert found['trying torch']['verdict']=='wrong' and how in found['trying torch']['found']
    assert sum(k.startswith('trying') for k in found)==5, 'one death ended the examination'

def test_debug_shows_the_traceback_of_a_trial(tmp_path, path):
    env = with_packages(tmp_path, torchvision='raise RuntimeError("operator torchvision::nms does not exist")')
    res = digits('--debug', 'doctor', ok=False, **env)
    assert res.returncode==1 and 'Traceback' in res.stderr and 'torchvision.py' in res.stderr
    assert 'Traceback' not in digits('doctor', ok=False, **env).stderr

def test_a_package_that_prints_does_not_spoil_the_json(tmp_path, path):
    env = with_packages(tmp_path, sitecustomize='print("hello from a hook")')
    res = digits('doctor', '--json', **env)
    assert json.loads(res.stdout.split('hook\n', 1)[1])['well']


# The cache

def cache(folder, **env): return examined('--quick', ok=False, FASTAI_HOME=str(folder), **env)[0]

def test_an_empty_cache_is_a_note_and_nothing_is_made(tmp_path):
    found = cache(tmp_path/'home')
    assert found['cache']['verdict']=='fine' and found['mnist_png']['verdict']=='note'
    assert 'digits data download --full' in found['mnist_png']['do'] and not (tmp_path/'home').exists()

def test_a_half_unpacked_folder_is_wrong(tmp_path):
    (tmp_path/'data'/'mnist_png'/'training'/'3').mkdir(parents=True)
    (tmp_path/'data'/'mnist_png'/'training'/'3'/'1.png').touch()
    o = cache(tmp_path)['mnist_png']
    assert o['verdict']=='wrong' and '1 of 70,000' in o['found'] and '--force' in o['do']

def test_a_wrong_archive_is_a_note(tmp_path):
    (tmp_path/'archive').mkdir()
    (tmp_path/'archive'/'mnist_sample.tgz').write_text('<html>Please log in</html>')
    o = cache(tmp_path)['mnist_sample.tgz']
    assert o['verdict']=='note' and 'web page' in o['found']

def test_what_a_killed_process_left_is_a_note(tmp_path):
    (tmp_path/'data'/'.mnist_sample-abcdefgh.tmp').mkdir(parents=True)
    assert 'abcdefgh' in cache(tmp_path)['left over']['found']

def test_a_config_that_cannot_be_read_is_wrong(tmp_path):
    (tmp_path/'config.ini').write_text('no section')
    assert cache(tmp_path)['cache']['verdict']=='wrong'

def test_a_cache_that_is_a_file_is_wrong(tmp_path):
    (tmp_path/'home').write_text('')
    assert cache(tmp_path/'home')['cache']['verdict']=='wrong'

@pytest.mark.skipif(os.name=='nt' or hasattr(os, 'geteuid') and os.geteuid()==0, reason='this user may write everywhere')
def test_a_cache_that_may_not_be_written_to_is_wrong(tmp_path):
    tmp_path.chmod(0o555)
    try: assert cache(tmp_path/'home')['cache']['verdict']=='wrong'
    finally: tmp_path.chmod(0o755)
