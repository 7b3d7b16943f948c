"An epoch from the disk, nothing done with it: a mapped file, and webdataset's blocks, against the tensor in memory."
import io
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import webdataset as wds

from digits_fastai.dataloaders import DataLoader,Dataset
from digits_fastai.download import digits_path
from digits_fastai.images import part_folder
from digits_fastai.data.streams import mapped_folder,shuffle_window
from .measure import row,take_turns

size = 256 # pictures a block, and a batch

def write_blocks(x, y, folder): # shards of eight blocks, shuffled once
    folder.mkdir()
    with wds.ShardWriter(f'{folder}/%06d.tar', maxcount=8, verbose=0) as out:
        for i,rows in enumerate(torch.randperm(len(y)).split(size)):
            out.write({'__key__': f'{i:08d}', 'x.npy': x[rows].numpy(), 'y.npy': y[rows].numpy()})

def array(member): return torch.from_numpy(np.load(io.BytesIO(member)))
def floats(member): return array(member).float().div_(255)[:,None]

def shards(folder): # a block is a batch; eight of them wait in the window
    records = wds.WebDataset(sorted(map(str, folder.glob('*.tar'))), shardshuffle=False)
    blocks = records.to_tuple('x.npy','y.npy').map_tuple(floats, array)
    return blocks.compose(partial(shuffle_window, window=8))

def walk(dl, n):
    seen = sum(len(yb) for _,yb in dl)
    assert seen==n, f'{seen} pictures of {n}'

def run(quick=False):
    "Rows: both ways against memory, batches of 256 in a random order."
    folder = part_folder(digits_path(), None, ('train','training'))
    with TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        mapped,_ = mapped_folder(folder, tmp/'x.npy')
        pictures = torch.from_numpy(np.array(mapped.x))
        write_blocks(pictures, mapped.y, tmp/'shards')
        memory = Dataset(pictures.float().div_(255)[:,None], mapped.y)
        dls = {'in memory': DataLoader(memory, size, shuffle=True), 'mapped': DataLoader(mapped, size, shuffle=True),
               'shards': shards(tmp/'shards')}
        took = take_turns({k: partial(walk, dl, len(mapped)) for k,dl in dls.items()}, 2 if quick else 15)
        return [row(f'an epoch of {len(mapped):,}', took, o, 'in memory', '<= 8') for o in ('mapped','shards')]
