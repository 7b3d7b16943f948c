"The digits, as float tensors: MNIST where it is, the stand-in where it isn't."
from functools import lru_cache


from digits_fastai.images import part_folder
from digits_fastai.download import digits_path
from digits_fastai.images import load_folder

@lru_cache
def _loaded(full):
    path,parts = digits_path(full=full),[]
    for usual in (('train','training'), ('valid','testing')):
        x,y,_ = load_folder(part_folder(path, None, usual))
        parts.append((x.flatten(1).float()/255, y if full else (1-y)[:,None]))
    return parts

def threes_and_sevens(): return _loaded(False) # [(x [N,784], y [N,1]), the same to validate with]
def ten_digits(): return _loaded(True) # [(x [N,784], y [N]), the same to validate with]
