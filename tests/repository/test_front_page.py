"The map of chapters on the front page: every chapter, its module, and about how long it takes to read."
import json,re

import pytest

from conftest import notebooks,root

row = re.compile(r'^\| \[\S+ [^]]+\]\(nbs/(\S+)\.ipynb\) \| `(\w+)` \| .+? \| (\d+) \|', re.M)


def minutes(nb):
    "Reading time: 230 words or 25 lines of code a minute, without hidden solutions."
    words = lines = 0
    for c in json.loads(nb.read_text(encoding='utf-8'))['cells']:
        text = ''.join(c['source'])
        if 'hide-cell' in c['metadata'].get('tags', []): continue
        if c['cell_type']=='markdown': words += len(text.split())
        elif c['cell_type']=='code': lines += sum(bool(o.strip()) for o in text.splitlines())
    return words/230 + lines/25

def module(nb): return re.search(r'#\| default_exp (\w+)', nb.read_text(encoding='utf-8'))[1]

def complaints(page):
    "What the map says wrongly, in words."
    said,there = row.findall(page),{o.stem: o for o in notebooks if not o.stem.startswith('11_assess_')}
    for nb in there:
        if (n := [o for o,*_ in said].count(nb))!=1: yield f'{nb} stands in the map {n} times'
    for nb,name,time in said:
        if nb not in there: yield f'there is no chapter {nb}'
        elif name!=module(there[nb]): yield f'{nb} makes {module(there[nb])}, not {name}'
        elif abs(int(time)-minutes(there[nb]))>5: yield f'{nb} takes {minutes(there[nb]):.0f} minutes, not {time}'


def test_the_map_is_right():
    assert list(complaints((root/'README.md').read_text(encoding='utf-8')))==[]

@pytest.mark.parametrize('old,new,complaint', [
    ('nbs/08_learner.ipynb', 'nbs/06_teacher.ipynb', 'no chapter 06_teacher'), ('| `losses` |', '| `loss` |', 'makes losses'),
    (r'(?<=`optimizer` \| )(.+?) \| \d+ \|', r'\1 | 5 |', '04_optimizer takes'), (r'\n.*02_baseline.*', '', 'stands in the map 0')])
def test_a_wrong_map_is_noticed(old, new, complaint):
    page = (root/'README.md').read_text(encoding='utf-8')
    pattern = old if '\\' in old else re.escape(old)
    assert any(complaint in o for o in complaints(re.sub(pattern, new, page)))
