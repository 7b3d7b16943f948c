"Labels that a loss or a metric can't mean are refused; what fastai takes is taken."
from functools import partial

import fastai.metrics as theirs
import pytest
import torch
import torch.nn.functional as F

from digits_fastai.losses import accuracy,activation_of,batch_accuracy,mnist_loss

preds = torch.tensor([[.9],[-.4],[.2]])

@pytest.mark.parametrize('f', [mnist_loss,batch_accuracy])
@pytest.mark.parametrize('labels', [[3,7,3], [1,0,float('nan')], [.9,.1,.9], [0,1,2], [-1,1,1]])
def test_other_labels_than_0_and_1_are_refused(f, labels):
    with pytest.raises(ValueError, match=r'was given targets from .* to .*1 for what is looked for'): f(preds, torch.tensor(labels)[:,None])

@pytest.mark.parametrize('f', [mnist_loss,batch_accuracy])
@pytest.mark.parametrize('kind', [torch.float32,torch.float64,torch.int64,torch.uint8,torch.bool])
def test_0_and_1_are_taken_in_any_kind_of_number(f, kind):
    assert f(preds, torch.tensor([[1],[0],[1]]).to(kind))==f(preds, torch.tensor([[1.],[0.],[1.]]))

@pytest.mark.parametrize('shape', [(20,),(20,1)])
def test_accuracy_takes_labels_as_fastais_does(shape):
    out,labels = torch.randn(20,5),torch.randint(0, 5, (20,))
    assert accuracy(out, labels.view(shape))==theirs.accuracy(out, labels.view(shape))

@pytest.mark.parametrize('shape', [(19,),(20,2),(1,20)])
def test_accuracy_refuses_labels_of_other_shapes(shape):
    with pytest.raises(ValueError, match='shape'): accuracy(torch.randn(20,5), torch.zeros(shape, dtype=torch.int64))

def test_a_loss_is_known_inside_a_partial():
    weighted = partial(partial(F.cross_entropy, weight=torch.ones(3)), label_smoothing=.1)
    x = torch.randn(4,3)
    assert torch.equal(activation_of(weighted)(x), x.softmax(1))
    assert activation_of(partial(F.binary_cross_entropy_with_logits, pos_weight=torch.ones(1))) is torch.sigmoid
    assert activation_of(partial(mnist_loss, reduction='sum')) is torch.sigmoid
    assert activation_of(partial(F.mse_loss)) is None
