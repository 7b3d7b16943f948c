"Learners: the training loop. `Plain` is cut into small methods, so that each case replaces one."
import torch

from zoo import book,right,wrong


@right('learner')
class Plain:
    def __init__(self, dls, model, opt_func, loss_func, metrics=None):
        self.dls,self.model,self.opt_func,self.loss_func,self.metrics = dls,model,opt_func,loss_func,metrics or []
        self.opt,self.history = None,[]
    def fit(self, n_epoch, lr=.1):
        self.start(lr)
        for self.epoch in range(n_epoch):
            train_loss = self.train()
            self.history.append(dict(train_loss=train_loss, **self.validate()))
    def start(self, lr):
        if self.opt is None: self.opt = self.opt_func(self.model.parameters(), lr)
        self.opt.lr,self.history = lr,[]
    def train(self):
        self.model.train()
        total = n = 0
        for xb,yb in self.dls.train:
            loss = self.one_batch(xb, yb)
            total,n = total+loss.item()*len(yb),n+len(yb)
        return total/n
    def one_batch(self, xb, yb):
        loss = self.loss_func(self.model(xb), yb)
        loss.backward()
        self.opt.step()
        self.opt.zero_grad()
        return loss
    def validate(self):
        self.model.eval()
        with torch.no_grad(): return self.averages(self.dls.valid)
    def averages(self, dl):
        sums,n = None,0
        for xb,yb in dl:
            pred = self.model(xb)
            vals = [f(pred, yb).item()*len(yb) for f in (self.loss_func, *self.metrics)]
            sums,n = vals if sums is None else [a+b for a,b in zip(sums, vals)],n+len(yb)
        return dict(zip(('valid_loss','metric'), [o/n for o in sums]))

@book('learner', 'the metric on the validation set')
class BookLoop:
    "The book's train_epoch, validate_epoch and train_model, put into a class, with its five parameters."
    def __init__(self, dls, model, opt_func, loss_func, metrics):
        self.dls,self.model,self.opt_func,self.loss_func,self.metrics = dls,model,opt_func,loss_func,metrics
    def train_epoch(self):
        for xb,yb in self.dls.train:
            loss = self.loss_func(self.model(xb), yb)
            loss.backward()
            self.opt.step()
            self.opt.zero_grad()
    def validate_epoch(self):
        accs = [self.metrics(self.model(xb), yb) for xb,yb in self.dls.valid]
        return round(torch.stack(accs).mean().item(), 4)
    def fit(self, epochs, lr):
        self.opt = self.opt_func(self.model.parameters(), lr)
        for i in range(epochs):
            self.train_epoch()
            print(self.validate_epoch(), end=' ')

@right('learner')
class ByPosition:
    "Two loaders, other names, a list of rows given back."
    def __init__(self, train_dl, valid_dl, net, criterion, optimizer, learning_rate):
        self.train_dl,self.valid_dl,self.net,self.criterion = train_dl,valid_dl,net,criterion
        self.opt = optimizer(list(net.parameters()), lr=learning_rate)
    def fit(self, epochs):
        rows = []
        for _ in range(epochs):
            self.net.train()
            losses = []
            for x,y in self.train_dl:
                self.opt.zero_grad()
                loss = self.criterion(self.net(x), y)
                loss.backward()
                self.opt.step()
                losses.append(loss.item())
            self.net.eval()
            with torch.no_grad(): total = sum(self.criterion(self.net(x), y).item()*len(x) for x,y in self.valid_dl)
            rows.append((sum(losses)/len(losses), total/10))
        return rows

