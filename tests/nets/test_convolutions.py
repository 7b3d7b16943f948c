"Convolution, pooling, batch norm, dropout and the residual block do what PyTorch's and torchvision's do."
import copy,pickle
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given,settings,strategies as st
from torch import nn

from mutating import mutant
from digits_fastai.nets import convolutions

close = 1e-5


def value_and_grads(f, *args):
    "The output, and the gradient of every argument when each output has a weight of its own."
    args = [a.detach().clone().requires_grad_() for a in args]
    out = f(*args)
    (out*torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
    return [out.detach(),*[torch.zeros_like(a) if a.grad is None else a.grad for a in args]]

def same(ours, theirs):
    "Equal to 1e-5 of the largest number, or of 1; a gradient that is missing is one of zeros."
    assert len(ours)==len(theirs)
    for a,b in zip(ours, theirs):
        a,b = a.double(),b.double()
        assert a.shape==b.shape
        d = ((a-b).abs().max()/b.abs().max().clamp_min(1)).item()
        assert d<=close, f'they part by {d:.1e}'

def everything(m, x):
    "What a layer gives, its gradients, and all that it remembers."
    m.zero_grad()
    res = value_and_grads(m, x)
    return res + [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in m.parameters()] + \
        [o.clone() for o in m.buffers()]


# The comparisons. Each takes the module, so that the mutants below can be put in its place.

sizes,seeds = st.integers(1, 5),st.integers(0, 10**6)
conv_cases = st.tuples(seeds, st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), sizes, sizes, st.integers(0, 7),
                       st.integers(0, 7), st.integers(1, 3), st.integers(0, 2), st.booleans())
pool_cases = st.tuples(seeds, st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 7),
                       st.integers(0, 7), st.one_of(st.none(), st.integers(1, 4)), st.booleans())

def same_conv(m, case):
    seed,b,c,o,kh,kw,h,w,stride,padding,biased = case
    torch.manual_seed(seed)
    args = torch.randn(b, c, kh+h, kw+w),torch.randn(o, c, kh, kw),*([torch.randn(o)] if biased else [])
    opts = dict(stride=stride, padding=padding)
    same(*(value_and_grads(lambda *a: f(*a, **opts), *args) for f in (m.conv2d,F.conv2d)))
    same([m.conv2d(*args, **opts)], [F.conv2d(*args, **opts)])
    assert m.output_size(kh+h, kh, stride, padding)==F.conv2d(*args, **opts).shape[2]

def same_pool(m, case):
    seed,b,c,k,h,w,stride,ties = case
    torch.manual_seed(seed)
    x = torch.randint(-1, 2, (b,c,k+h,k+w)).float() if ties else torch.randn(b, c, k+h, k+w)
    same(*(value_and_grads(lambda o: f(o, k, stride), x) for f in (m.max_pool2d,F.max_pool2d)))

def same_windows(m, seed):
    torch.manual_seed(seed)
    k,stride,padding = (2,3),int(torch.randint(1, 4, ())),int(torch.randint(0, 3, ()))
    x = torch.randn(2,3,7,6)
    ours = m.windows(x, k, stride, padding)
    theirs = F.unfold(x, k, stride=stride, padding=padding).view(2, 3, *k, *ours.shape[2:4]).permute(0,1,4,5,2,3)
    same([ours], [theirs])

norms = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
norm_cases = st.tuples(seeds, st.sampled_from([(2,3),(9,5),(4,3,6),(3,5,4,2),(1,4,2,3),(6,1,1,1)]),
                       st.sampled_from([1e-5,1e-3,.5]), st.sampled_from([0.,.1,.7,1.]))

def same_norm(m, case):
    "In float64: two numbers that are all but equal have a gradient that is mostly float32's rounding."
    seed,shape,eps,momentum = case
    torch.manual_seed(seed)
    n = shape[1]
    ours,theirs = m.BatchNorm(n, eps, momentum).double(),norms[len(shape)](n, eps, momentum).double()
    same([*ours.state_dict().values()], [*theirs.state_dict().values()]) # both begin alike
    assert list(ours.state_dict())==list(theirs.state_dict())
    nn.init.normal_(theirs.weight), nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    for training in (True,True,False,True,False):
        x = torch.randn(shape, dtype=torch.float64)*torch.arange(1., n+1).view(1, n, *[1]*(len(shape)-2)) + 2
        same(*(everything(o.train(training), x) for o in (ours,theirs)))

