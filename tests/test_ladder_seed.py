"A seed means the same climb, in a fresh process and in one that has fastai in it already."
import random,sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import run
from digits_fastai import ladder as ladder_module
from digits_fastai.download import standin_path
from digits_fastai.ladder import climb as climb_rungs,ladder,resnet18_one_cycle,two_digits

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


def test_every_rung_starts_from_the_seed_whatever_is_climbed_before():
    def draw(data): return (random.random(),np.random.rand(),torch.rand(1).item()),0
    rungs = {'first': (draw,None), 'second': (draw,None)}
    alone = climb_rungs(rungs, None, ['second'], seed=7).accuracy[0]
    both = climb_rungs(rungs, None, seed=7).accuracy
    assert both[0]==both[1]==alone
    other = climb_rungs(rungs, None, ['second'], seed=8).accuracy[0]
    assert all(a!=b for a,b in zip(alone, other))

@pytest.mark.parametrize('steps_an_epoch,epochs', [(4,20), (79,2), (193,1)])
def test_an_epoch_of_few_batches_is_repeated_until_resnet18_has_had_80_steps(steps_an_epoch, epochs, tmp_path, monkeypatch):
    asked = []
    learn = SimpleNamespace(dls=SimpleNamespace(train=range(steps_an_epoch)), no_bar=nullcontext, no_logging=nullcontext,
                            fit_one_cycle=lambda n, lr: asked.append(n), recorder=SimpleNamespace(values=[[0.,0.,.9]]))
    monkeypatch.setattr(ladder_module, 'resnet18_learner', lambda folder, batch_size: learn)
    assert resnet18_one_cycle(two_digits(standin_path(base=tmp_path)))==(.9,epochs) and asked==[epochs]
