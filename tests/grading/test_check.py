"The checks are right: every wrong piece in the zoo is found out where it should be, and nothing right is called wrong."
import csv,json,os,random,re,signal,sys,threading,time,warnings
from functools import lru_cache,partial
from pathlib import Path
from weakref import WeakSet
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import zoo
from conftest import chapters
from digits_fastai.grading.assess import TooLong,time_limit
from digits_fastai.grading.check import (
    Report,check_file,check_loss,check_metric,check_optimizer,check_piece,grade,kind_of,kinds)


@lru_cache(None)
def graded(case): return check_piece(case.piece, case.kind, case.like, 1.5 if case.verdict=='wrong' else 10.)
def name(case): return f'{case.kind}-{case.piece.__name__}'
def those(verdict): return [o for o in zoo.cases if o.verdict==verdict]

@pytest.mark.parametrize('case', those('wrong'), ids=name)
def test_a_wrong_piece_is_found_out_at_the_property_that_names_its_mistake(case):
    report = graded(case)
    assert not report
    finding = report[case.property]
    assert finding.verdict=='wrong', report
    assert case.says in str(finding), finding
    assert finding.reread, finding

@pytest.mark.parametrize('case', those('right'), ids=name)
def test_a_right_piece_passes(case):
    report = graded(case)
    assert report and not report.wrong, report

@pytest.mark.parametrize('case', those('as in the book'), ids=name)
def test_a_piece_as_in_the_book_passes_and_says_so(case):
    report = graded(case)
    assert report, report
    assert report[case.property].verdict=='as in the book', report


def libraries():
    "(kind, like, piece) of ours, fastai's and PyTorch's."
    import torch.nn.functional as F
    from fastai import learner as fl, losses as flo, metrics as fm, optimizer as fo
    from fastai.data.core import TfmdDL
    from fastai.data.load import DataLoader as FastaiDL
    from torch import nn,optim
    from torch.utils import data
    from digits_fastai.files import archives
    from digits_fastai.nets import convolutions
    from digits_fastai import dataloaders,learner,losses,metrics,optimizer
    yield from (('dataset', None, o) for o in (dataloaders.Dataset, data.TensorDataset))
    yield from (('dataloader', None, o) for o in (dataloaders.DataLoader, data.DataLoader, FastaiDL, TfmdDL))
    for like in ('mnist_loss','mse','cross_entropy','sigmoid_mse','softmax_mse'): yield 'loss',like,getattr(losses, like)
    yield from (('loss', 'mse', o) for o in (F.mse_loss, nn.MSELoss, nn.MSELoss(), flo.MSELossFlat()))
    yield from (('loss', 'l1', o) for o in (F.l1_loss, nn.L1Loss(), flo.L1LossFlat()))
    yield from (('loss', 'cross_entropy', o) for o in (F.cross_entropy, nn.CrossEntropyLoss(), flo.CrossEntropyLossFlat()))
    yield from (('loss', 'binary_cross_entropy', o) for o in (F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss()))
    yield from (('metric', 'batch_accuracy', o) for o in (losses.batch_accuracy, fm.accuracy_multi, metrics.AvgMetric, fl.AvgMetric))
    yield from (('metric', 'accuracy', o) for o in (losses.accuracy, fm.accuracy, fl.AvgMetric(fm.accuracy)))
    yield 'metric','error_rate',fm.error_rate
    yield from (('optimizer', 'sgd', o) for o in (optimizer.BasicOptim, optimizer.SGD, optim.SGD, fo.SGD))
    yield from (('optimizer', 'momentum', o) for o in (optimizer.SGD, optim.SGD, fo.SGD, partial(optimizer.SGD, mom=.5)))
    yield from (('optimizer', 'adam', o) for o in (optimizer.Adam, optim.Adam, optim.AdamW, fo.Adam))
    yield from (('learner', None, o) for o in (learner.Learner, fl.Learner))
    yield 'untar',None,archives.unpack
    yield from (('conv', None, o) for o in (convolutions.conv2d, F.conv2d))

def test_ours_and_fastais_and_pytorchs_pass():
    wrong,n = [],0
    for kind,like,o in libraries():
        report,n = check_piece(o, kind, like),n+1
        if not report: wrong.append(report)
    assert not wrong and n>=40, wrong

def test_the_zoo_is_large_and_every_kind_is_in_it():
    assert len(those('wrong'))>=100 and {o.kind for o in zoo.cases}==set(kinds)
    names = [name(o) for o in zoo.cases]
    assert len(set(names))==len(names)

def headings(): return {chapter.name: set(re.findall(r'^##+ (.+)$', '\n'.join(''.join(c['source']) for c in
    json.loads(chapter.text)['cells'] if c['cell_type']=='markdown'), re.M)) for chapter in chapters}

