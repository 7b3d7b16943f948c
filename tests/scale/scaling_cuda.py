"""What is to be seen on a GPU, by a process that may see it: run by test_scale_cuda.py, on one rank with nccl.

Prints one line of JSON for each look: its name, what was wrong ('' if nothing), and its figures. `--anyway` looks at the
CPU where there is no GPU: a trial of the looks themselves. Needs torch, accelerate, numpy, fastcore, pillow; no fastai.
"""
import contextlib,io,json,os,socket,sys,tempfile,time,traceback
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from fastcore.foundation import L
from torch import nn

from digits_fastai.training.callbacks import GradientAccumulation,GradientClip,MixedPrecision
from digits_fastai.training.checkpoints import Checkpoint
from digits_fastai.nets.convolutions import BatchNorm,conv_net
from digits_fastai.dataloaders import DataLoaders,default_device
from digits_fastai.events import Callback
from digits_fastai.learner import Learner
from digits_fastai.losses import accuracy,cross_entropy
from digits_fastai.models import simple_net
from digits_fastai.optimizer import Adam,SGD
from digits_fastai.training.randomness import random_states,set_random_states,set_seed
from digits_fastai.scale.processes import distributed,sync_norm
import digits_fastai.training.lr_find # noqa: F401 it hangs methods on

gpu = torch.cuda.is_available()
device = torch.device('cuda' if gpu else 'cpu')
bare = contextlib.nullcontext


def pictures(n, seed=0):
    "Ten classes that can be learnt, and not at once: one faint pattern each, under noise; flat, in [0,1]."
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(10, (n,), generator=g)
    patterns = torch.rand(10, 784, generator=torch.Generator().manual_seed(9))
    return .35*patterns[y] + .65*torch.rand(n, 784, generator=g),y

sets = pictures(2050),pictures(514, 1)

def plain_net(): # no batch norm
    return nn.Sequential(nn.Unflatten(1, (1,28,28)), nn.Conv2d(1, 6, 5, 2, 2), nn.ReLU(), nn.Conv2d(6, 12, 3, 2, 1),
                         nn.ReLU(), nn.Flatten(), nn.Linear(12*49, 10))

def dropping(): return nn.Sequential(nn.Linear(784,64), nn.ReLU(), nn.Dropout(.3), nn.Linear(64,10))

def learner(model=partial(simple_net, n_out=10), dtype=torch.float32, cbs=(), many=False, data=sets, bs=64, lr=.1, opt=SGD):
    set_seed(1, reproducible=True)
    dls = DataLoaders.from_tensors(*((x.to(dtype), y) for x,y in data), batch_size=bs)
    return Learner(dls, model().to(dtype), cross_entropy, opt, lr, metrics=accuracy, cbs=[*L(cbs), *(distributed(timeout=60) if many else [])])

def fit(epochs=2, on=None, **kwargs):
    learn = learner(**kwargs)
    if on: learn.model.to(on)
    learn.fit(epochs)
    return learn

def weights(learn): return torch.cat([o.detach().cpu().double().flatten() for o in learn.model.state_dict().values()])
def record(learn): return torch.tensor(learn.recorder.values, dtype=torch.float64)
def apart(a, b): return (weights(a)-weights(b)).abs().max().item()

def close(d, most, what):
    assert d<=most, f'{what}: parted by {d:.1e}, and {most:.0e} is allowed'
    return d


def learner_moves_to_the_gpu():
    seen = set()
    class Look(Callback):
        def after_pred(self): seen.update(o.device.type for o in (*self.xb, *self.yb, self.pred, *self.model.parameters()))
    learn = fit(2, cbs=Look(), opt=Adam, lr=3e-3)
    assert default_device().type==device.type and seen=={device.type}, seen
    assert {o.device.type for o in (*learn.get_preds(), *learn.predict(sets[1][0][0])[1:])}=={'cpu'}
    assert record(learn)[-1,2]>.5, 'it has not learnt anything'

def nccl_simple_net():
    a,b = fit(),fit(many=True)
    assert dist.get_backend()==('nccl' if gpu else 'gloo') and dist.get_world_size()==1
    return dict(weights=close(apart(a, b), 1e-5, 'weights'),
                record=close((record(a)-record(b)).abs().max().item(), 1e-6, 'record'))

