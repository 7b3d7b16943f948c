"A folder of PNGs as one tensor: load_folder against the book's way, and against only reading the bytes."
import os,shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from fastai.torch_core import tensor # the book's: of a picture, too
from PIL import Image

from digits_fastai.images import part_folder
from digits_fastai.download import digits_path
from digits_fastai.images import image_files,load_folder
from .measure import growth,met,peak,row,take_turns

def parts(full): # the folders of the training and the validation set
    path = digits_path(full=full)
    return [part_folder(path, None, o) for o in (('train','training'), ('valid','testing'))]

def book(folders): return [torch.stack([tensor(Image.open(o)) for o in image_files(f)]) for f in folders]
def reading(folders):
    "Only the bytes, in the quickest way that Python has."
    total = 0
    for file in (o.path for f in folders for sub in os.scandir(f) if sub.is_dir() for o in os.scandir(sub.path)):
        fd = os.open(file, os.O_RDONLY)
        total += len(os.read(fd, 2**14))
        os.close(fd)
    return total
def decoding(folders): return [load_folder(f, cache=False)[0] for f in folders]
def cached(folders): return [load_folder(f)[0] for f in folders]

def some(folder, n, dest): # a new folder with every so manieth of its images, from all classes
    files = image_files(folder)
    for i in range(n):
        o = files[i*len(files)//n]
        (dest/o.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(o, dest/o.parent.name/f'{i}.png')
    return dest

def run(quick=False):
    "Rows: decoding and the cache, for both sets; memory; how the cost grows. On copies, so that no cache but its own is used."
    rows,turns = [],3 if quick else 7
    with TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        for full in (False,True):
            folders = [shutil.copytree(o, tmp/str(full)/o.name) for o in parts(full)]
            sets = cached(folders)
            n,size = sum(map(len, sets)),sum(o.numel() for o in sets)
            took = take_turns({f.__name__: lambda f=f: f(folders) for f in (book,reading,decoding,cached)}, turns)
            rows += [row(f'{n:,} PNGs', took, 'decoding', 'book', '>= 4.5'),
                     row(f'{n:,} PNGs', took, 'decoding', 'reading', '<= 3.5'),
                     row(f'{n:,} PNGs again', took, 'cached', 'book', '>= 200')]
        if (height := peak('from bench.loading import *\nfrom digits_fastai.images import load_folder',
                           f'all = decoding({[str(o) for o in folders]!r})')):
            rows.append(dict(what=f'{n:,} PNGs, memory', ours='decoding', against='bytes', target='<= 3',
                             ratio=height/size, met=met(height/size, '<= 3'), memory_ours=height))
        sizes = [50,100,200] if quick else [1000,4000,16_000,60_000]
        sets = {n: some(parts(True)[0], n, tmp/str(n)) for n in sizes}
        took = take_turns({n: lambda f=f: decoding([f]) for n,f in sets.items()}, turns)
        return [*rows, growth('PNGs', sizes, took, 'decoding')]
