"What a notebook does not show of the logs: killed runs, failing disks, what W&B is told, and that nobody is called."
import json,os,sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from conftest import python,run
from digits_fastai.dataloaders import DataLoader,DataLoaders,Dataset
from digits_fastai.events import (
    Callback,CancelEpochException,CancelFitException,CancelTrainException,CancelValidException)
from digits_fastai.learner import Learner
from digits_fastai.losses import batch_accuracy,mnist_loss
from digits_fastai.optimizer import SGD
from digits_fastai.training.tracking import CSVLogger,WandbCallback,run_config

g = torch.Generator().manual_seed(0)
x = torch.rand(60,16, generator=g)
y = (x[:,:1]>.5).float()


def learner(cbs=None, **kwargs):
    torch.manual_seed(0)
    dls = DataLoaders(DataLoader(Dataset(x, y), 16), DataLoader(Dataset(x[:21], y[:21]), 8), vocab=['small','large'])
    learn = Learner(dls, nn.Linear(16,1), mnist_loss, metrics=batch_accuracy, lr=.5, cbs=cbs, **{'opt_func': SGD, **kwargs})
    learn.logger = lambda row: None
    return learn

class At(Callback):
    "Does something at an event of the second epoch."
    order = 90
    def __init__(self, event, f): self.event,self.f = event,f
    def __getattr__(self, k):
        if k==self.__dict__.get('event'): return self._now
        return super().__getattr__(k)
    def _now(self):
        if self.learn.fitting and self.learn.epoch==1: self.f()

def fails(e):
    def f(*args, **kwargs): raise e
    return f


# The file

def test_every_row_is_on_disk_before_the_next_epoch_begins(tmp_path):
    seen = []
    class Look(Callback):
        def before_epoch(self): seen.append((tmp_path/'a.csv').read_text().count('\n') if self.fitting else None)
    learner([CSVLogger(tmp_path/'a.csv'), Look()]).fit(3)
    assert seen==[0,2,3]

killed = '''
import os,signal,sys
sys.path[:0] = [{tests!r}, {tests!r}+'/training']
from test_tracking import *
real = os.fsync
for when in range(1, 5):
    for late in (False,True):
        file = f'{{when}}{{late}}.csv'
        with open(file, 'w') as f: f.write('an old log')
        if (pid := os.fork()): os.waitpid(pid, 0)
        else:
            rows = []
            def fsync(n):
                rows.append(n)
                if late: real(n)
                if len(rows)==when: os.kill(os.getpid(), signal.SIGKILL)
            os.fsync = fsync
            learner(CSVLogger(file)).fit(5)
            os._exit(1)
'''
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='Windows has no fork')
def test_a_run_killed_at_any_row_leaves_whole_rows_and_can_go_on(tmp_path):
    run(python, '-c', killed.format(tests=str(Path(__file__).parents[1])), cwd=tmp_path)
    whole = CSVLogger(tmp_path/'whole.csv')
    learner(whole).fit(5)
    columns = [o for o in whole.read_log() if o!='time']
    for when in range(1, 5):
        for late in (False,True):
            log = CSVLogger(tmp_path/f'{when}{late}.csv')
            assert log.read_log()[columns].equals(whole.read_log()[columns][:when])
            learn = learner(log)
            learn.fit(5, start_epoch=when) # other weights: only the rows' order is looked at
            assert log.read_log().epoch.tolist()==[0,1,2,3,4] and log.read_log().notna().all().all()

@pytest.mark.parametrize('e', [CancelFitException(), CancelEpochException(), KeyError('boom'), KeyboardInterrupt()])
def test_a_fit_that_ends_in_its_first_epoch_leaves_the_old_log_alone(tmp_path, e):
    log = CSVLogger(tmp_path/'a.csv')
    learn = learner(log)
    learn.fit(2)
    old = log.file.read_text()
    class Stop(Callback):
        def after_pred(self): raise e
    with learn.added_cbs(Stop()):
        if isinstance(e, (KeyError,KeyboardInterrupt)):
            with pytest.raises(type(e)): learn.fit(1)
        elif isinstance(e, CancelFitException): learn.fit(1)
    assert log.file.read_text()==old

@pytest.mark.parametrize('e,event,empty', [
    (CancelTrainException, 'after_backward', ['train_loss']),
    (CancelValidException, 'before_validate', ['valid_loss','batch_accuracy']),
    (CancelEpochException, 'before_train', ['train_loss','valid_loss','batch_accuracy']),
    (CancelEpochException, 'before_validate', ['valid_loss','batch_accuracy'])])