def nccl_convnet_200_steps():
    kwargs = dict(epochs=7, model=plain_net, dtype=torch.float64)
    a,b = fit(**kwargs),fit(**kwargs, many=True)
    assert len(a.recorder.losses)>=200
    return dict(weights=close(apart(a, b), 1e-9, 'weights'))

def gpu_as_cpu_in_float64():
    res = {}
    for name,model in dict(simple_net=partial(simple_net, n_out=10), convnet=plain_net, batch_norm=partial(conv_net, 10, 4)).items():
        kwargs = dict(epochs=1, model=model, dtype=torch.float64, opt=partial(SGD, mom=.9), lr=.02)
        res[name] = close(apart(fit(**kwargs), fit(on='cpu', **kwargs)), 1e-7, name)
    return res

def synchronised_batch_norm():
    learner(many=True) # the ranks, one here, have found each other
    res,x = {},torch.rand(30, 8, 5, 5, dtype=torch.float64, device=device, generator=torch.Generator(device).manual_seed(0))
    kinds = dict(torch=nn.BatchNorm2d, ours=BatchNorm, **(dict(synced=nn.SyncBatchNorm) if gpu else {}))
    def both(f, m, seed=0):
        g = torch.Generator(device).manual_seed(seed)
        for p in m.parameters(): p.data.copy_(torch.rand(8, dtype=p.dtype, device=device, generator=g))
        xs = x.clone().requires_grad_()
        (f(xs)*torch.rand(x.shape, dtype=x.dtype, device=device, generator=g)).sum().backward()
        return torch.cat([o.flatten() for o in (f(xs).detach(), xs.grad, m.weight.grad, m.bias.grad, m.running_mean, m.running_var)])
    by_hand = both(partial(sync_norm, m := nn.BatchNorm2d(8).to(device, torch.float64)), m)
    for k,kind in kinds.items():
        m = kind(8).to(device, torch.float64)
        res[k] = close((both(m, m)-by_hand).abs().max().item(), 1e-9, k)
    return res

def mixed_precision(dtype, limit):
    kwargs = dict(epochs=3, model=partial(conv_net, 10, 8), opt=Adam, lr=3e-3)
    full,short = fit(**kwargs),fit(**kwargs, cbs=MixedPrecision(dtype), many=True)
    assert {o.dtype for o in short.model.parameters()}=={torch.float32}
    a,b = record(full)[-1],record(short)[-1]
    assert 'forward' not in vars(short.model), 'something was left on the model'
    close((a-b)[:2].abs().max().item(), limit, f'losses, {a.tolist()} and {b.tolist()}')
    if gpu:
        seen = set()
        class Look(Callback):
            def before_fit(self): self.learn.on_exit.callback(self.learn.model.out.register_forward_hook(
                lambda m, i, o: seen.add(o.dtype)).remove)
        fit(1, model=partial(conv_net, 10, 8), cbs=[MixedPrecision(dtype), Look()], many=True)
        assert seen=={dtype}, f'the last layer gave {seen}'
    return dict(float32=a.tolist(), short=b.tolist())

def mixed_precision_bf16(): return mixed_precision(torch.bfloat16, .15)
def mixed_precision_fp16(): return mixed_precision(torch.float16, .15) if gpu else {}

def accumulation_and_clipping():
    cbs = lambda: [GradientAccumulation(150), GradientClip(.5)]
    return dict(weights=close(apart(fit(cbs=cbs()), fit(cbs=cbs(), many=True)), 1e-5, 'weights'))

def random_states_of_the_gpu():
    states = random_states()
    assert len(states['cuda'])==torch.cuda.device_count()
    def throw(): return torch.rand(5, device=device)
    a,b = throw(),throw()
    set_random_states(states)
    assert torch.equal(throw(), a) and not torch.equal(a, b)