def is_dropout(layer, p):
    torch.manual_seed(0)
    x = (torch.rand(300,400)+1).requires_grad_()
    out = layer.train()(x)
    out.sum().backward()
    kept = out.detach()!=0
    same([out,x.grad], [x*kept/(1-p),kept/(1-p)])
    assert abs((~kept).float().mean()-p)<.01 and abs(out.mean()-x.mean())<.03
    for dim in (0,1): assert ((~kept).float().mean(dim)-p).abs().max()<.16 # each on its own, not by row or column
    if p: assert ((layer(x)!=0)!=kept).any()
    assert torch.equal(layer.eval()(x), x)

def same_dropout(m):
    for p in (0.,.1,.5,.8):
        for layer in (nn.Dropout(p),m.Dropout(p)): is_dropout(layer, p)

block_cases = st.tuples(seeds, st.sampled_from([(3,3,1),(3,5,1),(4,4,2),(2,6,2)]), st.integers(4, 9))

def same_block(m, case):
    from torchvision.models.resnet import BasicBlock
    seed,(n_in,n_out,stride),size = case
    torch.manual_seed(seed)
    fits = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
    theirs = BasicBlock(n_in, n_out, stride, fits if stride>1 or n_in!=n_out else None)
    for o in theirs.modules():
        if isinstance(o, nn.BatchNorm2d): nn.init.normal_(o.weight), nn.init.normal_(o.bias)
    ours = m.ResBlock(n_in, n_out, stride)
    ours.load_state_dict(theirs.state_dict())
    for training in (True,False):
        x = torch.randn(4, n_in, size, size+1)
        a,b = (everything(o.train(training), x) for o in (ours,theirs))
        same(a, b)

def same_field(m, layers):
    "The receptive field is as wide as the gradient of one output."
    model = nn.Sequential(*[nn.Conv2d(1, 1, k, s, bias=False) if conv else nn.AvgPool2d(k, s) for conv,k,s in layers])
    for p in model.parameters(): nn.init.constant_(p, 1.)
    side = m.receptive_field(model)
    x = torch.zeros(1, 1, 2*side, 2*side).requires_grad_()
    model(x)[0,0,0,0].backward()
    seen = x.grad[0,0]!=0
    assert seen[:side,:side].all() and seen.sum()==side**2

