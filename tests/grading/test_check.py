"The checks are right: every wrong piece in the zoo is found out where it should be, and nothing right is called wrong."
import csv,json,os,random,re,signal,sys,threading,time,warnings
from collections import namedtuple
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
from digits_fastai.grading import check
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

def wrong_of(pieces):
    reports = [check_piece(o, kind, like) for kind,like,o in pieces]
    return [o for o in reports if not o]

def test_one_library_piece_of_each_kind_passes():
    first = {(kind, like): (kind, like, o) for kind,like,o in list(libraries())[::-1] if kind!='learner'}
    assert not wrong_of(first.values()) and len(first)>=14

@pytest.mark.slow
def test_ours_and_fastais_and_pytorchs_pass():
    assert not wrong_of(libraries()) and len(list(libraries()))>=40

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
def graded_files(tmp_path_factory):
    "Two files, each in a process of its own; what `grade` gives as a table and says on the way."
    folder = tmp_path_factory.mktemp('students')
    (folder/'numbers.txt').write_text('1 2', encoding='utf-8')
    reads = "assert open('numbers.txt').read()=='1 2'\n"
    ends = 'import os\ndef mse(p, t): return (p-t).pow(2).mean()\ndef mnist_loss(p, t): os._exit(0)\n'
    said = []
    table,status = grade(write(folder, ann=reads+good, ed=ends), form='csv', limit=1.,
                         on_file=lambda n, text: said.append((n, text)))
    return {Path(o['file']).stem: o for o in csv.DictReader(table.splitlines())},status,said

def test_one_row_a_student(graded_files):
    rows,status,_ = graded_files
    assert status==1 and list(rows)==['ann','ed']
    assert rows['ann']['optimizer']=='right' and rows['ann']['first mistake']==rows['ann']['not checked']==''

def test_a_row_names_the_first_mistake(here):
    row, = csv.DictReader(check._formatted({'bo.py': here(bad)}, 'csv').splitlines())
    assert row['optimizer']==row['loss']=='wrong' and row['first mistake']=='SGD: the first step'

def test_only_the_piece_that_is_asked_for_is_checked(here):
    assert [o.kind for o in here(bad, piece='optimizer')]==['optimizer (sgd)'] and not here(bad, piece='metric')

def test_a_file_that_ends_python_has_a_row_that_says_so_and_what_was_done_before(graded_files):
    row = graded_files[0]['ed']
    assert int(row['wrong'])==1 and int(row['right'])>=8
    assert row['first mistake']=='mnist_loss: the process ended with status 0 at "what it is"'

def test_each_report_is_given_as_its_file_is_done(graded_files):
    said = graded_files[2]
    assert [n for n,_ in said]==[1,2]
    text, = [o for _,o in said if 'ann.py' in o]
    assert 'SGD, optimizer (sgd): ' in text and 'wrong' not in text and 'hello' not in text

@pytest.fixture
def here(tmp_path, monkeypatch):
    "A file's reports as its process writes them, without a process."
    monkeypatch.setattr(sys, 'path', sys.path[:])
    monkeypatch.setattr(check.Exam, 'begins', check.Exam.begins)
    def look(code, name='a.py', piece=None, like=None):
        file,out = tmp_path/name,tmp_path/'out.jsonl'
        file.write_bytes(code if isinstance(code, bytes) else code.encode())
        check._in_this_process(file, out, piece, like, 2.)
        sys.modules.pop('learners_file')
        lines = out.read_text(encoding='utf-8').splitlines() if out.exists() else []
        out.unlink(missing_ok=True)
        return [Report.from_dict(json.loads(o)) for o in lines]
    return look

mse = 'def mse(p, t): return ((p-t)**2).mean()\n'

@pytest.mark.parametrize('code', [
    b'\xef\xbb\xbf' + mse.encode(), ('# -*- coding: latin-1 -*-\n# gr\xfc\xdfe\n' + mse).encode('latin-1'),
    (mse + 'import sys\nsys.exit()\n').encode()], ids=['byte-order mark', 'latin-1', 'ends with exit()'])
def test_files_as_people_have_them_are_read(here, code):
    report, = here(code)
    assert report and report.kind=='loss (mse)'

@pytest.mark.parametrize('code,verdict,says', [
    ('import not_to_be_had\n', 'not seen', 'not_to_be_had'), ("open('not_there.csv')\n", 'not seen', 'not_there'),
    ('import sys\nsys.exit(3)\n', 'not seen', 'SystemExit'), ('1/0\n', 'wrong', 'ZeroDivisionError')])
def test_what_was_defined_before_a_file_failed_is_checked(here, code, verdict, says):
    of_file,report = here(mse+code)
    assert of_file['can be run'].verdict==verdict and says in of_file['can be run'].got
    assert report and report.kind=='loss (mse)'

def test_what_python_cannot_read_is_wrong(here):
    report, = here('def f(:')
    assert report['can be run'].verdict=='wrong' and 'SyntaxError' in report['can be run'].got

