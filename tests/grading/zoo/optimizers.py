"Optimizers: step and zero_grad."
import torch

from zoo import book,right,wrong


@book('optimizer', 'a parameter without a gradient', like='sgd')
class BasicOptim:
    "As the book has it: a parameter without a gradient is an error."
    def __init__(self,params,lr): self.params,self.lr = list(params),lr
    def step(self, *args, **kwargs):
        for p in self.params: p.data -= p.grad.data * self.lr
    def zero_grad(self, *args, **kwargs):
        for p in self.params: p.grad = None

@right('optimizer', like='sgd')
class Sgd:
    def __init__(self, params, lr=.1): self.params,self.lr = list(params),lr
    def step(self):
        with torch.no_grad():
            for i,p in enumerate(self.params):
                if p.grad is not None: p -= self.change(i, p.grad)
    def change(self, i, grad): return self.lr*grad
    def zero_grad(self):
        for p in self.params:
            if p.grad is not None: p.grad.zero_()

@right('optimizer', like='momentum')
class Momentum(Sgd):
    def __init__(self, params, lr, momentum=.9):
        super().__init__(params, lr)
        self.momentum,self.v = momentum,{}
    def change(self, i, grad):
        self.v[i] = self.momentum*self.v.get(i, 0) + grad
        return self.lr*self.v[i]

@right('optimizer', like='adam')
class Adam(Sgd):
    def __init__(self, params, lr=1e-3, beta1=.9, beta2=.99, eps=1e-5):
        super().__init__(params, lr)
        self.beta1,self.beta2,self.eps,self.avg,self.sqr,self.t = beta1,beta2,eps,{},{},{}
    def averages(self, i, grad):
        self.t[i] = self.t.get(i, 0)+1
        self.avg[i] = self.beta1*self.avg.get(i, 0) + (1-self.beta1)*grad
        self.sqr[i] = self.beta2*self.sqr.get(i, 0) + (1-self.beta2)*grad**2
        return self.avg[i]/(1-self.beta1**self.t[i]),self.sqr[i]/(1-self.beta2**self.t[i])
    def change(self, i, grad):
        a,s = self.averages(i, grad)
        return self.lr*a/(s.sqrt()+self.eps)

@right('optimizer', like='sgd')
class InTheGradient(Sgd):
    "Weight decay by PyTorch's rule."
    def __init__(self, params, lr, weight_decay=0.):
        super().__init__(params, lr)
        self.weight_decay = weight_decay
    def change(self, i, grad): return self.lr*(grad + self.weight_decay*self.params[i])

@wrong('optimizer', 'zero_grad forgets', 'along the sum of all gradients', like='sgd')
class ForgetsToForget(Sgd):
    def zero_grad(self): pass

@wrong('optimizer', 'zero_grad forgets', 'the next backward will add', like='sgd')
class ForgetsTheLast(Sgd):
    "One parameter is left out."
    def zero_grad(self):
        for p in self.params[1:]: p.grad = None

@wrong('optimizer', 'zero_grad forgets', 'the weights as they were', like='sgd')
class ZeroesWeights(Sgd):
    def zero_grad(self):
        for p in self.params: p.data.zero_()

@wrong('optimizer', 'the first step', 'subtracted twice', like='sgd')
class Twice(Sgd):
    def step(self):
        super().step()
        super().step()

@wrong('optimizer', 'the first step', 'uphill', like='sgd')
class Ascent(Sgd):
    def change(self, i, grad): return -self.lr*grad

@wrong('optimizer', 'the first step', 'squared', like='sgd')
class RateSquared(Sgd):
    def change(self, i, grad): return self.lr*(self.lr*grad)

@wrong('optimizer', 'the first step', "isn't used at all", like='sgd')
class NoRate(Sgd):
    def change(self, i, grad): return grad

@wrong('optimizer', 'every step', 'in the first step only', like='sgd')
class RateOnce(Sgd):
    "The rate is lost after the first step."
    n = 0
    def step(self):
        self.n += 1
        super().step()
    def change(self, i, grad): return (self.lr if self.n==1 else 1)*grad

@wrong('optimizer', 'a generator of parameters', 'list(params)', like='sgd')
class UsedUp(Sgd):
    def __init__(self, params, lr): self.params,self.lr = params,lr

@wrong('optimizer', 'the first step', 'makes a new tensor', like='sgd')
class NewTensors(Sgd):
    def step(self):
        for p in self.params: p = p - self.lr*p.grad

@wrong('optimizer', 'the first step', 'no_grad', like='sgd')
class TakesNotes(Sgd):
    def step(self):
        for p in self.params: p -= self.lr*p.grad

@wrong('optimizer', 'the first step', 'nothing moves', like='sgd')
class OwnTensors(Sgd):
    "Keeps copies, and trains them."
    def __init__(self, params, lr): super().__init__([p.clone().detach() for p in params], lr)

