"Loaders: a dataset in batches."
import random

import torch

from zoo import book,right,wrong


def stacked(items): return tuple(torch.stack([torch.as_tensor(o) for o in column]) for column in zip(*items))

@right('dataloader')
class Loader:
    def __init__(self, ds, bs=64, shuffle=False): self.ds,self.bs,self.shuffle = ds,bs,shuffle
    def __len__(self): return (len(self.ds)+self.bs-1)//self.bs
    def order(self): return torch.randperm(len(self.ds)).tolist() if self.shuffle else list(range(len(self.ds)))
    def collate(self, items): return stacked(items)
    def __iter__(self):
        order = self.order()
        for i in range(0, len(order), self.bs): yield self.collate([self.ds[j] for j in order[i:i+self.bs]])

@right('dataloader')
def generator_loader(ds, bs, shuffle=False):
    "A generator function: a new walk at each call."
    order = list(range(len(ds)))
    if shuffle: random.shuffle(order)
    for i in range(0, len(ds), bs): yield stacked([ds[j] for j in order[i:i+bs]])

@right('dataloader')
class Unshuffled:
    "As the book calls its loader: without shuffle."
    def __init__(self, dataset, batch_size): self.dataset,self.batch_size = dataset,batch_size
    def __iter__(self): return generator_loader(self.dataset, self.batch_size)

@wrong('dataloader', 'every item, in order', 'last batch, of 5, is dropped')
class DropsLast(Loader):
    def __iter__(self):
        order = self.order()
        for i in range(len(order)//self.bs): yield stacked([self.ds[j] for j in order[i*self.bs:(i+1)*self.bs]])

@wrong('dataloader', 'every item, in order', 'the last batch is repeated')
class LastTwice(Loader):
    def __iter__(self):
        for b in super().__iter__(): yield b
        yield b

@wrong('dataloader', 'every item, in order', 'filled up with the first')
class FillsUp(Loader):
    "The last batch is made as large as the others, with items from the beginning."
    def order(self):
        order = super().order()
        return order + order[:-len(order)%self.bs]

@wrong('dataloader', 'shuffled: a new order each epoch', 'shuffled once')
class ShufflesOnce(Loader):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.once = super().order()
    def order(self): return self.once

@wrong('dataloader', 'shuffled: a new order each epoch', 'the seed is set again')
class SameSeed(Loader):
    def order(self):
        torch.manual_seed(42)
        return super().order()

@wrong('dataloader', 'shuffled: inputs keep their labels', 'shuffled each on its own')
class ShufflesInputs(Loader):
    "The inputs are shuffled, the labels stay."
    def __iter__(self):
        order = self.order()
        for i in range(0, len(order), self.bs):
            labels = range(i, min(i+self.bs, len(order)))
            yield stacked([self.ds[j] for j in order[i:i+self.bs]])[0],stacked([self.ds[j] for j in labels])[1]

@wrong('dataloader', 'shuffled: every item once', 'with replacement')
class WithReplacement(Loader):
    def order(self): return torch.randint(len(self.ds), (len(self.ds),)).tolist() if self.shuffle else super().order()

@wrong('dataloader', 'shuffled: at random', 'shuffle is ignored')
class IgnoresShuffle(Loader):
    def order(self): return list(range(len(self.ds)))

@wrong('dataloader', 'shuffled: at random', 'within batches only')
class ShufflesWithinBatches(Loader):
    def order(self):
        order = list(range(len(self.ds)))
        parts = [order[i:i+self.bs] for i in range(0, len(order), self.bs)]
        for o in parts if self.shuffle else []: random.shuffle(o)
        return sum(parts, [])

@wrong('dataloader', 'keeps the kinds of numbers', 'float32')
class DoubleInputs(Loader):
    "Through numpy, whose floats have 64 bits."
    def collate(self, items):
        x,y = stacked(items)
        return torch.tensor(x.tolist(), dtype=torch.float64),y

@wrong('dataloader', 'keeps the kinds of numbers', 'labels became floats')
class FloatLabels(Loader):
    def collate(self, items):
        x,y = zip(*items)
        return torch.stack(x),torch.Tensor([int(o) for o in y])

@wrong('dataloader', 'shapes of a batch', 'labels of shape')
class LabelColumn(Loader):
    def collate(self, items):
        x,y = stacked(items)
        return x,y[:,None]

@wrong('dataloader', 'can be walked again', 'used up')
class UsedUp(Loader):
    "The generator is made once, and given out at each walk."
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.it = super().__iter__()
    def __iter__(self): return self.it

@wrong('dataloader', 'gives batches of inputs and labels', 'still to be stacked')
class NotStacked(Loader):
    def collate(self, items): return list(zip(*items))

@wrong('dataloader', 'knows its length', '7 batches')
class WholeBatchesOnly(Loader):
    def __len__(self): return len(self.ds)//self.bs

@wrong('dataloader', 'batches of the size asked for', '8')
class OneMore(Loader):
    def __iter__(self):
        self.bs += 1
        yield from super().__iter__()
        self.bs -= 1

@wrong('dataloader', 'inputs keep their labels', 'inputs and labels')
class LabelsOfNeighbours(Loader):
    def collate(self, items):
        x,y = stacked(items)
        return x,y.roll(1)

@wrong('dataloader', 'gives batches of inputs and labels', 'without end')
class Endless(Loader):
    def __iter__(self):
        while True: yield from super().__iter__()

@wrong('dataloader', 'gives batches of inputs and labels', 'no end within')
class Hangs(Loader):
    "Looks for an item that isn't there; and no except will stop it."
    def __iter__(self):
        while True:
            try: len(self.ds)
            except Exception: pass

@wrong('dataloader', 'fewer items than a batch', 'one batch of 3')
class NothingIfFew(Loader):
    def __iter__(self):
        if len(self.ds)>=self.bs: yield from super().__iter__()

@wrong('dataloader', 'drop_last', '[8, 8, 8, 8, 8, 8]')
class ForgetsDropLast(Loader):
    def __init__(self, ds, bs=64, shuffle=False, drop_last=False): super().__init__(ds, bs, shuffle)

@wrong('dataloader', 'leaves the dataset as it was', "caller's list is shuffled")
class ShufflesTheList(Loader):
    def order(self):
        if self.shuffle: random.shuffle(self.ds)
        return list(range(len(self.ds)))
