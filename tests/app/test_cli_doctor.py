"digits doctor: what it says to a healthy installation, and to each kind of patient."
import json,os,subprocess
from importlib.metadata import PackageNotFoundError

import pytest

from digits_fastai.app import doctor
from test_cli import digits,in_a_process


@pytest.fixture
def quick_pip(monkeypatch):
    "pip check says at once that all is well; other processes are real ones."
    real = subprocess.run
    def quick_run(command, **kwargs):
        if 'pip' not in command: return real(command, **kwargs)
        return subprocess.CompletedProcess(command, 0, 'No broken requirements found.\n', '')
    monkeypatch.setattr(subprocess, 'run', quick_run)

def examined(*args, ok=True, ask=digits, **env):
    "The findings by name, and what was printed."
    res = ask('doctor', '--json', *args, ok=ok, **env)
    said = json.loads(res.stdout)
    assert res.returncode==(not said['well'])==any(o['verdict']=='wrong' for o in said['findings'])
    assert all(o['do'] for o in said['findings'] if o['verdict']=='wrong'), 'it names something and says not what to do'
    return {o['what']: o for o in said['findings']},res

def with_packages(folder, monkeypatch, *versions, **modules):
    "Here and in new processes these packages seem to be installed, and these modules are found first."
    for o in versions:
        name,version = o.rsplit('-', 1)
        info = folder/f'{name}-{version}.dist-info'
        info.mkdir()
        (info/'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name.replace("_", "-")}\nVersion: {version}\n')
    for name,code in modules.items(): (folder/f'{name}.py').write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(folder), os.environ['PYTHONPATH']]))


looked_at = {'python','package','pip check','cache','mnist_sample','a tiny fit'}

@pytest.mark.slow # imports fastai in one more process, and pip's own check takes seconds
def test_a_healthy_installation_is_well_and_nothing_is_left_behind(path, tmp_path):
    found,_ = examined(cwd=tmp_path, ask=in_a_process)
    assert looked_at<=set(found) and found['a tiny fit']['verdict']=='fine' and not list(tmp_path.iterdir())

def test_a_healthy_installation_is_well(path, tmp_path, monkeypatch):
    def in_this_process(command, **kwargs):
        if command[-2]=='-c': exec(command[-1], {})
        return subprocess.CompletedProcess(command, 0, '', '')
    monkeypatch.setattr(subprocess, 'run', in_this_process)
    found,_ = examined(cwd=tmp_path)
    assert looked_at-{'pip check'}<=set(found) and found['a tiny fit']['verdict']=='fine' and not list(tmp_path.iterdir())

def test_a_package_that_is_missing_is_named(path, tmp_path, monkeypatch, quick_pip):
    there = doctor.version
    def without_torchvision(name):
        if name=='torchvision': raise PackageNotFoundError(name)
        return there(name)
    monkeypatch.setattr(doctor, 'version', without_torchvision)
    wrong = [o for o in doctor.examine(trial=False) if o.verdict=='wrong']
    assert [o.do for o in wrong]==['pip install torchvision'] and 'torchvision' in wrong[0].found

def test_a_person_sees_columns_whatever_the_names_are(path, tmp_path, quick_pip):
    lines = digits('doctor', '--quick', cwd=tmp_path, DIGITS_FASTAI_STRICT='1').stdout.splitlines()
    strict = next(o for o in lines if 'DIGITS_FASTAI_STRICT ' in o)
    column = strict.index('1 (set in the environment)')
    assert lines[-1]=='all is well'
    for o in lines[:-1]: assert o[:7].split()+[o[column-1]] in (['fine',' '], ['note',' '], [' ']) and o[column]!=' '

@pytest.mark.parametrize('versions,said', [(['plum_dispatch-2.10.1'], '_thread.RLock'),
                                           (['fastai-2.8.7','fastcore-2.2.39'], 'starmap'),
                                           (['nbdev-2.4.14','execnb-0.2.0'], 'execnb')])
def test_known_enemies_are_named(versions, said, tmp_path, path, monkeypatch, quick_pip):
    with_packages(tmp_path, monkeypatch, *versions)
    found,res = examined('--quick', ok=False)
    assert found['combination']['verdict']=='wrong' and said in res.stdout

def test_the_newest_set_is_no_enemy(tmp_path, path, monkeypatch, quick_pip):
    with_packages(tmp_path, monkeypatch, 'fastai-2.8.12', 'fastcore-2.2.39', 'plum_dispatch-2.9.0', 'nbdev-3.0.0')
    assert 'combination' not in examined('--quick', ok=False)[0]

def test_what_pip_check_says_is_a_note(path, monkeypatch):
    said = 'torchvision 0.29 has requirement torch==2.14, but you have torch 1.0.\n'
    def run(command, **kwargs): return subprocess.CompletedProcess(command, 1, said, '')
    monkeypatch.setattr(subprocess, 'run', run)
    found,res = examined('--quick')
    assert found['pip check']['verdict']=='note' and 'torch 1.0' in res.stdout

@pytest.mark.slow # pip looks through all packages
def test_pip_is_asked_what_does_not_go_together(tmp_path, path, monkeypatch):
    with_packages(tmp_path, monkeypatch, 'torch-1.0')
    found,res = examined('--quick')
    assert found['pip check']['verdict']=='note' and 'torch 1.0' in res.stdout

@pytest.mark.parametrize('code,how', [('raise ImportError("undefined symbol")', 'undefined symbol'),
                                      ('import os; os.abort()', 'status -6'), ('import os; os._exit(3)', 'status 3')])
def test_a_torch_that_cannot_be_imported_is_found(code, how, tmp_path, path, monkeypatch, quick_pip):
    with_packages(tmp_path, monkeypatch, torch=code)
    found,_ = examined(ok=False)
    assert found['a tiny fit']['verdict']=='wrong' and how in found['a tiny fit']['found']


# The cache

def cache(folder, **env): return examined('--quick', ok=False, FASTAI_HOME=str(folder), **env)[0]

def test_an_empty_cache_is_a_note_and_nothing_is_made(tmp_path, quick_pip):
    found = cache(tmp_path/'home')
    assert found['cache']['verdict']=='fine' and found['mnist_png']['verdict']=='note'
    assert 'digits data download --full' in found['mnist_png']['do'] and not (tmp_path/'home').exists()

def test_a_half_unpacked_folder_is_wrong(tmp_path, quick_pip):
    (tmp_path/'data'/'mnist_png'/'training'/'3').mkdir(parents=True)
    (tmp_path/'data'/'mnist_png'/'training'/'3'/'1.png').touch()
    o = cache(tmp_path)['mnist_png']
    assert o['verdict']=='wrong' and '1 of 70,000' in o['found'] and '--force' in o['do']

def test_a_config_that_cannot_be_read_is_wrong(tmp_path, quick_pip):
    (tmp_path/'config.ini').write_text('no section')
    assert cache(tmp_path)['cache']['verdict']=='wrong'

def test_a_cache_that_is_a_file_is_wrong(tmp_path, quick_pip):
    (tmp_path/'home').write_text('')
    assert cache(tmp_path/'home')['cache']['verdict']=='wrong'

@pytest.mark.skipif(os.name=='nt' or hasattr(os, 'geteuid') and os.geteuid()==0, reason='this user may write everywhere')
def test_a_cache_that_may_not_be_written_to_is_wrong(tmp_path, quick_pip):
    tmp_path.chmod(0o555)
    try: assert cache(tmp_path/'home')['cache']['verdict']=='wrong'
    finally: tmp_path.chmod(0o755)
