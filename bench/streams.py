"An epoch from the disk, nothing done with it: a mapped file and tar shards against the tensor in memory; and peak memory."
import json,os
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from digits_fastai.dataloaders import DataLoader,Dataset
from digits_fastai.download import digits_path
from digits_fastai.formats import read_idx,write_idx
from digits_fastai.images import part_folder
from digits_fastai.streams import MappedDataset,ShardLoader,mapped_folder,write_shards
from .measure import met,peak,row,take_turns

def in_memory(file): # what the others are held against
    x = torch.from_numpy(read_idx(file)).float().div_(255)[:,None]
    return DataLoader(Dataset(x, torch.zeros(len(x))), 64, shuffle=True)

def mapped(file, n): return DataLoader(MappedDataset(file, torch.zeros(n)), 64, shuffle=True)
def walk(dl): return sum(len(xb) for xb,_ in dl)

def repeated(shards, n, dest): # the same shards under other names, until there are `n` samples or a few more
    dest.mkdir()
    index = json.loads((shards/'index.json').read_bytes())
    times = -(-n//sum(index['shards'].values()))
    index['shards'] = {f'{i}-{name}': m for i in range(times) for name,m in index['shards'].items()}
    for name in index['shards']: os.link(shards/name.split('-', 1)[1], dest/name)
    (dest/'index.json').write_text(json.dumps(index))

def memory_rows(tmp, n):
    "Rows: the peak with ten times the pictures over that with one time, in fresh processes, all of Python and torch included."
    x,rows = torch.from_numpy(read_idx(tmp/'x.idx')),[]
    for k in (n, 10*n):
        write_idx(x[torch.arange(k)%len(x)], tmp/f'{k}.idx')
        repeated(tmp/'shards', k, tmp/str(k))
    for name,code,target in (('in memory', "in_memory('{tmp}/{k}.idx')", ''), ('mapped', "mapped('{tmp}/{k}.idx', {k})", '<= 1.2'),
                             ('shards', "ShardLoader('{tmp}/{k}')", '<= 1.2')): # what the chapter is for: no more memory
        codes = [f'from bench.streams import *\nwalk({code.format(tmp=tmp, k=k)})' for k in (n, 10*n)]
        small,large = (peak('', o) for o in codes)
        if small is None: return []
        rows.append(dict(what=f'peak memory, {10*n:,} pictures against {n:,}', ours=f'{name}, 10×', against='1×', target=target,
                         ratio=large/small, met=met(large/small, target) if target else None, memory_ours=large, memory_against=small))
    return rows

def run(quick=False):
    "Rows: both ways against memory; ten times the data in each."
    folder = part_folder(digits_path(), None, ('train','training'))
    with TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        ds,_ = mapped_folder(folder, tmp/'x.idx')
        write_shards(folder, tmp/'shards', per_shard=-(-len(ds)//12))
        dls = {'in memory': in_memory(tmp/'x.idx'), 'mapped': DataLoader(ds, 64, shuffle=True), 'shards': ShardLoader(tmp/'shards')}
        took = take_turns({k: lambda dl=dl: walk(dl) for k,dl in dls.items()}, 2 if quick else 9)
        rows = [row(f'an epoch of {len(ds):,}', took, o, 'in memory', '<= 1') for o in ('mapped','shards')]
        for o in rows: o.update(target='', met=None) # a tensor has all decoded already: it's good to know, and no goal
        return rows if quick else rows+memory_rows(tmp, 10_000)