field_cases = st.lists(st.tuples(st.booleans(), st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3).filter(
    lambda o: all(k>=s for _,k,s in o)) # else there are pixels between the windows that nobody sees

def same_net(m):
    "conv_net by its pieces: F.conv2d, F.batch_norm, relu, F.max_pool2d."
    for stride in (1,2):
        torch.manual_seed(stride)
        net,x = m.conv_net(7, width=4, stride=stride).eval(),torch.rand(3,1,28,28)
        for name,b in net.named_buffers():
            if 'running' in name: b.copy_(torch.rand(b.shape) - .5 if 'mean' in name else torch.rand(b.shape) + .5)
        want = x
        for i,block in enumerate((net.block1,net.block2,net.block3)):
            conv,bn = block[:2]
            want = F.conv2d(want, conv.weight, None, stride if i==0 else 1, 2 if i==0 else 1)
            want = F.batch_norm(want, bn.running_mean, bn.running_var, bn.weight, bn.bias).relu()
            if i or stride==1: want = F.max_pool2d(want, 2)
        want = want.flatten(1)@net.out.weight.T + net.out.bias
        same([net(x),net(x.flatten(1))], [want,want])
        got = m.activations(net.train(), x)
        same([got['out']], [want])
        assert all(o.training for o in net.modules()) and not any(o.requires_grad for o in got.values())
        assert list(got)==['pictures','block1','block2','block3','flat','out'] and got['block3'].shape==(3,16,3,3)


some = settings(max_examples=120, deadline=None, derandomize=True, database=None)

@some
@given(conv_cases)
def test_conv2d_is_torchs(case): same_conv(convolutions, case)

@some
@given(pool_cases)
def test_max_pool2d_is_torchs_even_where_several_are_the_largest(case): same_pool(convolutions, case)

@settings(some, max_examples=30)
@given(seeds)
def test_windows_are_those_of_unfold(seed): same_windows(convolutions, seed)

@settings(some, max_examples=60)
@given(norm_cases)
def test_batch_norm_is_torchs(case): same_norm(convolutions, case)

def test_dropout_keeps_what_must_hold_of_torchs_as_well(): same_dropout(convolutions)

@settings(some, max_examples=25)
@given(block_cases)
def test_the_residual_block_is_torchvisions(case): same_block(convolutions, case)

@settings(some, max_examples=60)
@given(field_cases)
def test_the_receptive_field_is_what_the_gradient_says(layers): same_field(convolutions, layers)

def test_conv_net_is_its_pieces(): same_net(convolutions)


a_conv = [(1,2,3,4,3,2,5,4,2,1,True), (2,2,2,3,5,5,3,2,1,2,True), (3,1,1,1,1,1,4,4,3,0,False)]
a_pool = [(1,2,3,2,5,4,None,False), (2,2,2,3,4,4,1,True), (3,1,2,2,5,5,None,True)]
a_norm = [(1,(9,5),1e-5,.1), (2,(3,5,4,2),.5,.7)]
a_block = [(1,(3,3,1),6), (2,(2,6,2),7), (3,(4,4,2),8)]
a_field = [[(True,3,1),(True,3,2),(False,2,2),(True,3,1)]]

def each(compare, cases): return lambda m: [compare(m, o) for o in cases]
convs,pools,norms_,blocks,fields = (each(f, o) for f,o in ((same_conv,a_conv), (same_pool,a_pool), (same_norm,a_norm),
                                                          (same_block,a_block), (same_field,a_field)))
mutants = [
    ('the kernel is turned around', convs, '@ weight.flatten(1).T', '@ weight.flip(2,3).flatten(1).T'),
    ('rows and columns are exchanged', convs, 'permute(0,2,3,1,4,5)', 'permute(0,3,2,1,4,5)'),
    ('channels and places are mixed up', convs, 'permute(0,2,3,1,4,5).flatten(3)', 'permute(0,2,3,4,5,1).flatten(3)'),
    ('the bias is forgotten', convs, 'out if bias is None else out + bias', 'out'),
    ('the stride is forgotten in one direction', convs, 'unfold(2, kh, stride)', 'unfold(2, kh, 1)'),
    ('padding is of ones', convs, 'F.pad(x, [padding]*4)', 'F.pad(x, [padding]*4, value=1.)'),
    ('padding on two sides only', convs, '[padding]*4', '[padding,0,padding,0]'),
    ('no gradient to the filters', convs, 'weight.flatten(1).T\n', 'weight.detach().flatten(1).T\n'),
    ('one place too many', convs, '//stride + 1', '//stride + 2'),
    ('pooling by the mean', pools, '.flatten(-2).max(-1).values', '.mean((-2,-1))'),
    ('equal ones share the gradient', pools, '.flatten(-2).max(-1).values', '.amax((-2,-1))'),
    ('pooling windows overlap', pools, 'k if stride is None else stride', '1 if stride is None else stride'),
    ('the variance of a sample, for the batch', norms_, 'x.var(dims, correction=0)', 'x.var(dims)'),
    ('the variance of the batch is remembered', norms_, 'var*n/(n-1)', 'var'),
    ('the old has the share of the new', norms_, 'running_mean.lerp_(mean, self.momentum)',
     'running_mean.lerp_(mean, 1-self.momentum)'),
    ('eps outside of the root', norms_, '(var+self.eps).rsqrt()', '(1/(var.sqrt()+self.eps))'),
    ('the mean has no gradient', norms_, 'x.mean(dims)', 'x.mean(dims).detach()'),
    ('the batch is measured in evaluation', norms_, 'if self.training else (self.running_mean',
     'if True else (self.running_mean'),
    ('it is remembered from the start', norms_, 'if self.training else (self.running_mean',
     'if False else (self.running_mean'),
    ('batches are not counted', norms_, 'num_batches_tracked += 1', 'num_batches_tracked += 0'),
    ('the bias is multiplied', norms_, '*self.weight.view(shape) + self.bias', '*self.weight.view(shape) * self.bias'),
    ('dropout does not scale', same_dropout, '.bernoulli_(1-self.p)/(1-self.p)', '.bernoulli_(1-self.p)'),
    ('dropout keeps the share it should drop', same_dropout, '.bernoulli_(1-self.p)', '.bernoulli_(self.p)'),
    ('dropout in evaluation', same_dropout, 'if not self.training or not self.p', 'if not self.p'),
    ('no dropout', same_dropout, 'if not self.training or not self.p', 'if True'),
    ('dropout by rows', same_dropout, 'torch.empty_like(x)', 'torch.empty_like(x[:,:1])'),
    ('the sum is forgotten', blocks, '(self.downsample(x) + change).relu()', 'change.relu()'),
    ('the sum comes after the ReLU', blocks, '(self.downsample(x) + change).relu()',
     'self.downsample(x) + change.relu()'),
    ('no ReLU between', blocks, 'self.bn1(self.conv1(x)).relu()', 'self.bn1(self.conv1(x))'),
    ('one batch norm for both', blocks, 'self.bn2(self.conv2(', 'self.bn1(self.conv2('),
    ('no way past a stride', blocks, 'if stride>1 or n_in!=n_out', 'if n_in!=n_out'),
    ('the field does not grow with the stride', fields, 'step*stride', 'step'),
    ('the field grows after the stride', fields, 'size,step = size + (k-1)*step,step*stride',
     'step = step*stride; size = size + (k-1)*step'),
    ('pictures are turned', same_net, 'self.side, 1).permute(0,3,1,2)', 'self.side, 1).permute(0,3,2,1)'),
    ('the second block does not pool', same_net, 'conv_block(width, 2*width, pool=2)', 'conv_block(width, 2*width)'),
    ('no ReLU', same_net, 'nn.BatchNorm2d(n_out), nn.ReLU()]', 'nn.BatchNorm2d(n_out), nn.Identity()]'),
]

@pytest.mark.parametrize('compare,old,new', [pytest.param(*o, id=name) for name,*o in mutants])
def test_a_mistake_is_noticed(compare, old, new):
    with mutant('convolutions', old, new) as m, pytest.raises((AssertionError,RuntimeError)): compare(m)

def test_looking_inside_that_leaves_evaluation_on_is_noticed(monkeypatch):
    @contextmanager
    def careless(model):
        model.eval()
        with torch.no_grad(): yield
    monkeypatch.setattr(convolutions, 'untouched', careless)
    with pytest.raises(AssertionError): same_net(convolutions)

@pytest.mark.parametrize('compare', [convs,pools,norms_,blocks,fields])
def test_without_a_mistake_nothing_is(compare): compare(convolutions)


C = convolutions
@pytest.mark.parametrize('call,said', [
    (lambda: C.conv2d(torch.zeros(2,28,28), torch.zeros(4,1,3,3)), 'x[:,None]'),
    (lambda: C.conv2d(torch.zeros(2,3,28,28), torch.zeros(4,1,3,3)), 'pictures with 3 channels and filters for 1'),
    (lambda: C.conv2d(torch.zeros(2,1,4,4), torch.zeros(4,1,5,5)), 'window of 5 does not fit into 4 pixels'),
    (lambda: C.conv2d(torch.zeros(2,1,4,4), torch.zeros(3,3)), '[O,C,kh,kw] is needed'),
    (lambda: C.conv2d(torch.zeros(2,1,4,4), torch.zeros(4,1,3,3), torch.zeros(1)), 'one of shape [4]'),
    (lambda: C.conv2d(torch.zeros(2,1,4,4), torch.zeros(4,1,3,3), stride=0), 'stride=0'),
    (lambda: C.conv2d(torch.zeros(2,1,4,4), torch.zeros(4,1,3,3), padding=-1), 'padding=-1'),
    (lambda: C.max_pool2d(torch.zeros(2,1,4,4), 5), 'does not fit'),
    (lambda: C.max_pool2d(torch.zeros(2,1,4,4), 2, 0), 'stride=0'),
    (lambda: C.BatchNorm(4)(torch.zeros(8,3)), '4 channels'),
    (lambda: C.BatchNorm(4)(torch.zeros(4)), '4 channels'),
    (lambda: C.BatchNorm(4)(torch.zeros(1,4)), 'drop_last=True'),
    (lambda: C.Dropout(1.), 'less than 1'), (lambda: C.Dropout(-.1), '0 or more'),
    (lambda: C.conv_net()(torch.zeros(1,3,28,28)), '[B,1,28,28] or [B,784]'),
    (lambda: C.conv_net()(torch.zeros(784)), 'x[None]'),
    (lambda: C.conv_net(stride=4), '1 or 2')])
def test_what_cannot_work_is_refused_in_words(call, said):
    with pytest.raises(ValueError) as e: call()
    assert said in str(e.value)

def test_a_padding_that_the_message_names_is_enough():
    for size in range(1, 8):
        for k in range(size+1, 12):
            with pytest.raises(ValueError) as e: C.output_size(size, k)
            needed = int(str(e.value).split('padding=')[1].split()[0])
            assert C.output_size(size, k, padding=needed)>=1
            with pytest.raises(ValueError): C.output_size(size, k, padding=needed-1)

def test_a_single_picture_is_enough_for_batch_norm_over_places():
    assert C.BatchNorm(3)(torch.randn(1,3,2,2)).shape==(1,3,2,2)
    assert C.BatchNorm(3).eval()(torch.randn(1,3)).shape==(1,3)

def test_windows_without_padding_copy_nothing():
    x = torch.randn(2,3,6,6)
    assert C.windows(x, 3).data_ptr()==x.data_ptr()

def test_dropout_is_repeated_by_a_seed_and_keeps_the_dtype():
    layer,x = C.Dropout(.4),torch.ones(100, dtype=torch.float64)
    torch.manual_seed(3)
    a = layer(x)
    torch.manual_seed(3)
    assert torch.equal(a, layer(x)) and a.dtype==torch.float64

def test_a_conv_net_can_be_copied_pickled_sliced_and_loaded():
    x = torch.rand(2,784)
    net = C.conv_net(drop=.3).eval()
    for other in (copy.deepcopy(net),pickle.loads(pickle.dumps(net))): assert torch.equal(other(x), net(x))
    fresh = C.conv_net(drop=.3).eval()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(x), net(x)) and net[:4](x).shape==(2,64,3,3)
    assert all(o.is_contiguous() for o in net.state_dict().values()) # as safetensors wants them

