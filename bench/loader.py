"An epoch of batches, shuffled, nothing done with them: our DataLoader, fastai's and torch's."
import torch
from torch.utils.data import DataLoader as TorchLoader,TensorDataset

from digits_fastai.dataloaders import DataLoader,Dataset
from .data import ten_digits,threes_and_sevens
from .measure import growth,peak,row,take_turns

def contestants(x, y, bs=256):
    from fastai.data.load import DataLoader as FastaiLoader
    dls = dict(ours=DataLoader(Dataset(x, y), bs, shuffle=True),
               fastai=FastaiLoader(list(zip(x, y)), bs=bs, shuffle=True),
               torch=TorchLoader(TensorDataset(x, y), bs, shuffle=True))
    def walk(dl):
        def run():
            for b in dl: pass
        return run
    return {k: walk(dl) for k,dl in dls.items()}

def run(quick=False):
    "Rows: against fastai's over pairs, against torch's over tensors, memory beside time; how the cost grows."
    rows,(train,_) = [],threes_and_sevens()
    took = take_turns(contestants(*train), 3 if quick else 15)
    before = 'from bench.loader import *\nrun = contestants(*threes_and_sevens()[0])[{!r}]'
    memory = {} if quick else {o: peak(before.format(o), 'run()') for o in took}
    for other in ('fastai','torch'):
        rows.append(row(f'an epoch of {len(train[0]):,}', took, 'ours', other, '>= 8', memory_ours=memory.get('ours'),
                        memory_against=memory.get(other)))
    x,y = (torch.cat(o) for o in zip(*ten_digits()))
    sizes = [200,400,800] if quick else [1000,4000,16_000,70_000]
    some = {n: contestants(x[:n], y[:n])['ours'] for n in sizes}
    return [*rows, growth('an epoch of batches', sizes, take_turns(some, 3 if quick else 15), 'ours')]