def test_a_dataclass_with_postponed_annotations_is_found(here):
    report, = here("""from __future__ import annotations
from dataclasses import dataclass
from torch import Tensor
@dataclass
class Pairs:
    xs: Tensor
    ys: Tensor
    def __post_init__(self): assert len(self.xs)==len(self.ys)
    def __len__(self): return len(self.xs)
    def __getitem__(self, i): return self.xs[i],self.ys[i]
""")
    assert report and report.kind=='dataset'

def notebook(*cells):
    return json.dumps(dict(cells=[dict(cell_type='code', source=o.splitlines(True)) for o in cells], metadata={}))

def test_a_notebook_is_checked_without_its_magics(here):
    cells = 'import torch\n%matplotlib inline\n!pip install x', '%%bash\nls', 'if 1:\n    !ls', 'mse?', 'n = 7 % 2\n' + mse
    report, = here(notebook(*cells), 'my.ipynb')
    assert report and report.kind=='loss (mse)'

def test_a_cell_that_fails_is_named_and_the_others_are_checked(here):
    of_file,report = here(notebook('untold', mse), 'my.ipynb')
    assert of_file['can be run'].verdict=='not seen' and 'cell 1: NameError' in of_file['can be run'].got and report

def test_a_learner_gets_the_callbacks_that_lie_beside_it(here):
    report, = here("""
class TrainCB:
    def step(self, learn):
        learn.loss.backward()
        learn.opt.step()
        learn.opt.zero_grad()
class Learner:
    def __init__(self, model, dls, loss_func, opt_func, lr=.1, cbs=()):
        self.model,self.dls,self.loss_func,self.cbs = model,dls,loss_func,cbs
        self.opt = opt_func(model.parameters(), lr)
    def fit(self, n_epochs):
        for _ in range(n_epochs):
            for xb,yb in self.dls.train:
                self.loss = self.loss_func(self.model(xb), yb)
                for cb in self.cbs: cb.step(self)
""")
    assert report.kind=='learner' and report and report['the weights after each step'].verdict=='right', report

def test_a_base_that_leaves_the_step_to_others_is_let_be(here):
    report, = here(good.replace('class SGD:', '''class Base:
    def step(self): raise NotImplementedError
    def zero_grad(self): pass
    def __init__(self, params, lr): pass
class SGD(Base):'''))
    assert report and report.piece=='SGD'

def test_a_walk_that_only_counts_the_validation_set_is_no_validation():
    class Counts(zoo.learners.Plain):
        def averages(self, dl):
            sum(len(xb) for xb,_ in dl)
            return super().averages(dl)
    assert check_piece(Counts, 'learner')['validates all of the set'].verdict=='right'

def test_a_piece_that_is_not_known_is_no_right(here):
    focal, = here('def focal_loss(p, t): return ((1-p.softmax(1).max(1).values)**2).mean()\n')
    assert not focal and not focal.wrong and 'focal_loss(p, t)' in str(focal) and '--like' in str(focal)

def test_like_overrides_what_a_piece_is_taken_for(here):
    code = 'def l1_loss(p, t): return ((p-t)**2).mean()\n'
    assert not here(code)[0] and here(code, like='mse')[0].kind=='loss (mse)' and here(code, like='mse')[0]
    with pytest.raises(ValueError, match='lion'): here(code, like='lion')

def test_the_status_says_whether_all_was_checked():
    Right,Unseen = Report('a', 'loss', [check.Finding('x', 'right')]),Report('b', 'loss', [check.Finding('x', 'not seen')])
    assert [check._status(o) for o in ({1: [Right]}, {1: [Right,Unseen]}, {1: []})]==[0,2,2]
    assert check._status({1: [Unseen], 2: [Report('c', 'loss', [check.Finding('x', 'wrong')])]})==1
    row, = csv.DictReader(check._formatted({'a.py': []}, 'csv').splitlines())
    assert row['not checked']=='no piece' and 'nothing to check' in check._formatted({'a.py': []}, 'text')