def test_the_sections_to_reread_are_there():
    there,seen = headings(),set()
    for case in those('right'): seen |= {o.reread for o in graded(case).findings}
    assert len(seen)>15
    lost = [o for o in seen if o.partition(': ')[2] not in there.get(o.partition(': ')[0], ())]
    assert not lost

def test_every_property_can_fail():
    "One that nothing in the zoo lacks is one that may be no check at all."
    never = {}
    for case in zoo.cases:
        for o in graded(case).findings:
            never.setdefault((case.kind, o.name), True)
            if o.verdict in ('wrong','as in the book'): never[case.kind,o.name] = False
    assert not (idle := sorted(k for k,v in never.items() if v)), idle


class Hangs:
    "Neither listens to errors nor ends."
    def __init__(self, params, lr): self.params,self.lr = list(params),lr
    def zero_grad(self): pass
    def step(self):
        while True:
            try: len(self.params)
            except: pass # noqa: E722 a learner's

def test_what_nothing_stops_is_stopped(): assert 'no end within' in check_optimizer(Hangs, limit=.5)['the first step'].got

def test_also_in_a_thread_and_then_the_thread_goes_on():
    out = []
    t = threading.Thread(target=lambda: out.append(check_optimizer(zoo.optimizers.UntilItIsSmall, limit=.5)))
    t.start()
    t.join(60)
    assert out and 'no end within' in out[0]['the first step'].got

def test_the_world_is_as_before(capsys):
    def loss(p, t):
        print('hello')
        random.seed(3), torch.manual_seed(3), np.random.seed(3), torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        sys.path.insert(0, 'nowhere')
        os.chdir('/')
        warnings.warn('beware')
        return zoo.losses.strict(p, t)
    before = random.getstate(),torch.get_rng_state(),np.random.get_state()[1].tolist(),sys.path[:],os.getcwd()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        check_loss(loss)
    after = random.getstate(),torch.get_rng_state(),np.random.get_state()[1].tolist(),sys.path[:],os.getcwd()
    assert before[0]==after[0] and torch.equal(before[1], after[1]) and before[2:]==after[2:]
    assert torch.is_grad_enabled() and torch.get_default_dtype()==torch.float32
    assert capsys.readouterr()==('', '')

def test_an_alarm_of_somebody_elses_goes_on():
    rung = []
    old = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, .6)
    try:
        check_loss(zoo.losses.strict)
        time.sleep(1)
        assert rung
    finally: signal.signal(signal.SIGALRM, old)

def test_ctrl_c_is_not_a_finding():
    def interrupted(p, t): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): check_loss(interrupted)

def test_a_stub_is_not_attempted():
    def mnist_loss(p, t): raise NotImplementedError('exercise 5.1')
    report = check_loss(mnist_loss)
    assert not report and not report.wrong and 'exercise 5.1' in str(report)

def test_a_report_is_a_text_a_table_and_json():
    report = check_optimizer(zoo.optimizers.Twice)
    assert 'subtracted twice' in repr(report) and 'step 1, parameter 0 of shape [3, 2]' in str(report)
    assert Report.from_dict(json.loads(report.to_json())).findings==report.findings
    html = report._repr_html_()
    assert html.count('<tr>')==len(report.findings) and '<script>' not in html
    ElementTree.fromstring(f'<p>{html.replace("<br>", "<br/>")}</p>')
    with pytest.raises(AssertionError, match='subtracted twice'): assert report, str(report)

def test_what_a_piece_says_cannot_become_html():
    def loss(p, t): raise ValueError('<script>alert(1)</script>')
    assert '<script>' not in check_loss(loss)._repr_html_()

@pytest.mark.parametrize('check,piece,like', [(check_loss, zoo.losses.strict, 'mnistloss'), (check_metric, zoo.metrics.strict, 'f1'),
                                              (check_optimizer, zoo.optimizers.Sgd, 'lion')])
def test_an_unknown_like_is_an_error_of_who_asks(check, piece, like):
    with pytest.raises(ValueError, match=like): check(piece, like=like)

def test_a_loss_may_be_held_against_any_function():
    def focal(p, t): return ((1-p.softmax(1).gather(1, t[:,None]))**2*-p.log_softmax(1).gather(1, t[:,None])).mean()
    def mine(p, t):
        lp = p.log_softmax(1)[torch.arange(len(p)),t.flatten()]
        return -((1-lp.exp()).pow(2)*lp).mean()
    assert check_loss(mine, like=focal)
    assert not check_loss(zoo.losses.by_log_softmax, like=focal)

@pytest.mark.parametrize('decay,ok', [('torch', True), ('fastai', False), ('either', True)])
def test_whose_weight_decay_can_be_said(decay, ok):
    class InTheGradient(zoo.optimizers.Momentum):
        def __init__(self, params, lr, momentum, weight_decay):
            super().__init__(params, lr, momentum)
            self.wd = weight_decay
        def change(self, i, grad): return super().change(i, grad + self.wd*self.params[i])
    assert bool(check_optimizer(InTheGradient, 'momentum', decay))==ok