@right('learner')
class WithCallbacks(Plain):
    def __init__(self, *args, cbs=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.cbs = list(cbs)
    def __call__(self, event):
        for cb in self.cbs: getattr(cb, event, lambda: None)()
    def fit(self, n_epoch, lr=.1):
        self('before_fit')
        super().fit(n_epoch, lr)
        self('after_fit')
    def train(self):
        self('before_train')
        loss = super().train()
        self('after_train')
        return loss
    def one_batch(self, xb, yb):
        self('before_batch')
        loss = super().one_batch(xb, yb)
        self('after_batch')
        return loss

@wrong('learner', "each step has its own batch's gradient", 'zero_grad is missing')
class NoZeroGrad(Plain):
    def one_batch(self, xb, yb):
        loss = self.loss_func(self.model(xb), yb)
        loss.backward()
        self.opt.step()
        return loss

@wrong('learner', 'forward, loss, backward, step', 'backward is called twice')
class BackwardTwice(Plain):
    def one_batch(self, xb, yb):
        loss = self.loss_func(self.model(xb), yb)
        loss.backward(retain_graph=True)
        loss.backward()
        self.opt.step()
        self.opt.zero_grad()
        return loss

@wrong('learner', 'can be made and fitted', 'step comes before backward')
class StepFirst(Plain):
    def one_batch(self, xb, yb):
        loss = self.loss_func(self.model(xb), yb)
        self.opt.step()
        self.opt.zero_grad()
        loss.backward()
        return loss

@wrong('learner', 'forward, loss, backward, step', 'step comes before backward')
class OneBatchLate(Plain):
    "Each step is taken with the gradient of the batch before."
    def one_batch(self, xb, yb):
        self.opt.step()
        self.opt.zero_grad()
        loss = self.loss_func(self.model(xb), yb)
        loss.backward()
        return loss

@wrong('learner', "each step has its own batch's gradient", 'there is no gradient yet')
class ZeroFirst(Plain):
    "zero_grad between backward and step: nothing is left to step along."
    def one_batch(self, xb, yb):
        loss = self.loss_func(self.model(xb), yb)
        loss.backward()
        self.opt.zero_grad()
        self.opt.step()
        return loss

@wrong('learner', "each step has its own batch's gradient", 'uphill')
class Uphill(Plain):
    def one_batch(self, xb, yb):
        loss = self.loss_func(self.model(xb), yb)
        (-loss).backward()
        self.opt.step()
        self.opt.zero_grad()
        return loss

@wrong('learner', 'a step for every batch', 'the last batch is left out')
class SkipsLast(Plain):
    def train(self):
        self.model.train()
        for i,(xb,yb) in enumerate(self.dls.train):
            loss = self.one_batch(xb, yb)
            if i==len(self.dls.train)-2: break
        return loss.item()

@wrong('learner', 'a step for every batch', 'no step is taken')
class StepsAtTheEnd(Plain):
    "One step an epoch."
    def train(self):
        for xb,yb in self.dls.train:
            loss = self.loss_func(self.model(xb), yb)
            loss.backward()
        self.opt.step()
        self.opt.zero_grad()
        return loss.item()

@wrong('learner', 'trains for as many epochs as it is told', 'one off')
class OneEpochLess(Plain):
    def fit(self, n_epoch, lr=.1):
        self.start(lr)
        for i in range(1, n_epoch): self.history.append(dict(train_loss=self.train(), **self.validate()))

@wrong('learner', 'one optimizer', 'anew in each epoch')
class NewOptimizerEachEpoch(Plain):
    def train(self):
        self.opt = self.opt_func(self.model.parameters(), self.opt.lr)
        return super().train()

@book('learner', 'a second fit goes on')
class NewOptimizerEachFit(Plain):
    def start(self, lr):
        self.opt = None
        super().start(lr)

@wrong('learner', 'a second fit goes on', 'where the first ended')
class BeginsAnew(Plain):
    "Puts the weights back to where they were when the Learner was made."
    def start(self, lr):
        super().start(lr)
        was = self.__dict__.setdefault('was', [p.detach().clone() for p in self.model.parameters()])
        for p,w in zip(self.model.parameters(), was): p.data.copy_(w)

@wrong('learner', 'the learning rate', "doesn't reach")
class IgnoresRate(Plain):
    def start(self, lr): super().start(.1)

@wrong('learner', 'the learning rate', 'lost on the way')
class LosesRate(Plain):
    def one_batch(self, xb, yb):
        loss = super().one_batch(xb, yb)
        self.opt.lr = .1
        return loss

@wrong('learner', 'training and evaluation mode', 'no model.train()')
class LeftInEval(Plain):
    def train(self):
        if self.epoch: self.model.train = lambda mode=True: None
        loss = super().train()
        vars(self.model).pop('train', None)
        return loss

@wrong('learner', 'training and evaluation mode', 'no model.eval()')
class LeftInTraining(Plain):
    def validate(self):
        with torch.no_grad(): return self.averages(self.dls.valid)

@wrong('learner', 'batch norm in validation', 'leaks into the model')
class NormsLearnInValidation(LeftInTraining): "The same mistake, and what it does: batch norm's averages move."

@wrong('learner', 'validation without gradients', 'takes notes')
class ValidatesWithGradients(Plain):
    def validate(self):
        self.model.eval()
        return self.averages(self.dls.valid)

@wrong('learner', 'validation changes nothing', 'trained on the validation set')
class TrainsOnValid(Plain):
    def validate(self):
        for xb,yb in self.dls.valid: self.one_batch(xb, yb)
        return super().validate()

@wrong('learner', 'validation changes nothing', 'gradients will be in the next step')
class BackwardInValidation(Plain):
    def validate(self):
        self.model.eval()
        for xb,yb in self.dls.valid: self.loss_func(self.model(xb), yb).backward()
        return super().validate()

@wrong('learner', 'the validation loss', "the training's own numbers")
class TrainingLossCalledValidation(Plain):
    def fit(self, n_epoch, lr=.1):
        super().fit(n_epoch, lr)
        for o in self.history: o['valid_loss'] = o['train_loss']

@wrong('learner', 'the training loss', 'the validation loss, called training loss')
class ValidationLossCalledTraining(Plain):
    def fit(self, n_epoch, lr=.1):
        super().fit(n_epoch, lr)
        for o in self.history: o['train_loss'] = o['valid_loss']

@wrong('learner', 'the metric on the validation set', 'never divided')
class AddsUp(Plain):
    def averages(self, dl):
        res = super().averages(dl)
        res['metric'] = sum(self.metrics[0](self.model(xb), yb).item() for xb,yb in dl)
        return res

@wrong('learner', 'the metric on the validation set', 'only the last batch')
class LastBatchOnly(Plain):
    def averages(self, dl):
        res = super().averages(dl)
        for xb,yb in dl: res['metric'] = self.metrics[0](self.model(xb), yb).item()
        return res

@wrong('learner', 'the metric on the validation set', 'of the training set')
class MetricOnTraining(Plain):
    def validate(self):
        self.model.eval()
        with torch.no_grad(): return {**super().averages(self.dls.valid), 'metric': self.averages(self.dls.train)['metric']}

@wrong('learner', 'the record holds numbers', 'hold on to all')
class KeepsGraphs(Plain):
    def one_batch(self, xb, yb):
        loss = super().one_batch(xb, yb)
        self.losses = getattr(self, 'losses', []) + [loss]
        return loss

@wrong('learner', 'callbacks', 'too early')
class AnnouncesEarly(WithCallbacks):
    "after_train comes before the training."
    def train(self):
        self('before_train')
        self('after_train')
        return Plain.train(self)

@wrong('learner', 'callbacks', 'too late')
class ForgetsLastBatch(WithCallbacks):
    def one_batch(self, xb, yb):
        self('after_batch')
        loss = Plain.one_batch(self, xb, yb)
        self('before_batch')
        return loss

@wrong('learner', 'callbacks', "never called by fastai's names")
class NeverCalls(WithCallbacks):
    def __call__(self, event): pass

@wrong('learner', 'can be made and fitted', "'NoneType'")
class ForgetsReturn(Plain):
    def start(self, lr): self.opt,self.history = None,[]

@wrong('learner', 'can be made and fitted', 'no end within')
class UntilPerfect(Plain):
    def fit(self, n_epoch, lr=.1):
        self.start(lr)
        while self.train()>-1: pass

@wrong('learner', 'can be made and fitted', 'has no attribute')
class NoFit:
    def __init__(self, dls, model, opt_func, loss_func): pass

@wrong('learner', 'forward, loss, backward, step', 'steps by itself')
class OwnSteps(Plain):
    def one_batch(self, xb, yb):
        loss = self.loss_func(self.model(xb), yb)
        loss.backward()
        with torch.no_grad():
            for p in self.model.parameters():
                p -= .1*p.grad
                p.grad = None
        return loss

@wrong('learner', 'lets errors through', 'swallowed')
class Swallows(Plain):
    "A batch that fails is left out."
    def one_batch(self, xb, yb):
        try: return super().one_batch(xb, yb)
        except Exception: return torch.tensor(0.)

@wrong('learner', 'validates all of the set', 'too early')
class LeavesTheLastOut(Plain):
    def averages(self, dl): return super().averages(list(dl)[:-1])