def checkpoint_goes_on(many=False):
    with tempfile.TemporaryDirectory() as folder:
        file,kwargs = Path(folder)/'state',dict(model=dropping, opt=Adam, lr=3e-3, many=many)
        whole = fit(4, **kwargs)
        class Stop(Callback):
            order = 95
            def after_epoch(self):
                if self.epoch==1: raise KeyboardInterrupt('enough')
        with contextlib.suppress(KeyboardInterrupt):
            first = learner(**{**kwargs, 'many': False}, cbs=[Checkpoint(file), Stop()])
            first.fit(4)
        second = learner(**kwargs)
        torch.rand(77, device=device) # the dice stand elsewhere now
        second.load(file)
        second.fit(4, start_epoch=second.done_epochs)
        d = close(apart(whole, second), 1e-6, 'weights')
        if not many and gpu: # a twin: the GPU's dice stay where they are
            third = learner(**kwargs).load(file)
            third.resume.state['dice']['cuda'] = []
            torch.rand(77, device=device)
            third.fit(4, start_epoch=2)
            assert apart(whole, third)>1e-4, 'dropout was the same with other dice'
        there = Learner(second.dls, dropping(), cross_entropy, Adam, 3e-3, accuracy)
        there.model.cpu()
        there.load(file) # what a GPU has written, on the CPU
        assert {o.device.type for o in there.model.parameters()}=={'cpu'} and there.done_epochs==2
        there.fit(3, start_epoch=2)
    return dict(weights=d)

def checkpoint_goes_on_under_nccl(): return checkpoint_goes_on(many=True)

def lr_find_leaves_all_as_it_was():
    learn = learner(many=True)
    before,states = weights(learn),random_states()
    found = learn.lr_find(show_plot=False, num_it=30)
    assert torch.equal(weights(learn), before) and torch.equal(random_states()['torch'], states['torch'])
    return dict(found=float(found[0]))

def epoch_times():
    n,res = (60000,10000) if gpu else (2000,500),{}
    def times(name, on=None, epochs=4, part=1, **kwargs):
        data = [pictures(o//part, i) for i,o in enumerate(n)]
        learn,took = learner(data=data, bs=512, lr=1e-3, opt=Adam, **kwargs),[]
        if on: learn.model.to(on)
        class Clock(Callback):
            order = 200
            def before_epoch(self): self.start = time.perf_counter()
            def after_epoch(self):
                if gpu: torch.cuda.synchronize()
                took.append(time.perf_counter()-self.start)
        learn.fit(epochs, cbs=Clock())
        res[name] = dict(seconds=round(sorted(took[1:])[len(took)//2-1]*part, 4), accuracy=round(float(record(learn)[-1,2]), 4))
    nets = dict(simple_net=partial(simple_net, n_out=10), conv_net=conv_net, wide_conv_net=partial(conv_net, width=64))
    for name,model in nets.items():
        times(f'{name}, float32', model=model)
        times(f'{name}, float32, nccl with one rank', model=model, many=True)
        times(f'{name}, bf16', model=model, cbs=MixedPrecision(torch.bfloat16))
        if gpu: times(f'{name}, fp16', model=model, cbs=MixedPrecision(torch.float16))
        part = 20 if model is nets['wide_conv_net'] else 4 # a twentieth of an epoch, times twenty
        times(f'{name}, float32, CPU with {torch.get_num_threads()} threads', 'cpu', 2, part, model=model)
    return res

looks = [learner_moves_to_the_gpu, random_states_of_the_gpu, checkpoint_goes_on, nccl_simple_net, nccl_convnet_200_steps,
         gpu_as_cpu_in_float64, synchronised_batch_norm, mixed_precision_bf16, mixed_precision_fp16,
         accumulation_and_clipping, checkpoint_goes_on_under_nccl, lr_find_leaves_all_as_it_was, epoch_times]


def main(names):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    os.environ.update(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', LOCAL_WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    for f in looks:
        if names and f.__name__ not in names: continue
        start,said,figures = time.perf_counter(),'',None
        try:
            with contextlib.redirect_stdout(io.StringIO()): figures = f()
        except Exception: said = traceback.format_exc()
        print(json.dumps(dict(name=f.__name__, wrong=said, figures=figures, seconds=round(time.perf_counter()-start, 2))), flush=True)
    if dist.is_initialized(): dist.destroy_process_group()


if __name__=='__main__':
    if not gpu and '--anyway' not in sys.argv: sys.exit('there is no GPU')
    main([o for o in sys.argv[1:] if o!='--anyway'])
