"Batches are rows by their position, whatever holds them; steps between the data and a batch; the names people read."
import random

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.load import DataLoader as FastaiDL
from fastcore.foundation import L
from hypothesis import given,settings,strategies as st
from torch.utils.data import DataLoader as TorchDL,IterableDataset

from digits_fastai import dataloaders
from digits_fastai.dataloaders import DataLoader,DataLoaders,Dataset

given_some = settings(max_examples=80, deadline=None, derandomize=True)

def series(a, labels): return pd.Series(a, index=labels)
def frame(a, labels): return pd.DataFrame({'v': a}, index=labels)
containers = {'list': lambda a,_: a, 'tuple': lambda a,_: tuple(a), 'L': lambda a,_: L(a), 'array': lambda a,_: np.array(a),
              'tensor': lambda a,_: torch.tensor(a), 'Series': series, 'DataFrame': frame,
              'categories': lambda a,labels: pd.Series(pd.Categorical(a), index=labels),
              'nullable': lambda a,labels: pd.Series(a, index=labels, dtype='Int64'), 'Index': lambda a,_: pd.Index(a),
              'strides': lambda a,_: np.array(a)[::-1][::-1], 'big-endian': lambda a,_: np.array(a, '>i4')}

def check_rows(examples=given_some):
    @examples
    @given(st.lists(st.integers(-999, 999), min_size=1, max_size=9), st.sampled_from(sorted(containers)), st.data())
    def check(values, kind, data):
        labels = data.draw(st.one_of(st.permutations(range(len(values))),
                                     st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values))))
        held = containers[kind](values, labels)
        x = torch.arange(len(values))
        size = data.draw(st.integers(1, 4))
        xs,ys = zip(*DataLoader(Dataset(x, held), size, shuffle=True))
        order = torch.cat(xs)
        assert torch.cat(ys).flatten().tolist()==[values[i] for i in order]
        alone = torch.cat(list(DataLoader(held, size)))
        assert alone.flatten().tolist()==values
        assert int(np.asarray(Dataset(x, held)[len(values)-1][1]).item())==values[-1]
    check()

def test_batches_are_rows_by_position(): check_rows()

def test_a_loader_that_takes_rows_by_their_label_is_noticed(monkeypatch):
    monkeypatch.setattr(dataloaders, 'by_position', lambda seq: seq)
    with pytest.raises((AssertionError,KeyError,TypeError,ValueError)): check_rows(settings(given_some, max_examples=500, report_multiple_bugs=False))

@pytest.mark.parametrize('labels', [[1,0],[5,5]])
def test_names_in_a_column_keep_their_order(labels):
    assert list(DataLoader(pd.Series(['a','b'], index=labels), 2))==[['a','b']]

def test_a_table_that_is_not_all_numbers_is_refused():
    with pytest.raises(TypeError, match=r"columns \['a', 'b'\].*give one column"):
        Dataset(torch.zeros(2), pd.DataFrame({'a': [1,2], 'b': ['x','y']}))

@pytest.mark.parametrize('make', [lambda d: Dataset(torch.zeros(2), d), DataLoader])
def test_a_dictionary_is_refused(make):
    with pytest.raises(TypeError, match='keys and no order'): make({0: 1, 1: 2})

@pytest.mark.parametrize('size', [np.int64(3), np.uint8(3), torch.tensor(3)])
def test_any_whole_number_is_a_size(size):
    for dl in (DataLoader(range(7), size), DataLoader(range(7), batch_size=size), DataLoader(range(7), num_workers=size*0, bs=3)):
        assert [len(b) for b in dl]==[3,3,1] and type(dl.bs) is int

@pytest.mark.parametrize('size', [0, -1, 2.5, np.float64(4), True, 'many', np.bool_(True)])
def test_any_other_size_is_refused(size):
    with pytest.raises(ValueError, match='a whole number of at least 1'): DataLoader(range(7), size)

def test_what_fastai_has_third_is_never_taken_for_what_pytorch_has():
    with pytest.raises(TypeError, match='positional'): DataLoader(range(7), 4, True)

@pytest.fixture
def dls():
    x = torch.randn(9,2)
    return DataLoaders.from_tensors((x, torch.arange(9)), (x[:4], torch.arange(4)), bs=4, vocab=['a','b'])

def test_what_people_read_of_their_loaders(dls):
    assert (dls.bs, dls.n, dls.c, dls.vocab, len(dls.train_ds), len(dls.valid_ds))==(4,9,2,['a','b'],9,4)
    assert dls.train.n==9 and dls.valid.bs==dls.valid.batch_size==4 and dls.device==torch.device('cpu')
    assert len(dls)==len(dls.loaders)==2 and dls[1] is dls.valid

def test_batches_go_where_they_are_asked_to_go(dls):
    assert dls.to('meta') is dls and dls.device==torch.device('meta')
    for b in (dls.one_batch(), dls.valid.one_batch(), next(iter(dls.train)), next(iter(dls.train.new(shuffle=True)))):
        assert b[0].device.type==b[1].device.type=='meta'
    assert dls.cpu().one_batch()[0].device.type=='cpu'