@wrong('optimizer', 'leaves the parameters trainable', 'can be trained', like='sgd')
class Freezes(Sgd):
    def step(self):
        super().step()
        for p in self.params: p.requires_grad_(False)

@wrong('optimizer', 'has step and zero_grad', 'no zero_grad', like='sgd')
class NoZeroGrad:
    def __init__(self, params, lr): self.params,self.lr = list(params),lr
    def step(self): Sgd.step(self)
    def change(self, i, grad): return self.lr*grad

@wrong('optimizer', 'has step and zero_grad', 'other arguments', like='sgd')
class WantsTheModel(Sgd):
    def zero_grad(self, model): model.zero_grad()

@wrong('optimizer', 'a parameter without a gradient', 'stands still', like='sgd')
class MovesTheFrozen(Sgd):
    def step(self):
        super().step()
        for p in self.params: p.data -= self.lr*(p.grad is None)

@wrong('optimizer', 'can be made of parameters and a rate', 'nobody but you knows')
class WantsMore(Sgd):
    def __init__(self, params, lr, model, loss): super().__init__(params, lr)

@wrong('optimizer', 'the rate can be changed', 'somewhere else', like='sgd')
class OldRate(Sgd):
    "A schedule would change lr, and nothing would happen."
    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.first = lr
    def change(self, i, grad): return self.first*grad

@wrong('optimizer', 'the first step', 'no end within', like='sgd')
class UntilItIsSmall(Sgd):
    def step(self):
        while self.params[0].grad.abs().max()>1e-9: Sgd.change(self, 0, self.params[0].grad)

@wrong('optimizer', 'every step', 'the gradients of earlier steps', like='sgd')
class Remembers(Momentum):
    def __init__(self, params, lr): super().__init__(params, lr, 1)

@wrong('optimizer', 'every step', 'dampened', like='momentum')
class Dampened(Momentum):
    def change(self, i, grad): return super().change(i, (1-self.momentum)*grad)

@wrong('optimizer', 'every step', 'never fades', like='momentum')
class NeverFades(Momentum):
    def change(self, i, grad):
        self.v[i] = self.v.get(i, 0) + grad
        return self.lr*self.v[i]

@wrong('optimizer', 'every step', 'no momentum', like='momentum')
class NoMemory(Momentum):
    def change(self, i, grad): return Sgd.change(self, i, grad)

@wrong('optimizer', 'every step', 'Nesterov', like='momentum')
class LooksAhead(Momentum):
    def change(self, i, grad): return self.momentum*super().change(i, grad) + self.lr*grad

@wrong('optimizer', 'the first step', 'has shape', like='momentum')
class OneMemoryForAll(Momentum):
    "One velocity, whatever the parameter: it fits by chance, or not at all."
    def change(self, i, grad):
        if i and self.v[0].shape!=grad.shape: raise ValueError(f'the velocity has shape {list(self.v[0].shape)}')
        return super().change(0, grad)

@wrong('optimizer', 'every step', 'no bias correction', like='adam')
class NoCorrection(Adam):
    def averages(self, i, grad):
        super().averages(i, grad)
        return self.avg[i],self.sqr[i]

@wrong('optimizer', 'very small gradients', 'inside the root', like='adam')
class EpsInside(Adam):
    def change(self, i, grad):
        a,s = self.averages(i, grad)
        return self.lr*a/(s+self.eps).sqrt()

@wrong('optimizer', 'every step', 'square root is missing', like='adam')
class NoRoot(Adam):
    def change(self, i, grad):
        a,s = self.averages(i, grad)
        return self.lr*a/(s+self.eps)

@wrong('optimizer', 'every step', 'the average of gradients only', like='adam')
class HalfCorrected(Adam):
    def averages(self, i, grad): return super().averages(i, grad)[0],self.sqr[i]

@wrong('optimizer', 'weight decay', 'never reaches the step', like='sgd')
class DecayOnPaper(InTheGradient):
    "The penalty is added to a loss that nobody asks for; the step knows nothing of it."
    def change(self, i, grad):
        self.penalty = self.weight_decay*self.params[i].pow(2).sum()
        return self.lr*grad

@wrong('optimizer', 'weight decay', '', like='sgd')
class Growth(InTheGradient):
    def change(self, i, grad): return self.lr*(grad - self.weight_decay*self.params[i])

@wrong('optimizer', 'a frozen parameter under decay', '', like='sgd')
class DecaysTheFrozen(Sgd):
    "Decay is applied to all parameters, before anybody asks whether they have a gradient."
    def __init__(self, params, lr=.1, wd=0.):
        super().__init__(params, lr)
        self.wd = wd
    def step(self):
        with torch.no_grad():
            for p in self.params: p *= 1-self.lr*self.wd
        super().step()

@wrong('optimizer', 'two at a time', 'made last', like='sgd')
class RateOfTheClass(Sgd):
    "Whoever is made last sets the rate of all."
    def __init__(self, params, lr): self.params,type(self).lr = list(params),lr
