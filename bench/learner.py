"An epoch with validation, a record and accuracy: our Learner, a bare loop, fastai's Learner, fast.ai part 2's miniai."
import os,sys

import torch
import torch.nn.functional as F
from torch import nn

from digits_fastai.dataloaders import DataLoaders
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy,batch_accuracy,cross_entropy,mnist_loss
from digits_fastai.optimizer import SGD
from .data import ten_digits,threes_and_sevens
from .measure import growth,peak,row,take_turns

bs = 256

def linear(): return nn.Linear(784,1)
def simple_net(): return nn.Sequential(nn.Linear(784,30), nn.ReLU(), nn.Linear(30,1))
def ten_class(): return nn.Sequential(nn.Linear(784,64), nn.ReLU(), nn.Linear(64,10))

# Who is compared computes the same: the book's loss and accuracy, or PyTorch's cross-entropy. Ours, written by hand and
# strict about shapes and labels, are a contestant of their own.
def book_loss(predictions, targets):
    predictions = predictions.sigmoid()
    return torch.where(targets==1, 1-predictions, predictions).mean()

def book_accuracy(xb, yb): return ((xb.sigmoid()>.5)==yb).float().mean()
def book_accuracy10(xb, yb): return (xb.argmax(dim=1)==yb).float().mean()

def ours(data, model, lr, loss_func, metric, epochs, cbs=None):
    dls = DataLoaders.from_tensors(*data, batch_size=bs)
    learn = Learner(dls, model, loss_func, opt_func=SGD, lr=lr, metrics=metric, cbs=cbs)
    def run():
        with learn.no_bar(), learn.no_logging(): learn.fit(epochs)
    return run

def bare(data, model, lr, loss_func, metric, epochs):
    "The quickest loop that we could write."
    (x,y),valid = data
    params = list(model.parameters())
    def run():
        for _ in range(epochs):
            losses = []
            model.train()
            for idxs in torch.randperm(len(x)).split(bs):
                loss = loss_func(model(x.index_select(0, idxs)), y.index_select(0, idxs))
                losses.append(loss.detach())
                loss.backward()
                with torch.no_grad():
                    for p in params:
                        p.sub_(p.grad, alpha=lr)
                        p.grad = None
            torch.stack(losses).mean().item(),*validated(model, *valid, loss_func, metric)
    return run

def plain(data, model, lr, loss_func, metric, epochs):
    "A loop as it is written every day: `x[idxs]`, an optimizer of PyTorch's."
    (x,y),valid = data
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    def run():
        for _ in range(epochs):
            losses = []
            model.train()
            for idxs in torch.randperm(len(x)).split(bs):
                loss = loss_func(model(x[idxs]), y[idxs])
                losses.append(loss.detach())
                loss.backward()
                opt.step()
                opt.zero_grad()
            torch.stack(losses).mean().item(),*validated(model, *valid, loss_func, metric)
    return run

def validated(model, x, y, loss_func, metric): # what both loops do after an epoch: mean loss and accuracy
    model.eval()
    loss = acc = 0.
    with torch.no_grad():
        for xb,yb in zip(x.split(bs), y.split(bs)):
            preds = model(xb)
            loss += loss_func(preds, yb)*len(xb)
            acc += metric(preds, yb)*len(xb)
    return loss.item()/len(x),acc.item()/len(x)

def fastais(data, model, lr, loss_func, metric, epochs):
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    from fastai.optimizer import SGD
    import fastai.callback.progress # noqa: F401 it hangs methods on
    train,valid = (list(zip(*o)) for o in data)
    dls = DataLoaders(DataLoader(train, bs=bs, shuffle=True), DataLoader(valid, bs=bs))
    learn = Learner(dls, model, loss_func=loss_func, opt_func=SGD, lr=lr, metrics=metric)
    def run():
        with learn.no_bar(), learn.no_logging(): learn.fit(epochs)
    return run

def miniais(data, model, lr, loss_func, metric, epochs):
    from miniai.datasets import DataLoaders
    from miniai.learner import MetricsCB,TrainLearner
    from miniai.training import Dataset,get_dls
    from torcheval.metrics import BinaryAccuracy,MulticlassAccuracy
    class Flat(BinaryAccuracy):
        def update(self, preds, targets): return super().update(preds.sigmoid().flatten(), targets.flatten())
    metrics = MetricsCB(accuracy=MulticlassAccuracy() if loss_func is F.cross_entropy else Flat())
    metrics._log = lambda d: None
    dls = DataLoaders(*get_dls(*(Dataset(*o) for o in data), bs))
    learn = TrainLearner(model, dls, loss_func, lr=lr, cbs=[metrics], opt_func=torch.optim.SGD)
    return lambda: learn.fit(epochs)

nets = dict(linear=(linear, 1., 3.5), simple_net=(simple_net, .1, 2.5), ten_class=(ten_class, .1, 2.3)) # rate, target

def contestants(net, epochs=1, data=None):
    "Functions that train one net for some epochs: ours, two bare loops, fastai's, and miniai's if it is there."
    model,lr,_ = nets[net]
    ten = net=='ten_class'
    data = data or (ten_digits() if ten else threes_and_sevens())
    torch.manual_seed(0)
    theirs = (F.cross_entropy, book_accuracy10) if ten else (book_loss, book_accuracy)
    mine = (cross_entropy, accuracy) if ten else (mnist_loss, batch_accuracy)
    found = {'ours': ours(data, model(), lr, *theirs, epochs), 'ours, our losses': ours(data, model(), lr, *mine, epochs),
             'bare': bare(data, model(), lr, *theirs, epochs), 'bare, plain': plain(data, model(), lr, *theirs, epochs),
             'fastai': fastais(data, model(), lr, *theirs, epochs)}
    if miniai(): found['miniai'] = miniais(data, model(), lr, *theirs, epochs)
    return found

def miniai():
    "Is miniai (and torcheval, which it needs) there? MINIAI names the folder that both lie in."
    where = os.getenv('MINIAI')
    if where and where not in sys.path: sys.path.append(where)
    return bool(where)

def run(quick=False):
    "Rows: each net against a bare loop, fastai's Learner and miniai; how an epoch's cost grows."
    rows = []
    for net,(_,_,times) in nets.items():
        took = take_turns(contestants(net, 3), 3 if quick else 11)
        memory = {o: peak(f"from bench.learner import *; run = contestants({net!r})[{o!r}]", 'run()')
                  for o in took} if not quick else {}
        rivals = {'bare': '<= 1.1', 'bare, plain': '<= 1.1', 'fastai': f'>= {times}', 'miniai': '>= 2'}
        rows += [row(f'three epochs, {net}', took, mine, other, target,
                     memory_ours=memory.get(mine), memory_against=memory.get(other))
                 for mine in ('ours','ours, our losses') for other,target in rivals.items() if other in took]
    (x,y),valid = ten_digits()
    x,y = torch.cat([x, valid[0]]),torch.cat([y, valid[1]])
    sizes = [200,400,800] if quick else [1000,4000,16_000,70_000]
    some = {n: contestants('ten_class', data=((x[:n],y[:n]), (x[:n//5],y[:n//5])))['ours'] for n in sizes}
    return [*rows, growth('an epoch, ten_class', sizes, take_turns(some, 3 if quick else 9), 'ours')]