def test_a_loader_that_cannot_move_its_batches_is_named():
    with pytest.raises(TypeError, match='a DataLoader has no method to'): DataLoaders(TorchDL(range(3)), TorchDL(range(3))).cpu()

def test_a_third_loader_and_one_that_is_replaced(dls):
    three = DataLoaders(dls.train, dls.valid, dls.valid)
    three.train = dls.valid
    assert len(three)==3 and three[0] is dls.valid

def test_bs_is_read_of_anybodys_loader():
    assert DataLoaders(TorchDL(range(9), batch_size=3), TorchDL(range(3))).bs==3


# Steps, as fastai has them.

def plain(o): return o.tolist() if hasattr(o, 'tolist') else o

def same(ours, theirs):
    ours,theirs = list(ours),list(theirs)
    assert [type(o) for o in ours]==[type(o) for o in theirs]
    assert [plain(o) for o in ours]==[plain(o) for o in theirs]

class Counted(IterableDataset):
    def __iter__(self): return iter(range(11))

steps = {'after_item': lambda o: o*2, 'before_batch': lambda o: o[::-1], 'create_batch': lambda o: list(o),
         'after_batch': lambda b: b+1, 'create_item': lambda i: 0 if i is None else i+5}

@pytest.mark.parametrize('name', steps)
@pytest.mark.parametrize('drop_last', [False,True])
def test_a_step_of_ones_own_does_what_it_does_in_fastai(name, drop_last):
    same(*(dl(range(11), bs=4, drop_last=drop_last, **{name: steps[name]}) for dl in (DataLoader,FastaiDL)))

@pytest.mark.parametrize('name', steps)
def test_a_step_of_a_subclass_does_what_it_does_in_fastai(name):
    def of(base): return type('Own', (base,), {name: lambda self,o: steps[name](o)})(range(11), bs=4)
    same(of(DataLoader), of(FastaiDL))

@pytest.mark.parametrize('kwargs', [dict(bs=4), dict(bs=4, drop_last=True), dict(bs=None), dict(bs=4, n=11)])
def test_what_has_no_length_is_walked_through_again_and_again(kwargs):
    dl = DataLoader(Counted(), **kwargs)
    for _ in range(2): same(dl, FastaiDL(Counted(), **kwargs))
    if 'n' in kwargs: assert len(dl)==3
    else:
        with pytest.raises(TypeError, match='say it by n='): len(dl)

@pytest.mark.parametrize('data', [list('abc'), [1,2,3], np.arange(3), torch.arange(3)], ids=lambda o: type(o[0]).__name__)
def test_without_a_size_items_come_one_by_one(data):
    same(DataLoader(data, bs=None), FastaiDL(data))
    assert len(DataLoader(data, bs=None))==3

def test_what_can_be_walked_through_once_says_so_the_second_time():
    dl = DataLoader(zip('ab', range(2)), bs=1)
    assert len(list(dl))==2
    with pytest.raises(RuntimeError, match='a zip has been walked through|this zip has been walked through'): list(dl)

def test_an_order_of_ones_own():
    class One(DataLoader):
        def get_idxs(self): return [random.Random(3).randrange(self.n)]*self.n
    assert len(torch.cat(list(One(range(50), bs=16))).unique())==1 and len(One(range(50), bs=16))==4

def test_items_may_come_from_nowhere_until_they_end():
    class Until(DataLoader):
        left = 5
        def create_item(self, i):
            self.left -= 1
            if self.left<0: raise StopIteration
            return self.left
    assert [b.tolist() for b in Until(bs=2)]==[[4,3],[2,1],[0]]

def test_steps_are_kept_by_new_and_by_workers():
    dl = DataLoader(range(6), bs=4, after_item=lambda o: o*10)
    for o in (dl.new(bs=3), dl.new(num_workers=1, bs=3)): assert [b.tolist() for b in o]==[[0,10,20],[30,40,50]]
    assert dl.one_batch().tolist()==[0,10,20,30]

def test_a_loader_is_told_before_and_after_a_walk():
    seen = []
    dl = DataLoader(range(3), before_iter=lambda: seen.append('before'), after_iter=lambda: seen.append('after'))
    for b in dl: seen.append(len(b))
    assert seen==['before',3,'after']

def test_what_a_loader_does_not_have_its_dataset_may():
    ds = Dataset(torch.zeros(3), torch.arange(3))
    assert DataLoader(ds).y is ds.y
    with pytest.raises(AttributeError, match='nothing'): DataLoader(ds).nothing

@pytest.mark.parametrize('make,error,words', [
    (lambda: DataLoader(7), TypeError, "a int can't be walked through"),
    (lambda: DataLoader(range(3), shufle=True), TypeError, 'no argument shufle'),
    (lambda: DataLoader(Counted(), shuffle=True), ValueError, 'make a list of it first')])
def test_what_cannot_be_meant_is_refused(make, error, words):
    with pytest.raises(error, match=words): make()
