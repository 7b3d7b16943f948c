"The front page: a row for every chapter, a line for every room, and about how long a chapter takes to read."
import json,re

import pytest

import rooms
from conftest import chapters,root

row = re.compile(r'^\| \[(\d\d) ([^]]+)\]\(nbs/(\S+)\.ipynb\) \| `(\w+)` \| .+? \| (\d+) \|', re.M)
front = (root/'README.md').read_text(encoding='utf-8')
words_a_minute,lines_a_minute = map(int, re.search(r'at (\d+) words or (\d+) lines of code a minute', front).groups())


def minutes(nb):
    "Reading time, at the pace that the front page states, without what is hidden or folded."
    words = lines = 0
    for c in json.loads(nb.read_text(encoding='utf-8'))['cells']:
        text = ''.join(c['source'])
        if {'hide-cell','solution'} & set(c['metadata'].get('tags', [])) or text.startswith('#| hide'): continue
        if c['cell_type']=='markdown': words += len(text.split())
        elif c['cell_type']=='code': lines += sum(bool(o.strip()) for o in text.splitlines())
    return words/words_a_minute + lines/lines_a_minute

def complaints(page):
    "What the page says wrongly of the chapter, in words."
    said,there = row.findall(page),{o.name: o for o in chapters if not o.room}
    for name in there:
        if (n := [o[2] for o in said].count(name))!=1: yield f'{name} stands in the map {n} times'
    if [o[2] for o in said]!=sorted(o[2] for o in said): yield 'the chapters are out of order'
    for number,title,name,module,time in said:
        if name not in there:
            yield f'there is no chapter {name}'
            continue
        chapter = there[name]
        if (number,title)!=(chapter.cited, chapter.title): yield f'{name} is called {chapter.cited} {chapter.title}'
        if module!=chapter.module: yield f'{name} makes {chapter.module}, not {module}'
        if abs(int(time)-minutes(chapter.nb))>4: # the page rounds to five minutes
            yield f'{name} takes {minutes(chapter.nb):.0f} minutes, not {time}'

def rooms_without_a_line(page):
    return [o.name for o in rooms.rooms if o.name and page.count(f'| [`{o.name}/`](nbs/{o.name}) |')!=1]


def test_the_map_is_right(): assert list(complaints(front))==[]

def test_every_room_has_its_line(): assert rooms_without_a_line(front)==[]

@pytest.mark.parametrize('old,new,complaint', [
    (r'nbs/\d\d_learner', 'nbs/06_teacher', 'no chapter 06_teacher'), (r'\| `losses` \|', '| `loss` |', 'makes losses'),
    (r'(?<=`optimizer` \| )(.+?) \| \d+ \|', r'\1 | 5 |', '04_optimizer takes'),
    (r'\n.*03_dataloaders.*', '', 'stands in the map 0'), (r'\[04 Walking', '[05 Walking', 'is called 04 Walking downhill')])
def test_a_wrong_map_is_noticed(old, new, complaint):
    assert any(complaint in o for o in complaints(re.sub(old, new, front)))

def test_a_room_that_is_forgotten_is_noticed():
    assert rooms_without_a_line(front.replace('[`nets/`](nbs/nets)', '[`nets/`](nbs/net)'))==['nets']
