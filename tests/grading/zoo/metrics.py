"Metrics: a number for people."
import torch

from zoo import book,right,wrong


def shapes_agree(p, t):
    if p.shape!=t.shape: raise ValueError(f'{list(p.shape)} against {list(t.shape)}')

@right('metric', like='batch_accuracy')
def strict(p, t):
    shapes_agree(p, t)
    return ((p>0)==t).float().mean()

@book('metric', "refuses shapes that don't fit", like='batch_accuracy')
def batch_accuracy(xb, yb):
    "The book's, as it is printed."
    preds = xb.sigmoid()
    correct = (preds>0.5)==yb
    return correct.float().mean()

@right('metric', like='batch_accuracy')
class Accuracy:
    "Over batches, each by its size."
    def reset(self): self.right,self.n = 0.,0
    def accumulate(self, learn):
        self.right += strict(learn.pred, learn.yb[0]).item()*len(learn.yb[0])
        self.n += len(learn.yb[0])
    @property
    def value(self): return self.right/self.n

@wrong('metric', 'its value', 'wrong axis', like='accuracy')
def argmax_over_batch(p, t): return (p.argmax(0)==t[:p.shape[1]]).float().mean()

@wrong('metric', 'its value', 'the threshold .5 is for probabilities', like='batch_accuracy')
def threshold_on_logits(p, t):
    shapes_agree(p, t)
    return ((p>.5)==t).float().mean()

@wrong('metric', 'its value', 'which it always exceeds', like='batch_accuracy')
def sigmoid_over_0(p, t):
    shapes_agree(p, t)
    return ((p.sigmoid()>0)==t).float().mean()

@wrong('metric', 'its value', 'a count where a share belongs', like='batch_accuracy')
def count(p, t):
    shapes_agree(p, t)
    return ((p>0)==t).float().sum()

@wrong('metric', 'its value', 'percent', like='batch_accuracy')
def percent(p, t): return 100*strict(p, t)

@wrong('metric', 'its value', 'the share that is wrong', like='accuracy')
def error(p, t):
    shapes_agree(p.argmax(1), t)
    return (p.argmax(1)!=t).float().mean()

@book('metric', "refuses shapes that don't fit", like='batch_accuracy')
def flattens_one_side(p, t): return ((p.squeeze(1)>0)==t).float().mean()

@book('metric', "refuses shapes that don't fit", like='accuracy')
def compares_all(p, t): return (p.argmax(1)==t).float().mean()

@wrong('metric', 'leaves its inputs alone', 'in place', like='batch_accuracy')
def in_place(p, t):
    shapes_agree(p, t)
    return ((p.sigmoid_()>.5)==t).float().mean()

@book('metric', 'over batches: the mean over all items', like='batch_accuracy')
class MeanOfMeans(Accuracy):
    "As the book's validate_epoch: each batch counts the same."
    def accumulate(self, learn):
        self.right += strict(learn.pred, learn.yb[0]).item()
        self.n += 1

@wrong('metric', 'over batches: the mean over all items', 'never divided', like='batch_accuracy')
class NeverDivided(MeanOfMeans):
    @property
    def value(self): return self.right

@wrong('metric', 'over batches: the mean over all items', 'only the last batch', like='batch_accuracy')
class LastBatchOnly(Accuracy):
    def accumulate(self, learn):
        self.reset()
        super().accumulate(learn)

@wrong('metric', 'over batches: begins anew', 'something of the first walk is left', like='batch_accuracy')
class NeverReset(Accuracy):
    right,n = 0.,0
    def reset(self): pass

@wrong('metric', 'over batches: the mean over all items', 'divided by the number of items', like='batch_accuracy')
class AddsMeans(Accuracy):
    "Adds up means, and divides by items."
    def accumulate(self, learn):
        self.right += strict(learn.pred, learn.yb[0]).item()
        self.n += len(learn.yb[0])
