"The book's 37 questions: each is answered once, the index leads to all of them, and the glossary's chapters exist."
import json,posixpath,re

import pytest

from conftest import chapters,notebooks,root
from digits_fastai.grading.questionnaire import deck,define,glossary,read_questions
from digits_fastai.grading.exercises import read_cells

index = root/'nbs'/'grading/10_questionnaire.ipynb'
texts = {o.name: '\n'.join(c['source'] for c in read_cells(o.nb) if c['kind']=='markdown') for o in chapters}

files = {f'{o}.ipynb' for o in texts}

def numbers(texts): return sorted(int(n) for t in texts.values() for n in re.findall(r'\*\* \(book, question (\d+)\) ', t))

def anchors(text): return {h.replace(' ', '-') for h in re.findall(r'(?m)^#+ (.*)$', text)}

def lost_links(text, texts, files, room=''):
    "Links of a room's markdown text to notebooks and sections that aren't there."
    for target,_,heading in re.findall(r'\]\(([\w./]+\.ipynb)(#([^)]*))?\)', text):
        name = posixpath.normpath(posixpath.join(room, target))
        stem = name.removesuffix('.ipynb')
        if name not in files or heading and heading not in anchors(texts[stem]): yield f'{target}#{heading}'


def test_every_question_is_answered_exactly_once(): assert numbers(texts)==list(range(1, 38))

def test_questions_stand_under_their_heading():
    for nb in notebooks:
        for c in (cells := read_cells(nb)):
            if '** (book, question ' not in c['source'] or c['kind']!='markdown': continue
            before = [o['source'] for o in cells[:cells.index(c)+1] if o['kind']=='markdown' and o['source'].startswith('## ')]
            assert before[-1].startswith('## Questions you can answer now'), (nb.stem, c['source'][:80])

def test_answers_are_answers():
    for o in read_questions():
        assert len(o.answer)>30 and o.question.endswith('?') and '(book' not in o.answer, o.number

def test_most_answers_have_a_line_that_can_fail():
    lines = [o.line for o in read_questions() if o.line]
    assert len(lines)>=25 and all(re.search(r'^(test_eq|test_close|assert)\b', o, re.M) for o in lines)

def test_the_index_names_every_question_and_leads_to_its_chapter():
    text = texts['grading/10_questionnaire']
    rows = {int(n): (q,rest) for n,q,rest in re.findall(r'(?m)^\| (\d+) \| (.*?) \| (.*) \|$', text)}
    for o in read_questions():
        assert rows[o.number][0]==o.question
        assert re.findall(r'\(\.\./([\w/]+)\.ipynb#', rows[o.number][1])==[o.chapter]*2, o.number
    assert len(rows)==37

def test_the_index_leads_somewhere(): assert not list(lost_links(texts['grading/10_questionnaire'], texts, files, 'grading'))

def test_the_glossary_leads_somewhere():
    saved = json.loads(index.read_text(encoding='utf-8'))['cells']
    shown = [''.join(o['data']['text/markdown']) for c in saved for o in c.get('outputs', []) if 'text/markdown' in o.get('data', {})]
    assert len(shown)==1 and shown[0].count('\n')==len(glossary)+1
    assert not list(lost_links(shown[0], texts, files, 'grading'))
    assert {c for _,c in glossary.values()}<=set(texts) and list(glossary)==sorted(glossary, key=str.lower)

def test_a_word_is_explained_in_the_chapter_that_it_names():
    said = {o.name: o.text.lower() for o in chapters}
    missing = [k for k,(_,c) in glossary.items() if not any(o.lower().split()[0][:8] in said[c] for o in k.split(', '))]
    assert not missing


# Each of these must be able to fail.

def test_a_lost_or_doubled_question_is_seen():
    some = {'a': '**Q?** (book, question 1) A.\n\n**R?** (book, question 2) B.', 'b': '**Q?** (book, question 1) A.'}
    assert numbers(some)==[1,1,2] and numbers({'a': 'see (book, question 3)'})==[]

@pytest.mark.parametrize('text,lost', [('[x](a.ipynb#One-two)', []), ('[x](a.ipynb)', []), ('[x](b.ipynb)', ['b.ipynb#']),
                                       ('[x](a.ipynb#one-two)', ['a.ipynb#one-two']), ('[x](a.ipynb#Three)', ['a.ipynb#Three'])])
def test_a_lost_link_is_seen(text, lost): assert list(lost_links(text, {'a': '# T\n\n## One two\n'}, {'a.ipynb'}))==lost

def write(folder, name, *cells):
    made = [dict(cell_type=k, source=s, metadata={}) for k,s in cells]
    (folder/name).write_text(json.dumps(dict(cells=made)))

def test_questions_are_read_with_the_line_that_follows(tmp_path):
    write(tmp_path, '02_b.ipynb', ('markdown', '**B?** (book, question 2) Two.\n\n**A?** (book, question 1) One,\ntwo.'), ('code', 'assert 1'))
    write(tmp_path, '03_c.ipynb', ('markdown', '**C?** (book, question 3) Three.'), ('code', '#| hide\ntmp.cleanup()'),
          ('markdown', '**D?** Not of the book.'))
    found = [(o.number,o.question,o.answer,o.line,o.chapter) for o in read_questions(tmp_path)]
    assert found==[(1,'A?','One,\ntwo.','assert 1','02_b'), (2,'B?','Two.','','02_b'), (3,'C?','Three.','','03_c')]

def test_a_deck_is_drawn_by_chance_but_not_twice():
    one,two = deck(10, seed=1),deck(10, seed=2)
    assert one==deck(10, seed=1)!=two and len({o.number for o in one})==10 and len(deck(50))==37
    assert {o.chapter for o in deck(50, chapter='04')}=={'04_optimizer'}
    with pytest.raises(ValueError, match='99'): deck(chapter='99')

@pytest.mark.parametrize('word,starts', [('relu', 'ReLU: '), ('Gradients', 'gradient: '), ('mini-batch', 'batch, mini-batch: '), ('SGD', 'SGD: ')])
def test_words_are_found(word, starts): assert define(word).startswith(starts)

def test_an_unknown_word_is_refused_with_one_that_looks_like_it():
    with pytest.raises(KeyError, match='did you mean tensor'): define('tenser')
    with pytest.raises(KeyError, match='not in the glossary'): define('qqqq')