def test_channels_lie_last_on_the_whole_way():
    x = torch.rand(2,1,28,28)
    for layer in C.conv_net()[:4]:
        x = layer(x)
        assert x.is_contiguous(memory_format=torch.channels_last)

def test_activations_restore_the_mode_of_every_layer_even_after_an_error():
    net = C.conv_net(drop=.5).train()
    net.block1.eval()
    modes = [m.training for m in net.modules()]
    with pytest.raises(ValueError): C.activations(net, torch.zeros(2,5))
    assert [m.training for m in net.modules()]==modes
    with pytest.raises(TypeError, match='nn.Sequential'): C.activations(nn.Linear(2, 2), torch.zeros(1, 2))

def test_conv_net_with_our_own_batch_norm_trains_in_step_with_torchs(path):
    "Ten steps of SGD from the same weights: the same weights. In float64: float32's rounding grows step by step."
    from digits_fastai.images import load_folder
    from digits_fastai.optimizer import SGD
    x,y,_ = load_folder(path/'valid')
    x,y = x[::8].double()/255,y[::8]
    torch.manual_seed(0)
    theirs = C.conv_net(2, width=4).double()
    ours = copy.deepcopy(theirs)
    for i,block in enumerate((ours.block1,ours.block2,ours.block3)): block[1] = C.BatchNorm(4*2**i).double()
    ours.load_state_dict(theirs.state_dict())
    for net in (ours,theirs):
        opt = SGD(net.parameters(), lr=.1)
        for _ in range(10):
            F.cross_entropy(net(x), y).backward()
            opt.step()
            opt.zero_grad()
    d = max((a-b).abs().max().item() for a,b in zip(ours.state_dict().values(), theirs.state_dict().values()))
    assert d<=1e-9

def test_conv_net_learns_to_tell_3s_from_7s_in_an_epoch(path):
    from digits_fastai.images import load_folder
    from digits_fastai.optimizer import Adam
    x,y,_ = load_folder(path/'valid')
    x,y = x.float()/255,y
    torch.manual_seed(0)
    mixed = torch.randperm(len(x))
    train,test = mixed[len(x)//4:],mixed[:len(x)//4]
    net = C.conv_net(2)
    opt = Adam(net.parameters(), lr=.01)
    for _ in range(max(1, 1500//len(train))):
        for i in train.split(32):
            F.cross_entropy(net(x[i]), y[i]).backward()
            opt.step()
            opt.zero_grad()
    net.eval()
    with torch.no_grad(): assert (net(x[test]).argmax(1)==y[test]).float().mean()>.9
