"Every chapter, exercise, section and link that a text refers to is there."
import csv,json,re

from importlib import import_module
from inspect import signature

import pytest

import rooms
from conftest import chapters,root
from digits_fastai.all import Learner

names = [o.name for o in rooms.rooms if o.name]
cited = {o.cited: o for o in chapters}
texts = {o.name: o.nb for o in chapters} | {o.stem: o for o in (root/'index.ipynb', root/'CONTRIBUTING.md', root/'CHANGELOG.md')}
scripts = [o for folder in ('bench','docs','tests') for o in (root/folder).rglob('*.py') if o.name!='test_references.py']


def cells(file, kind):
    "The texts of a notebook's cells of a kind, 'markdown' or 'code'; of any other file, its text."
    text = file.read_text(encoding='utf-8')
    if file.suffix!='.ipynb': return [text] if kind=='markdown' else []
    return [''.join(c['source']) for c in json.loads(text)['cells'] if c['cell_type']==kind]

def slug(heading): return re.sub(r'<[^>]+>', '', heading).strip().replace(' ', '-')

def headings(file):
    "What can follow the # of a link to it."
    return {slug(o) for text in cells(file, 'markdown') for o in re.findall(r'^#+ (.*)', text, flags=re.M)}

def exercises(file):
    "The numbers of its exercises, as their tasks give them: '4.1', 'training 3.2'."
    return {o for text in cells(file, 'markdown') for o in re.findall(r'^\*\*((?:\w+ )?\d+\.\d+)\*\*', text, flags=re.M)}

there = {number for o in chapters for number in exercises(o.nb)}
sections = {o.name: headings(o.nb) for o in chapters}

def plain(heading): return heading.replace('`', '').replace('-', ' ')

def lost(text, folder, prose=True):
    "What a text refers to that isn't there, in words; in code there are no links."
    bare = re.sub(r'```.*?```', '', text, flags=re.S)
    for listed in re.findall(r'(?<!book\'s )(?<!its )[Cc]hapters?:? (\d\d[a-z]?(?:(?:, and|, | and | to | or )\d\d[a-z]?\b)*)(?!\.?\d)', bare):
        yield from (f'chapter {o}' for o in re.findall(r'\d\d[a-z]?', listed) if o not in cited)
    for room,number in re.findall(rf'(?<![\w/`])({"|".join(names)}) (\d\d[a-z]?)\b(?!\.\d)', bare, flags=re.I):
        if f'{room.lower()} {number}' not in cited: yield f'{room} {number}'
    for number in re.findall(rf'[Ee]xercises? ((?:(?:{"|".join(names)}) )?\d+[a-z]?\.\d+)', bare):
        if number not in there: yield f'exercise {number}'
    for name,section in re.findall(r'\'((?:\w+/)?\d\d_\w+): ((?:[^\'"{}\\]|\\\')+)\'', bare):
        section = section.replace("\\'", "'")
        if name not in sections: yield f'chapter {name}'
        elif not any(plain(o).startswith(plain(section)) for o in sections[name]): yield f'{name}: {section}'
    yield from re.findall(r'\]\([^)\s]+\)[a-z]\b', bare) if prose else ()
    for target in re.findall(r'\]\(([^)\s:]+)\)', re.sub(r'`[^`\n]*`', '', bare)) if prose else ():
        path,_,anchor = target.partition('#')
        file = (folder/path).resolve() if path else None
        if file and not file.exists(): yield f'a link to {path}'
        elif anchor and file and file.suffix=='.ipynb' and anchor not in headings(file): yield f'a link to {target}'


@pytest.mark.parametrize('name', texts)
def test_what_a_text_refers_to_is_there(name):
    file = texts[name]
    assert [o for text in cells(file, 'markdown') for o in lost(text, file.parent)]==[]
    assert [o for text in cells(file, 'code') for o in lost(text, file.parent, prose=False)]==[]

def misquoted(text, file):
    "Titles and sections that a text gives in quotes, of its own file or of a chapter that it links to, and that aren't there."
    for name in re.findall(r'(?<!book\'s )\bsection "([^"]+)"', text):
        if not any(plain(o).startswith(plain(slug(name))) for o in headings(file)): yield name
    for path,quotes in re.findall(r'\]\(([^)\s#]+\.ipynb)\)\)?((?:, (?:up to )?"[^"]+"| up to "[^"]+")+)', text):
        there = {plain(o) for o in headings((file.parent/path).resolve())}
        yield from (o for o in re.findall('"([^"]+?),?"', quotes) if plain(slug(o)) not in there)