@pytest.mark.parametrize('sig,status', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_who_interrupts_ends_the_children_at_once_and_keeps_what_is_done(tmp_path, monkeypatch, sig, status):
    started = []
    class Child(check._Child):
        def __init__(self, *args):
            super().__init__(*args)
            started.append(self.process)
    monkeypatch.setattr(check, '_Child', Child)
    threading.Timer(.3, os.kill, (os.getpid(), sig)).start()
    began = time.monotonic()
    text,got = grade(write(tmp_path, a='while True: pass', b='while True: pass'))
    assert got==status and text=='' and time.monotonic()-began<5 and started
    assert all(o.poll() is not None for o in started)

def test_half_a_report_spoils_no_other(tmp_path):
    child = check._Child(*write(tmp_path, a='1'), None, None, 1., 60.)
    child.end()
    whole = json.dumps(Report('a', 'loss', [check.Finding('x', 'right')]).to_dict())
    child.out.write_text(f'{whole}\n{whole[:50]}', encoding='utf-8')
    found,_ = child.reports()
    assert found[0].piece=='a' and found[0] and 'signal 9' in str(found[-1])

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

@pytest.mark.slow # the limit must leave time for importing PyTorch
def test_what_cannot_be_interrupted_is_a_finding(tmp_path):
    sleeps = 'def mse(p, t): return sum(range(10**12))'
    found = check_file(*write(tmp_path, sleeps=sleeps), limit=.5, timeout=15)
    assert 'no end within 15' in str(found[-1]) and found[-1].piece=='mse'

def test_a_file_that_is_not_there_and_an_unknown_form(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone.py'): grade([tmp_path/'gone.py'])
    with pytest.raises(ValueError, match='xml'): grade([], form='xml')

def softmax_cross_entropy(p, t): return -p.log_softmax(1)[range(len(p)),t].mean()
def onehot_cross_entropy(p, t): return -(t*p.log_softmax(1)).sum(1).mean()
def argmax_accuracy(p, t): return (p.argmax(1)==t).float().mean()
def thresholded(p, t): return ((p>0)==(t==1)).float().mean()
def squares(a, b): return ((a-b)**2).mean()
class SmoothedCrossEntropy(torch.nn.Module):
    def forward(self, p, t): return torch.nn.functional.cross_entropy(p, t, label_smoothing=.1)
class SquaredErrors(torch.nn.Module):
    def forward(self, a, b): return ((a-b)**2).sum()
def sgd_of(base, **kwargs):
    class Mine(base):
        def __init__(self, params, lr): super().__init__(params, lr=lr, **kwargs)
    return Mine

@pytest.mark.parametrize('called,piece,kind', [
    ('batch_accuracy', argmax_accuracy, ('metric','accuracy')), ('batch_accuracy', thresholded, ('metric','batch_accuracy')),
    ('digit_loss', softmax_cross_entropy, ('loss','cross_entropy')), ('ce_loss', onehot_cross_entropy, ('loss','cross_entropy')),
    ('loss', squares, ('loss','mse')), ('error_fn', squares, ('loss','mse')), ('how_far', squares, ('loss','mse')),
    ('MyLoss', SmoothedCrossEntropy, ('loss','label_smoothing')), ('TotalLoss', SquaredErrors, ('loss','mse (sum)')),
    ('MyOpt', sgd_of(torch.optim.RMSprop), ('optimizer','rmsprop')), ('MyOpt', sgd_of(torch.optim.Adagrad), ('optimizer','adagrad')),
    ('MyOpt', sgd_of(torch.optim.SGD, momentum=.9, nesterov=True), ('optimizer','nesterov')),
    ('MyOpt', sgd_of(torch.optim.SGD), ('optimizer','sgd')), ('MyAdamW', sgd_of(torch.optim.AdamW), ('optimizer','adamw')),
    ('make_pairs', lambda images, labels: [*zip(images, labels)], ('dataset',None)),
    ('slide', lambda img, kernel: torch.nn.functional.conv2d(img, kernel), ('conv',None)),
    ('mse', lambda p, t: 2*squares(p, t), ('loss','mse'))],
    ids=lambda o: o if isinstance(o, str) else None)
def test_a_piece_is_what_it_does_and_its_name_breaks_ties(called, piece, kind): assert kind_of(called, piece)==kind

class Row(dict): pass
class Pair(namedtuple('Pair', 'x y')): pass
class History:
    def __init__(self): self.rows = []
    def __getitem__(self, i): return self.rows[i]
class Net(torch.nn.Module):
    def forward(self, x): return x
class Scheduler:
    def __init__(self, optimizer, gamma=.9): pass
    def step(self): pass
def fib(n): yield from range(n)
def conv(ni, nf, ks=3): return torch.nn.Conv2d(ni, nf, ks)

@pytest.mark.parametrize('called,piece', [
    ('Row', Row), ('Pair', Pair), ('History', History), ('Net', Net), ('LRScheduler', Scheduler), ('fib', fib), ('conv', conv),
    ('valid_loss', lambda model, dl, loss_func: 0.), ('plot_loss', lambda losses, title=None: None), ('add', lambda a, b: a+b),
    ('epoch_acc', lambda valid_dl, model: 0.), ('init_params', lambda size, std=1.: torch.randn(size)),
    ('cos_sched', lambda start, end: lambda pos: start), ('lr_find', lambda learn, dl: None)], ids=lambda o: o if isinstance(o, str) else None)
def test_what_lies_beside_the_pieces_is_let_be(called, piece): assert kind_of(called, piece)==(None,None)

def test_a_learner_is_known_under_other_names():
    class Trainer:
        def __init__(self, network, train_loader, valid_loader, criterion, optimizer_class): pass
        def train_model(self, epochs): pass
    assert kind_of('Trainer', Trainer)==('learner',None)

def test_names_without_a_value_are_known_by_what_they_say():
    "A stub has no values; what is meant is what its name says."
    for name,kind in {'mnist_loss': ('loss','mnist_loss'), 'my_cross_entropy': ('loss','cross_entropy'), 'mse_loss': ('loss','mse'),
                      'accuracy': ('metric','accuracy'), 'untar_data': ('untar',None), 'conv2d': ('conv',None),
                      'train_epoch': (None,None), 'convert': (None,None)}.items():
        assert kind_of(name, lambda p, t: p)==kind, name