def test_what_is_called_off_leaves_its_own_cells_empty(tmp_path, e, event, empty):
    log = CSVLogger(tmp_path/'a.csv')
    learner([log, At(event, fails(e()))]).fit(3)
    df = log.read_log()
    assert list(df.columns[df.iloc[1].isna()])==empty
    assert df.iloc[[0,2]].notna().all().all() and df.epoch.tolist()==[0,1,2]

def test_a_validation_in_mid_fit_is_no_row_and_spoils_none(tmp_path):
    class Validates(Callback):
        order = 100
        def after_train(self): self.learn.validate()
        def after_epoch(self):
            if self.fitting: self.learn.validate(0)
    logs = []
    for cbs in ([], [Validates()]):
        logs.append(log := CSVLogger(tmp_path/f'{len(cbs)}.csv'))
        (learn := learner([log, *cbs])).fit(3)
        learn.validate()
    a,b = (o.read_log().drop(columns='time') for o in logs)
    assert a.equals(b) and len(a)==3

def test_a_log_for_one_fit_only(tmp_path):
    log = CSVLogger(tmp_path/'a.csv')
    learn = learner()
    learn.fit(2, cbs=log)
    learn.fit(1)
    assert len(log.read_log())==2

def test_append_refuses_other_columns_and_mends_a_torn_row(tmp_path):
    log = CSVLogger(tmp_path/'deep'/'er'/'a.csv', append=True)
    with pytest.raises(FileNotFoundError, match='no row has been written'): log.read_log()
    learner(log).fit(2)
    learn = learner(CSVLogger(log.fname, append=True))
    learn.metrics.clear()
    said = r"columns \['epoch'.*this fit would write.*\[in CSVLogger, at before_fit\]"
    with pytest.raises(ValueError, match=said): learn.fit(1)
    assert len(log.read_log())==2
    for torn in ('1,.5', 'epo'):
        text = log.file.read_text()+torn if torn=='1,.5' else torn
        log.file.write_text(text)
        learner(CSVLogger(log.fname, append=True)).fit(1)
        assert log.read_log().epoch.tolist()==([0,1,0] if torn=='1,.5' else [0])

def test_names_with_commas_and_quotes_come_back(tmp_path):
    def odd(p, t): return p.mean()
    odd.__name__ = 'a "strange", name'
    for _ in range(2):
        torch.manual_seed(0)
        log = CSVLogger(tmp_path/'a.csv', append=True)
        learn = learner(log)
        learn.metrics[0].func = odd
        learn.fit(1)
    assert list(log.read_log())==learn.recorder.metric_names and len(log.read_log())==2

def test_a_file_that_cannot_be_written_is_an_error_before_anything_is_trained(tmp_path):
    learn = learner(CSVLogger(tmp_path))
    before = learn.model.weight.clone()
    with pytest.raises(OSError): learn.fit(1)
    assert torch.equal(before, learn.model.weight)


# Weights & Biases

wandb = pytest.importorskip('wandb', reason='the extra track is not installed')

@pytest.fixture(autouse=True)
def contained(tmp_path_factory, monkeypatch):
    "Whatever W&B writes, it writes into a folder of the test; and it can't be online."
    here = tmp_path_factory.mktemp('wandb')
    for o in ('DIR','CACHE_DIR','CONFIG_DIR','DATA_DIR'): monkeypatch.setenv(f'WANDB_{o}', str(here))
    for o in ('WANDB_API_KEY','WANDB_PROJECT','WANDB_NAME'): monkeypatch.delenv(o, raising=False)
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_ERROR_REPORTING', 'false')
    yield here
    assert wandb.run is None, 'a run was left open'

class Told:
    "What W&B is told: rows by step, the exit code of each run that was finished, its configuration then."
    def __init__(self, monkeypatch):
        self.rows,self.ends,self.config = {},[],None
        log,finish = wandb.Run.log,wandb.Run.finish
        def told_log(run, values, step=None, **kwargs):
            self.rows.setdefault(step, {}).update(values)
            log(run, values, step=step, **kwargs)
        def told_finish(run, exit_code=None, **kwargs):
            self.ends.append(exit_code)
            self.config = dict(run.config)
            finish(run, exit_code=exit_code, **kwargs)
        monkeypatch.setattr(wandb.Run, 'log', told_log)
        monkeypatch.setattr(wandb.Run, 'finish', told_finish)

    @property
    def table(self): return pd.DataFrame.from_dict(self.rows, orient='index')

