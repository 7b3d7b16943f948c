"A small net's epochs with validation, gradients by autograd and by hand: Learner and bare loops, two threads and one."
import torch
import torch.nn.functional as F

from digits_fastai.backward import BackwardByHand,NetByHand,loss_gradient
from digits_fastai.losses import accuracy,batch_accuracy,cross_entropy,mnist_loss
from .data import ten_digits,threes_and_sevens
from .learner import bare,book_accuracy,book_accuracy10,book_loss,bs,fastais,nets,ours,validated
from .measure import row,take_turns

targets = { # Learner / bare, with strict losses / bare, by hand / bare, by hand against fastai's
    'linear': ('<= 1.1','<= 1.12','<= 0.9','>= 5.5'),
    'simple_net': ('<= 1.08','<= 1.1','<= 0.88','>= 3.8'),
    'ten_class': ('<= 1.06','<= 1.1','<= 1','>= 3'),
}

def bare_by_hand(data, model, lr, loss_func, metric, epochs):
    "The bare loop without autograd: the same steps, plain SGD, and nothing else differs."
    (x,y),valid = data
    net = NetByHand(model)
    params = list(model.parameters())
    gradient = loss_gradient(loss_func)
    def run():
        for _ in range(epochs):
            losses = []
            model.train()
            with torch.no_grad():
                for idxs in torch.randperm(len(x)).split(bs):
                    preds = net.forward(x.index_select(0, idxs))
                    targs = y.index_select(0, idxs)
                    losses.append(loss_func(preds, targs))
                    net.backward(gradient(preds, targs))
                    for p in params:
                        p.sub_(p.grad, alpha=lr)
                        p.grad = None
            torch.stack(losses).mean().item(),*validated(model, *valid, loss_func, metric)
    return run

def contestants(net, epochs):
    "By name: Learner and bare loops, all with plain SGD of the same rate."
    model,lr,_ = nets[net]
    ten = net=='ten_class'
    data = ten_digits() if ten else threes_and_sevens()
    plain = (F.cross_entropy, book_accuracy10) if ten else (book_loss, book_accuracy)
    strict = (cross_entropy, accuracy) if ten else (mnist_loss, batch_accuracy)
    torch.manual_seed(0)
    return {
        'Learner, SGD': ours(data, model(), lr, *plain, epochs),
        'Learner, SGD, our losses': ours(data, model(), lr, *strict, epochs),
        'BackwardByHand, SGD, our losses': ours(data, model(), lr, *strict, epochs, cbs=BackwardByHand()),
        'bare, SGD': bare(data, model(), lr, *plain, epochs),
        'bare by hand, SGD': bare_by_hand(data, model(), lr, *strict, epochs),
        'fastai, SGD': fastais(data, model(), lr, *plain, epochs),
    }

def rows_of(net, threads, epochs, turns):
    "The comparisons of one net."
    took = take_turns(contestants(net, epochs), turns)
    usual,strict,by_hand,against_fastai = targets[net]
    words = 'a thread' if threads==1 else f'{threads} threads'
    what = f'{epochs} epochs, {net}, {words}'
    hand = 'BackwardByHand, SGD, our losses'
    return [
        row(what, took, 'Learner, SGD', 'bare, SGD', usual),
        row(what, took, 'Learner, SGD, our losses', 'bare, SGD', strict),
        row(what, took, hand, 'bare, SGD', by_hand),
        row(what, took, hand, 'fastai, SGD', against_fastai),
        row(what, took, 'bare by hand, SGD', 'bare, SGD', '<= 1'),
    ]

def run(quick=False):
    "Rows: each net with two threads and with one."
    before = torch.get_num_threads()
    rows = []
    try:
        for threads in (2,1):
            torch.set_num_threads(threads)
            for net in nets: rows += rows_of(net, threads, 1 if quick else 2, 3 if quick else 11)
    finally: torch.set_num_threads(before)
    return rows