@pytest.mark.parametrize('name', texts)
def test_what_a_text_quotes_is_there(name):
    file = texts[name]
    assert [o for text in cells(file, 'markdown') for o in misquoted(text, file)]==[]

def test_a_wrong_quotation_is_reported():
    file = root/'nbs'/'04_optimizer.ipynb'
    text = 'the section "Break it", the section "Mend it", the book\'s section "Pixels", ([05](05_losses.ipynb), "Nowhere", "Break it")'
    assert list(misquoted(text, file))==['Mend it','Nowhere']

@pytest.mark.parametrize('script', scripts, ids=lambda o: o.relative_to(root).as_posix())
def test_what_a_script_refers_to_is_there(script):
    assert list(lost(script.read_text(encoding='utf-8'), script.parent, prose=False))==[]

def exported_elsewhere(text):
    "Of what a text says is from a chapter, as in `SGD` (04), what that chapter doesn't export."
    for name,place in re.findall(rf'`(\w+)` \(\[?(?:chapter )?((?:(?:{"|".join(names)}) )?\d\d)(?:\]\([^)]*\))?\)', text):
        if place not in cited:
            yield f'{name} ({place})'
            continue
        module = import_module(f'digits_fastai.{cited[place].module}')
        is_theirs = hasattr(module, name) or hasattr(Learner, name) or name in signature(Learner).parameters
        if not is_theirs: yield f'{name} ({place})'

@pytest.mark.parametrize('chapter', chapters, ids=str)
def test_what_a_text_says_is_from_a_chapter_is_made_there(chapter):
    assert [o for text in cells(chapter.nb, 'markdown') for o in exported_elsewhere(text)]==[]

def test_a_name_from_another_chapter_is_reported():
    assert list(exported_elsewhere('`SGD` (04), `SGD` (05), `fit_one_cycle` (training 02), `x` (nets 99)'))==['SGD (05)','x (nets 99)']

def test_exercises_are_numbered_as_their_chapters_are():
    for o in chapters:
        found = exercises(o.nb)
        wanted = f'{o.room} {o.number}'.strip()
        assert found=={f'{wanted}.{i+1}' for i in range(len(found))}, f'{o}: {sorted(found)}'
        stubs = {m for text in cells(o.nb, 'code') for m in re.findall(r"NotImplementedError\('exercise ([^']+)'\)", text)}
        assert stubs<=found or o.module.startswith('grading.'), f'{o}: {sorted(stubs-found)}'

def test_plumbing_has_no_exercises():
    assert {o.room for o in chapters if exercises(o.nb)}<={'','training','nets','grading'}
    assert {o.module for o in chapters if o.room=='grading' and exercises(o.nb)}<={'grading.project_learner','grading.project_digits'}

def test_the_notes_of_the_books_map_name_chapters_that_are_there():
    with (root/'docs/book_map.csv').open(encoding='utf-8', newline='') as f: notes = [o['note'] for o in csv.DictReader(f)]
    assert [o for note in notes for o in lost(note, root)]==[]

@pytest.mark.parametrize('text,found', [
    ('see chapter 07b', ['chapter 07b']), ('in chapter 10c.', ['chapter 10c']), ('which chapters: 04, 07b', ['chapter 07b']),
    ('[05](05_losses.ipynb)b', ['](05_losses.ipynb)b']), ('chapter 4.1', []), ('Chapters 04 and 77 do', ['chapter 77']), ('as training 02 says', []),
    ('Training 88', ['Training 88']), ('exercise 99.1', ['exercise 99.1']), ("the book's chapter 5", []),
    ("'04_optimizer: Break it'", []), ("'04_optimizer: No such thing'", ['04_optimizer: No such thing']),
    ("'41_optimizer: Break it'", ['chapter 41_optimizer']), ('[x](nowhere.ipynb)', ['a link to nowhere.ipynb']),
    ('[x](04_optimizer.ipynb#Break-it)', []), ('[x](04_optimizer.ipynb#Mend-it)', ['a link to 04_optimizer.ipynb#Mend-it']),
    ('[x](https://a.b/c)', [])])
def test_a_reference_into_nowhere_is_reported(text, found): assert list(lost(text, root/'nbs'))==found
