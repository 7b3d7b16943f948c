"`python -m bench --quick` runs, and its table and JSON say the same. Nothing here is timed: that is what bench/ is for."
import json,re

import pytest

from bench.__main__ import before,cells,main,table
from bench.measure import exponent,met,row,take_turns
from conftest import python,root,run


@pytest.fixture(scope='module')
def said(tmp_path_factory):
    "A quick run of the quick ones, on the stand-in digits."
    home,out = (tmp_path_factory.mktemp(o) for o in ('home','out'))
    res = run(python, '-m', 'bench', 'loader', 'learner', '--quick', '--out', out, cwd=root, FASTAI_HOME=home,
              DIGITS_FASTAI_STRICT=None, DIGITS_FASTAI_CACHE='0', MINIAI=None)
    return res.stdout,out

@pytest.mark.slow
def test_table_and_json_say_the_same(said):
    text,out = said
    assert text.strip()==(out/'RESULTS.md').read_text(encoding='utf-8').strip()
    record = json.loads((out/'results.json').read_text(encoding='utf-8'))
    rows = record['rows']
    lines = [o for o in text.splitlines() if o.startswith('|')]
    assert len(lines)==len(rows)+2 and len({o.count('|') for o in lines})==1
    for line,o in zip(lines[2:], rows): assert line.startswith(f'| **{o["ratio"]:.2f}** | {o["target"]} |')
    assert record['quick'] and record['machine'] in text and 'stand-in' in record['machine']
    assert re.search(r'\d{4}-\d\d-\d\d', text) and 'Left out: miniai' in text

def test_the_chapter_says_what_bench_has_measured():
    rows = json.loads((root/'bench'/'results.json').read_text(encoding='utf-8'))['rows']
    minute = next(o for o in rows if o['what'].startswith('recipe 60s'))
    cells = json.loads((root/'nbs'/'nets/06_seconds.ipynb').read_text(encoding='utf-8'))['cells']
    said, = (o for c in cells if '`python -m bench convnet` trained it' in (o := ''.join(c['source'])))
    a,b,c = (f'{100*o:.2f}' for o in minute['accuracies'])
    assert f'seeds 0 to {minute["seeds"][-1]}' in said and f'{a}, {b} and {c} %' in said
    assert f'in {minute["seconds_ours"]:.0f} seconds each' in said

def test_what_is_not_measured_anew_stays(tmp_path, monkeypatch):
    old = dict(what='w', ours='a', against='b', target='<= 1', ratio=.5, met=True)
    record = dict(date='2020-01-01', machine='an abacus', quick=False, left_out=[],
                  rows=[dict(bench='draw', **old), dict(bench='import', **old)])
    (tmp_path/'results.json').write_text(json.dumps(record), encoding='utf-8')
    kept = before(tmp_path)
    assert [o['bench'] for o in kept]==['draw','import'] and kept[0]['measured']=='2020-01-01, an abacus'
    (tmp_path/'results.json').write_text(json.dumps({**record, 'quick': True}), encoding='utf-8')
    assert before(tmp_path)==[]==before(tmp_path/'nowhere')
    (tmp_path/'results.json').write_text(json.dumps(record), encoding='utf-8')
    class Measured:
        def run(quick): return [dict(old, what='anew')]
    monkeypatch.setattr('bench.__main__.import_module', lambda name: Measured)
    main(['import'], False, True, tmp_path)
    rows = json.loads((tmp_path/'results.json').read_text(encoding='utf-8'))['rows']
    assert [(o['bench'],o['what']) for o in rows]==[('import','anew'),('draw','w')] and rows[1]==kept[0]
    assert 'Measured 2020-01-01, an abacus.' in (tmp_path/'RESULTS.md').read_text(encoding='utf-8')

@pytest.mark.slow
def test_each_row_holds_its_ratio_against_its_target(said):
    rows = json.loads((said[1]/'results.json').read_text(encoding='utf-8'))['rows']
    for o in rows:
        assert {'bench','what','ours','against','target','ratio','met'}<=set(o)
        assert o['met']==met(o['ratio'], o['target']) and o['ratio']>0
        if o.get('spread'): assert o['spread'][0]<=o['ratio']<=o['spread'][1]
    assert {o['bench'] for o in rows}=={'loader','learner'}
    assert {o['against'] for o in rows}=={'fastai','torch','bare','bare, plain','size**e'}

def test_a_name_that_is_no_bench_is_an_error():
    res = run(python, '-m', 'bench', 'speed', cwd=root, ok=False)
    assert res.returncode==2 and 'speed' in res.stderr and 'loading, loader, learner' in res.stderr

def test_a_ratio_is_times_as_fast_or_times_as_long():
    took = {'ours': [(1.,1.),(2.,2.),(1.,1.)], 'other': [(3.,2.),(4.,4.),(5.,5.)]}
    fast,slow = (row('x', took, 'ours', 'other', o) for o in ('>= 2.5','<= 0.4'))
    assert fast['ratio']==3 and fast['met'] and fast['ratio_cpu']==2 and fast['spread']==[2,5]
    assert slow['ratio']==1/3 and slow['met'] and slow['seconds_ours']==1 and slow['seconds_against']==4
    assert not row('x', took, 'ours', 'other', '>= 3.5')['met']

def test_contestants_take_turns():
    heard = []
    took = take_turns({o: lambda o=o: heard.append(o) for o in 'ab'}, turns=2)
    assert heard==list('abbaab') and [len(o) for o in took.values()]==[2,2]

def test_the_exponent_of_a_growth():
    assert abs(exponent([1,10,100], [2,20,200])-1)<1e-9 and abs(exponent([1,10,100], [1,100,10_000])-2)<1e-9

def test_a_row_without_a_second_contestant_has_its_line():
    o = dict(what='w', ours='a', against='b', target='<= 1', ratio=.5, met=None)
    assert len(cells(o))==9 and table([o], ['x']).endswith('Left out: x.')
