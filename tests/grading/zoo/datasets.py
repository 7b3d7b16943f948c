"Datasets: pairs of an input and a label."
from zoo import book,right,wrong


@right('dataset')
class Pairs:
    def __init__(self, x, y):
        if len(x)!=len(y): raise ValueError(f'{len(x)} inputs, {len(y)} labels')
        self.x,self.y = x,y
    def __len__(self): return len(self.x)
    def __getitem__(self, i): return self.x[i],self.y[i]

@book('dataset', 'refuses inputs and labels of different length')
def zipped(x, y): return list(zip(x, y))

@right('dataset')
class OfPairs:
    "Takes the pairs themselves, in one argument."
    def __init__(self, items): self.items = items
    def __len__(self): return len(self.items)
    def __getitem__(self, i): return self.items[i]

@wrong('dataset', 'gives the pair of input and label', "don't belong to each other")
class Neighbour(Pairs):
    "The label of the next item."
    def __getitem__(self, i): return self.x[i],self.y[i-1]

@wrong('dataset', 'keeps the kinds of numbers', 'labels became floats')
class FloatLabels(Pairs):
    def __init__(self, x, y): super().__init__(x, y.float())

@wrong('dataset', 'leaves the data as it was', 'in place')
class InPlace(Pairs):
    "Divides by 255 each time an item is asked for, and the division stays."
    def __getitem__(self, i):
        if i>30: self.x[i].div_(255)
        return super().__getitem__(i)

@wrong('dataset', 'knows its length', '__len__')
class NoLength:
    def __init__(self, x, y): self.x,self.y = x,y
    def __getitem__(self, i): return self.x[i],self.y[i]

@wrong('dataset', 'ends', 'no IndexError')
class RoundAndRound(Pairs):
    def __getitem__(self, i): return super().__getitem__(i%len(self.x))

@wrong('dataset', 'gives the pair of input and label', 'a pair')
class OnlyInputs(Pairs):
    def __getitem__(self, i): return self.x[i]

@wrong('dataset', 'can be made of inputs and labels', 'nobody but you knows')
class WantsMore:
    def __init__(self, x, y, folder, seed): pass

@wrong('dataset', 'two at a time', 'share what belongs to self')
class InTheClass(Pairs):
    def __init__(self, x, y): InTheClass.x,InTheClass.y = x,y
