"Losses: predictions and targets become one number that can be walked downhill."
import torch
import torch.nn.functional as F

from zoo import book,right,wrong


def shapes_agree(p, t):
    if p.shape!=t.shape: raise ValueError(f'{list(p.shape)} against {list(t.shape)}')

@right('loss', like='mnist_loss')
def strict(p, t):
    shapes_agree(p, t)
    p = p.sigmoid()
    return torch.where(t==1, 1-p, p).mean()

@book('loss', "refuses shapes that don't fit", like='mnist_loss')
def mnist_loss(predictions, targets):
    "The book's, as it is printed."
    predictions = predictions.sigmoid()
    return torch.where(targets==1, 1-predictions, predictions).mean()

@right('loss', like='cross_entropy')
def by_log_softmax(p, t): return F.nll_loss(F.log_softmax(p, dim=1), t)

@book('loss', "refuses shapes that don't fit", like='mnist_loss')
def broadcasts(p, t):
    "[N,1] against [N] becomes [N,N], without a word."
    return (p.sigmoid()-t.float()).abs().mean()

@book('loss', "refuses shapes that don't fit", like='mnist_loss')
def flattens_one_side(p, t):
    "Right for labels [N], as a folder's are; for [N,1] it is broadcast."
    return torch.where(t==1, 1-p.sigmoid().squeeze(1), p.sigmoid().squeeze(1)).mean()

@book('loss', "refuses shapes that don't fit", like='cross_entropy')
def looks_up_everything(p, t): return -p.log_softmax(1)[range(len(p)),t].mean()

@wrong('loss', 'its value', 'sigmoid twice', like='mnist_loss')
def sigmoid_twice(p, t): return strict(p.sigmoid(), t)

@wrong('loss', 'its value', 'no sigmoid', like='mnist_loss')
def no_sigmoid(p, t):
    shapes_agree(p, t)
    return torch.where(t==1, 1-p, p).mean()

@wrong('loss', 'the same for a batch twice as large', 'a sum where a mean belongs', like='mnist_loss')
def summed(p, t): return strict(p, t)*len(p)

@wrong('loss', 'its value', '1 and 0 have changed places', like='mnist_loss')
def swapped(p, t):
    shapes_agree(p, t)
    p = p.sigmoid()
    return torch.where(t==1, p, 1-p).mean()

@wrong('loss', 'its value', 'uphill', like='mnist_loss')
def negative(p, t): return -strict(p, t)

@wrong('loss', 'its value', 'an absolute value is missing', like='mnist_loss')
def cancels(p, t):
    shapes_agree(p, t)
    return (p.sigmoid()-t).mean()

@wrong('loss', 'gives one number, as a tensor', 'forgotten where it came from', like='mnist_loss')
def only_a_number(p, t): return strict(p, t).item()

@wrong('loss', 'its gradient', 'taken out of the computation', like='mnist_loss')
def detached(p, t): return strict(p.data, t)

@wrong('loss', 'its gradient', 'a comparison', like='mnist_loss')
def accuracy_as_loss(p, t):
    shapes_agree(p, t)
    return ((p>0).float()-t).abs().mean()

@wrong('loss', 'gives one number, as a tensor', 'the mean over the items is missing', like='mnist_loss')
def one_each(p, t):
    shapes_agree(p, t)
    p = p.sigmoid()
    return torch.where(t==1, 1-p, p)

@wrong('loss', 'gives one number, as a tensor', 'nothing is returned', like='mnist_loss')
def no_return(p, t): strict(p, t)

@wrong('loss', 'leaves its inputs alone', 'ends in _', like='mnist_loss')
def in_place(p, t):
    shapes_agree(p, t)
    p = p.detach().sigmoid_() + 0*p if not p.requires_grad else p.sigmoid()
    return torch.where(t==1, 1-p, p).mean()

@wrong('loss', 'its value', 'square root', like='mse')
def rmse(p, t):
    shapes_agree(p, t)
    return (p-t).pow(2).mean().sqrt()

@wrong('loss', 'large outputs', 'the log of a very small one', like='cross_entropy')
def log_of_softmax(p, t):
    "Right in every line, and inf as soon as the net is sure of something wrong."
    e = p.exp()
    return -(e/e.sum(1, keepdim=True)).log().gather(1, t[:,None]).mean()

@wrong('loss', 'its value', 'softmax twice', like='cross_entropy')
def softmax_twice(p, t): return F.cross_entropy(p.softmax(1), t)

@wrong('loss', 'its value', 'the wrong axis', like='cross_entropy')
def softmax_over_batch(p, t): return F.nll_loss(p.log_softmax(0), t)

@wrong('loss', 'its value', 'no logarithm', like='cross_entropy')
def no_logarithm(p, t): return F.nll_loss(p.softmax(1), t)

@wrong('loss', 'gives one number, as a tensor', 'characters were printed', like='cross_entropy')
def print_storm(p, t):
    for i in range(10**9): print('loss', i)

@wrong('loss', 'gives one number, as a tensor', 'SystemExit', like='cross_entropy')
def gives_up(p, t): raise SystemExit(1)

@wrong('loss', 'its options', 'taken, and not used', like='cross_entropy')
def deaf_to_reduction(p, t, reduction='mean'): return F.cross_entropy(p, t)

@right('loss', like='cross_entropy')
class CallableCrossEntropy:
    def __call__(self, p, t): return F.cross_entropy(p, t)

@wrong('loss', 'its value', '', like='label_smoothing')
def smooths_too_much(p, t):
    "The uniform part is summed over the classes, where its mean belongs."
    logs = p.log_softmax(1)
    return .9*F.nll_loss(logs, t) - .1*logs.sum(1).mean()