@pytest.fixture
def told(monkeypatch): return Told(monkeypatch)

def test_a_run_has_what_the_recorder_has_and_the_predictions(contained, told):
    track = WandbCallback(n_preds=9, project='my project', name='my run', config={'idea': 'none', 'batch_size': 'mine'}, tags=['a'])
    learn = learner(track, opt_func=lambda params, lr: SGD(params, lr, mom=.9))
    learn.fit(3)
    rows,rec,n = told.table,learn.recorder,len(learn.dls.train)
    assert rows.index.tolist()==list(range(3*n))
    assert rows.train_loss.tolist()==[float(o) for o in rec.losses] and rows.lr_0.tolist()==rec.lrs
    assert set(rows.mom_0)=={.9} and set(rows.wd_0)=={0.}
    assert rows.iloc[n-1::n][['train_loss','valid_loss','batch_accuracy']].values.tolist()==rec.values
    assert rows.valid_loss.notna().sum()==3 and rows.epoch.iloc[n-1::n].tolist()==[1,2,3]
    want = {**run_config(learn), 'idea': 'none', 'batch_size': 'mine'}
    assert told.config==want and want['seed']==0 and want['n_params']==17 and want['mom']==.9
    assert told.ends==[0] and len(list(track.folder.glob('run-*.wandb')))==1

    table = json.loads(next(track.folder.rglob('predictions*.table.json')).read_text())
    assert table['columns']==['image','label','prediction','probability'] and len(table['data'])==9
    idxs = torch.linspace(0, 20, 9).round().long().tolist()
    for i,(_,label,said,p) in zip(idxs, table['data']):
        want,_,probs = learn.predict(x[i])
        assert label==['small','large'][int(y[i])] and (said,p)==(want,probs.max().item())
    from PIL import Image
    kept = [np.array(Image.open(f)) for f in contained.rglob('*') if f.is_file() and f.read_bytes()[:4]==b'\x89PNG']
    pixels = [(x[i].view(4,4)*255).round().byte().numpy() for i in idxs]
    assert all(any(np.array_equal(a, b) for b in kept) for a in pixels)

@pytest.mark.parametrize('e', [KeyError('boom'), KeyboardInterrupt(), CancelFitException()])
def test_the_run_is_closed_whatever_ends_the_fit(e, told):
    track = WandbCallback(log_preds=False)
    learn = learner([track, At('after_pred', fails(e))])
    if isinstance(e, CancelFitException): learn.fit(2)
    else:
        with pytest.raises(type(e)): learn.fit(2)
    assert wandb.run is None and track.tracker is None
    assert told.ends==[int(not isinstance(e, CancelFitException))]
    assert len(told.rows)==len(learn.dls.train)

def test_a_run_of_your_own_is_used_and_left_open(told):
    track = WandbCallback(log_preds=False, every=2)
    with wandb.init(settings=dict(silent=True, console='off')) as mine:
        learn = learner(track)
        learn.fit(1)
        mine.log({'yours': 1})
        before = mine.step
        learn.fit(2)
        assert wandb.run is mine and not mine._is_finished
    assert told.rows.pop(None)=={'yours': 1}
    rows,n = told.table,len(learn.dls.train)
    assert rows.index.is_monotonic_increasing and rows.index.is_unique and (rows.index>before).sum()>n
    assert rows.valid_loss.notna().sum()==3 and rows.raw_loss.notna().sum()==3*n//2

def test_a_fit_that_goes_on_numbers_its_rows_as_one_that_never_stopped(told):
    learn = learner(WandbCallback(log_preds=False))
    learn.fit(3, start_epoch=2)
    n = len(learn.dls.train)
    assert list(told.rows)==list(range(2*n, 3*n))

def test_fits_that_are_none_open_no_run(contained):
    learn = learner(WandbCallback())
    learn.validate()
    learn.get_preds()
    learn.lr_finder = None
    learn.fit(1)
    assert not list(contained.rglob('*.wandb'))

