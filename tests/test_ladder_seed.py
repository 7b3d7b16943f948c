"A seed means the same climb, in a fresh process and in one that has fastai in it already."
import sys

import pytest

from conftest import run
from digits_fastai.download import standin_path
from digits_fastai.ladder import ladder

climb = '''
import random,sys,torch
if sys.argv[2]=='warm': import fastai.vision.all
from functools import partial
from digits_fastai.download import standin_path
from digits_fastai.ladder import all_rungs,ladder,resnet18_one_cycle
torch.set_num_threads(1)
all_rungs['resnet18'] = partial(resnet18_one_cycle, steps=4),None # an epoch will do
for rungs in (['resnet18'], ['simple_net','resnet18']):
    table = ladder(standin_path(base=sys.argv[1]), rungs=rungs, seed=7)
    print(table.accuracy.iloc[-1], random.random(), torch.rand(1).item())
'''

@pytest.fixture(scope='module')
def climbs(tmp_path_factory):
    base = tmp_path_factory.mktemp('home')
    standin_path(base=base) # made here, so that the cold process really is cold
    return [run(sys.executable, '-c', climb, base, how).stdout.split('\n')[:2] for how in ('cold','warm')]

@pytest.mark.slow
def test_the_same_seed_gives_the_same_resnet18_wherever_it_is_climbed(climbs):
    first,*others = [line for lines in climbs for line in lines]
    assert first and all(o==first for o in others), climbs

@pytest.mark.slow
def test_where_there_are_few_pictures_resnet18_gets_the_epochs_that_it_needs(tmp_path):
    "Four steps an epoch: after one of them it would only guess."
    row = ladder(standin_path(base=tmp_path), rungs=['resnet18']).iloc[0]
    assert row.epochs==20 and row.accuracy>.8
