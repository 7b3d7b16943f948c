"Convolutions and unpackers."
import shutil,tarfile

import torch
import torch.nn.functional as F

from zoo import book,right,wrong


@right('conv')
def loops(x, w, bias=None, stride=1):
    "Window by window."
    (b,c,h,wd),(o,_,kh,kw) = x.shape,w.shape
    rows = [[(x[:,None,:,i:i+kh,j:j+kw]*w).sum((2,3,4)) for j in range(0, wd-kw+1, stride)] for i in range(0, h-kh+1, stride)]
    out = torch.stack([torch.stack(r, -1) for r in rows], -2)
    return out if bias is None else out + bias[:,None,None]

@right('conv')
def one_picture(img, kernel):
    "One picture [H,W], one filter [k,k]."
    k = len(kernel)
    return torch.stack([torch.stack([(img[i:i+k,j:j+k]*kernel).sum() for j in range(img.shape[1]-k+1)])
                        for i in range(img.shape[0]-k+1)])

@wrong('conv', 'slides one filter over a picture', 'turned round')
def flipped(x, w): return F.conv2d(x, w.flip(2, 3))

@wrong('conv', 'slides one filter over a picture', 'transposed')
def transposed(x, w): return F.conv2d(x, w.transpose(2, 3))

@wrong('conv', 'slides one filter over a picture', 'averaged')
def averaged(x, w): return F.conv2d(x, w)/9

@wrong('conv', 'slides one filter over a picture', 'too few')
def one_short(img, kernel): return one_picture(img, kernel)[:-1,:-1]

@wrong('conv', 'sums over channels', '')
def first_channel(x, w): return F.conv2d(x[:,:1], w[:,:1])

@wrong('conv', 'bias', 'the biases of all filters')
def all_biases(x, w, bias=None):
    out = F.conv2d(x, w)
    return out if bias is None else out + bias.sum()

@wrong('conv', 'bias', 'the bias is missing')
def no_bias(x, w, bias=None): return F.conv2d(x, w)

@wrong('conv', 'stride', 'shape')
def no_stride(x, w, stride=1): return F.conv2d(x, w)

@wrong('conv', 'padding', 'shape')
def no_padding(x, w, padding=0): return F.conv2d(x, w)

@wrong('conv', 'many filters', '')
def one_filter(x, w): return F.conv2d(x, w[:1].expand(w.shape))

@wrong('conv', 'its gradient', 'taken out of the computation')
def detached(x, w): return F.conv2d(x.data, w.data) + 0*w.sum()


@wrong('conv', 'stride and padding together', '')
def one_or_the_other(x, w, stride=1, padding=0):
    "Each is right alone; with a stride the padding is forgotten."
    return F.conv2d(x, w, stride=stride, padding=padding if stride==1 else 0)

@wrong('conv', 'leaves its inputs alone', '')
def uses_the_picture_up(x, w):
    out = F.conv2d(x, w)
    x.data.zero_()
    return out


@right('untar')
def filtered(archive, dest):
    "Python's filter refuses what leads out; unpacked beside the folder, then moved."
    new = dest.with_name('new')
    try:
        with tarfile.open(archive) as t: t.extractall(new, filter='data')
        new.rename(dest)
    finally: shutil.rmtree(new, ignore_errors=True)

@book('untar', 'whole or not at all')
def in_place(archive, dest):
    with tarfile.open(archive) as t: t.extractall(dest, filter='data')

@wrong('untar', 'refuses a name that climbs out', 'without a check')
def trusting(archive, dest):
    with tarfile.open(archive) as t: t.extractall(dest, filter='fully_trusted')

@wrong('untar', 'refuses a link that leads out', 'without a check')
def looks_at_names_only(archive, dest):
    with tarfile.open(archive) as t:
        for m in t.getmembers():
            if '..' in m.name or m.name.startswith('/'): raise ValueError(m.name)
        t.extractall(dest, filter='fully_trusted')

@wrong('untar', 'notices a broken archive', 'swallowed')
def swallows(archive, dest):
    try: in_place(archive, dest)
    except (EOFError,tarfile.ReadError): pass

@wrong('untar', 'takes an archive and a folder', 'nobody but you knows')
def wants_more(archive, dest, password, owner): filtered(archive, dest)

@wrong('untar', 'refuses an absolute name', 'outside the folder')
def looks_for_dots_only(archive, dest):
    with tarfile.open(archive) as t: t.extractall(dest, [m for m in t if '..' not in m.name], filter='fully_trusted')

@wrong('untar', 'unpacks', 'missing')
def top_only(archive, dest):
    with tarfile.open(archive) as t: t.extractall(dest, [m for m in t if m.name.count('/')<2], filter='data')