good = '''
import torch
class SGD:
    def __init__(self, params, lr): self.params,self.lr = list(params),lr
    def step(self):
        with torch.no_grad():
            for p in self.params: p -= self.lr*p.grad
    def zero_grad(self):
        for p in self.params: p.grad = None
def helper(x): return x
print('hello')
'''
bad = good.replace('p -=', 'p +=')+'''
def mse_loss(p, t): return (p-t).pow(2).sum()
'''

def write(folder, **files):
    for k,v in files.items(): (folder/f'{k}.py').write_text(v, encoding='utf-8')
    return [folder/f'{k}.py' for k in files]

@pytest.fixture(scope='module')
def students(tmp_path_factory):
    "Four files, each of which is checked once, in whatever form its grades are then asked for."
    once = lru_cache(None)(check_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules['digits_fastai.grading.check'], 'check_file', once)
        yield write(tmp_path_factory.mktemp('students'), ann=good, bo=bad, cy='x = 1', di='def f(:')

def test_a_file_is_graded(students):
    ann,bo,cy,_ = students
    text,status = grade([ann])
    assert status==0 and 'SGD, optimizer (sgd): ' in text and 'wrong' not in text and 'hello' not in text
    text,status = grade([bo], piece='optimizer', form='json')
    found = json.loads(text)
    assert status==1 and [o['kind'] for o in found]==['optimizer (sgd)'] and not found[0]['right']
    assert any('uphill' in f['cause'] for f in found[0]['findings'])
    text,status = grade([cy])
    assert status==2 and 'nothing to check' in text

def test_one_row_a_student(students):
    text,status = grade(students, form='csv')
    rows = {Path(o['file']).stem: o for o in csv.DictReader(text.splitlines())}
    assert status==1 and list(rows)==['ann','bo','cy','di']
    assert rows['ann']['optimizer']=='right' and rows['bo']['optimizer']=='wrong' and rows['cy']['optimizer']==''
    assert rows['bo']['first mistake']=='SGD: the first step' and rows['ann']['first mistake']==''
    assert 'can be run' in rows['di']['first mistake']

@pytest.mark.parametrize('times', [3, pytest.param(20, marks=pytest.mark.slow)])
def test_the_alarm_does_not_ring_while_a_weak_reference_dies(monkeypatch, times):
    "What is raised in its callback is lost, and Python prints that it was."
    lost,kept = [],WeakSet()
    monkeypatch.setattr(sys, 'unraisablehook', lambda o: lost.append(str(o.exc_type)))
    class Thing: pass
    for _ in range(times):
        with pytest.raises(TooLong), time_limit(.01):
            while True: kept.add(Thing())
    assert not lost

def test_what_ends_python_is_a_finding(tmp_path):
    kills = 'import os\ndef mse(p, t): return (p-t).pow(2).mean()\ndef mnist_loss(p, t): os._exit(3)\n'
    found = check_file(*write(tmp_path, kills=kills), limit=.5)
    assert found[0].piece=='mse' and 'status 3' in str(found[-1]) and 'mnist_loss' in str(found[-1])

@pytest.mark.slow # the limit must leave time for importing PyTorch
def test_what_cannot_be_interrupted_is_a_finding(tmp_path):
    sleeps = 'def mse(p, t): return sum(range(10**12))'
    found = check_file(*write(tmp_path, sleeps=sleeps), limit=.5, timeout=15)
    assert 'no end within 15' in str(found[-1]) and found[-1].piece=='mse'

def test_a_file_that_is_not_there_and_an_unknown_form(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone.py'): grade([tmp_path/'gone.py'])
    with pytest.raises(ValueError, match='xml'): grade([], form='xml')

def test_pieces_are_known_by_their_looks():
    names = {o.piece.__name__: o.piece for o in zoo.cases}
    found = {(c.kind, c.piece.__name__) for c in zoo.cases} & {(kind_of(k, o)[0], k) for k,o in names.items()}
    assert ('optimizer','BasicOptim') in found and ('learner','BookLoop') in found and ('dataloader','generator_loader') in found
    assert kind_of('BasicOptim', zoo.optimizers.BasicOptim)==('optimizer','sgd')
    assert kind_of('MyAdam', zoo.optimizers.Adam)==('optimizer','adam') and kind_of('M', zoo.optimizers.Momentum)[1]=='momentum'
    for k,want in {'mnist_loss': ('loss','mnist_loss'), 'my_cross_entropy': ('loss','cross_entropy'), 'mse_loss': ('loss','mse'),
                   'accuracy': ('metric','accuracy'), 'batch_accuracy': ('metric','batch_accuracy'), 'untar_data': ('untar',None),
                   'conv2d': ('conv',None), 'plot_loss_curve': (None,None), 'train_epoch': (None,None), 'convert': (None,None)}.items():
        assert kind_of(k, lambda p, t: p)==want, k