def test_a_failing_tracker_stops_a_fit_before_the_first_batch_and_never_after(monkeypatch):
    plain = learner()
    plain.fit(2)
    learn = learner(WandbCallback())
    begun = learn.model.weight.clone()
    with monkeypatch.context() as m:
        m.setattr(wandb, 'init', fails(OSError(28, 'full')))
        with pytest.raises(OSError): learn.fit(2)
    assert torch.equal(learn.model.weight, begun)

    class Breaks(WandbCallback):
        def after_batch(self):
            if self.training and self.train_iter==3:
                finish,self.tracker.log = self.tracker.finish,fails(RuntimeError('gone'))
                def breaks(**kwargs):
                    finish(**kwargs)
                    raise RuntimeError('gone, too')
                self.tracker.finish = breaks
            super().after_batch()
    learn = learner(Breaks())
    with pytest.warns(RuntimeWarning, match='gone') as said: learn.fit(2)
    assert len([o for o in said if 'W&B failed' in str(o.message)])==1
    assert torch.equal(learn.model.weight, plain.model.weight) and learn.recorder.values==plain.recorder.values

def test_offline_wandb_is_told_to_be_silent_and_to_call_nobody(tmp_path, monkeypatch):
    monkeypatch.delenv('WANDB_ERROR_REPORTING')
    asked = []
    def init(**kwargs):
        asked.append((kwargs, os.environ['WANDB_ERROR_REPORTING']))
        raise OSError('seen enough')
    monkeypatch.setattr(wandb, 'init', init)
    with pytest.raises(OSError, match='seen enough'): learner(WandbCallback(dir=tmp_path/'runs')).fit(1)
    kwargs,reports = asked[0]
    assert kwargs['mode']=='offline' and kwargs['settings']==dict(console='off', silent=True) and reports=='false'
    assert kwargs['dir']==tmp_path/'runs' and (tmp_path/'runs').is_dir()

def test_offline_unless_told_otherwise(monkeypatch):
    def mode(**kwargs): return WandbCallback(**kwargs).init['mode']
    assert mode()=='offline'
    monkeypatch.delenv('WANDB_MODE')
    monkeypatch.setenv('WANDB_API_KEY', 'f'*40)
    assert mode()=='offline' and mode(mode='online')=='online' # a key is no wish
    monkeypatch.setenv('WANDB_MODE', 'disabled')
    assert mode()=='disabled'
    track = WandbCallback()
    learner(track).fit(1)
    assert track.tracker is None

quiet = '''
import os,subprocess,sys
sys.path[:0] = [{tests!r}, {tests!r}+'/training']
from test_tracking import *
real,started = subprocess.Popen,[]
class Popen(real):
    def __init__(self, args, *rest, **kwargs):
        started.append([str(o) for o in args] if isinstance(args, (list,tuple)) else [args])
        super().__init__(args, *rest, **kwargs)
subprocess.Popen = Popen
learner(WandbCallback(dir='runs')).fit(2)
core = [o for o in started if 'wandb-core' in o[0]]
assert len(core)==1 and '--no-observability' in core[0], started # else it looks for its makers' server, offline or not
'''
@pytest.mark.slow # one more process, with W&B's own behind it
def test_nothing_is_said_nobody_is_called_and_nothing_is_written_elsewhere(tmp_path):
    for o in ('home','cwd','tmp'): (tmp_path/o).mkdir()
    env = {o: None for o in os.environ if 'WANDB' in o} # the process behind the runs of this one, among them
    env.update(WANDB_CACHE_DIR=str(tmp_path/'w'), WANDB_CONFIG_DIR=str(tmp_path/'w'), WANDB_DATA_DIR=str(tmp_path/'w'))
    code = quiet.format(tests=str(Path(__file__).parents[1]))
    res = run(python, '-W', 'error::RuntimeWarning', '-c', code, cwd=tmp_path/'cwd',
              HOME=str(tmp_path/'home'), TMPDIR=str(tmp_path/'tmp'), **env)
    assert res.stdout=='' and res.stderr==''
    assert {o.name for o in (tmp_path/'cwd').iterdir()}=={'runs'} and not list((tmp_path/'home').rglob('*'))

def test_without_wandb_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    with pytest.raises(ImportError, match=r'pip install "digits_fastai\[track\]"'): WandbCallback()
    (tmp_path/'wandb').mkdir() # what W&B leaves behind can be imported as an empty package
    monkeypatch.delitem(sys.modules, 'wandb')
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    with pytest.raises(ImportError, match='track'): WandbCallback()
