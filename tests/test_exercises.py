"""Every chapter's exercises have one form, can be solved, and can be got wrong; and the folder that learners get works.

For the first of these all chapters' exercises are tried once, in processes of their own: see solving.py."""
import ast,json,re,shutil,time

import pytest

from conftest import notebooks,python,root,run
from digits_fastai.exercises import check_notebook,exercise_notebook,fingerprint,progress,write_exercises
from digits_fastai.slices import (
    changed_in,chapters_with_exercises,course_folder,names_in,read_cells,read_exercises,setup_of)
from solving import wrong_answers

with_exercises = [o for o in notebooks if o.stem!='16_all'] # it only collects what the others have


# The form

@pytest.mark.parametrize('nb', with_exercises, ids=lambda o: o.stem)
def test_a_chapter_has_two_to_four_exercises(nb):
    assert 2<=len(read_exercises(nb))<=4

@pytest.mark.parametrize('nb', notebooks, ids=lambda o: o.stem)
def test_no_exercise_is_overlooked(nb):
    cells = read_cells(nb)
    start = next((i for i,c in enumerate(cells) if c['source']=='## Exercises'), len(cells))
    code = '\n'.join(c['source'] for c in cells[start:] if c['kind']=='code')
    stubs = re.findall(r"(?m)^(?:\s+|def .*: )raise NotImplementedError\('exercise.*$", code)
    hidden = [c for c in cells if 'hide-cell' in c['tags']]
    assert len(read_exercises(nb))==len(stubs)==len(hidden)
    tasks = [m[1] for c in cells if c['kind']=='markdown' and (m := re.match(r'\*\*(\d+[a-z]?\.\d+)\*\* ', c['source']))]
    assert [o.number for o in read_exercises(nb)]==tasks

def test_numbers_are_different_and_say_where_the_exercise_is():
    found = [(o.number,nb.stem) for nb in notebooks for o in read_exercises(nb)]
    twice = {n: [c for m,c in found if m==n] for n,_ in found if [m for m,_ in found].count(n)>1}
    assert not twice
    assert not [(n,c) for n,c in found if int(c[:2])!=int(re.match(r'\d+', n)[0])]

@pytest.mark.parametrize('nb', notebooks, ids=lambda o: o.stem)
def test_saved_outputs_say_that_exercises_are_to_do_and_nothing_of_solutions(nb):
    cells = json.loads(nb.read_text(encoding='utf-8'))['cells']
    for o in read_exercises(nb):
        said = ''.join(''.join(p.get('text', '')) for p in cells[o.at+1]['outputs'])
        assert re.fullmatch(rf'exercise {o.number}( \[.*\])?: to do\n', said), f'{o.number}: the check says {said!r}'

def chapter(tmp_path, *cells):
    made = [dict(cell_type=k, source=s, metadata={'tags': t}) for k,s,t in cells]
    (nb := tmp_path/'09_x.ipynb').write_text(json.dumps(dict(cells=made)))
    return nb

good = [('markdown', '## Exercises', []), ('code', '#| default_exp x', []), ('markdown', '**9.1** Write `f`.', []),
        ('code', "def f():\n    raise NotImplementedError('exercise 9.1')", []),
        ('code', "try: assert f()==3\nexcept NotImplementedError as e: print(f'{e}: to do')", []),
        ('code', 'def f(): return 3', ['hide-cell'])]

def test_the_form_that_all_have_is_accepted(tmp_path): assert len(read_exercises(chapter(tmp_path, *good)))==1

@pytest.mark.parametrize('i,cell,word', [
    (2, ('markdown', '**9.2** Write.', []), 'no text'), (2, ('code', '**9.1** ', []), 'no text'),
    (3, ('code', "def f():\n    return 1\n    raise NotImplementedError('exercise 9.1')", []), 'more in the stub'),
    (3, ('code', "if 1:\n    raise NotImplementedError('exercise 9.1')", []), 'more in the stub'),
    (4, ('code', 'assert f()==3', []), 'no check'), (4, ('markdown', '', []), 'no check'),
    (5, ('code', 'def f(): return 3', []), 'no solution'), (5, ('markdown', '', ['hide-cell']), 'no solution')])
def test_another_form_is_refused(tmp_path, i, cell, word):
    with pytest.raises(ValueError, match=f'exercise 9.1: {word}'): read_exercises(chapter(tmp_path, *good[:i], cell, *good[i+1:]))


# The contents

@pytest.fixture(scope='session')
def solved(tmp_path_factory, path):
    "What came of all exercises, by chapter and number."
    out = tmp_path_factory.mktemp('solved')
    nbs = [o for o in notebooks if read_exercises(o)]
    run(python, root/'tests'/'solving.py', out, *nbs, cwd=root/'nbs', timeout=1200)
    return {o.stem: json.loads((out/f'{o.stem}.json').read_text()) for o in nbs}

@pytest.mark.parametrize('name', [o.stem for o in notebooks if read_exercises(o)])
class TestEveryExercise:
    def test_its_setup_is_enough(self, solved, name): assert solved[name]['setup']==''

    def test_the_stub_is_to_do(self, solved, name):
        for n,o in solved[name]['exercises'].items():
            assert re.fullmatch(rf'exercise {n}( \[.*\])?: to do\n', o['to_do']) and not o['failed'], (n,o)

    def test_the_solution_passes(self, solved, name):
        for n,o in solved[name]['exercises'].items(): assert not o['solution'] and not o['still_to_do'], (n,o)

    def test_wrong_answers_fail(self, solved, name):
        for n,o in solved[name]['exercises'].items(): assert not o['wrong'], (n,o)

def test_an_answer_that_is_wrong_is_seen(tmp_path):
    "The twins: a check that lets anything pass, a wrong solution, and a setup that isn't enough."
    from solving import solve
    lazy = [*good[:4], ('code', good[4][1].replace('f()==3', 'f() or True'), []), good[5]]
    nothing = [('code', '#| default_exp losses', []), *good]
    found = solve(chapter(tmp_path, *nothing[:1], *lazy))['exercises']['9.1']
    assert len(found['wrong'])>=3 and not found['solution']
    found = solve(chapter(tmp_path, *nothing[:-1], ('code', 'def f(): return 4', ['hide-cell'])))['exercises']['9.1']
    assert 'AssertionError' in found['solution'] and not found['wrong']
    broken = [nothing[0], ('code', 'y = 1/0', []), *nothing[1:-1], ('code', 'def f(): return y', ['hide-cell'])]
    assert 'ZeroDivisionError' in solve(chapter(tmp_path, *broken))['setup']

@pytest.mark.parametrize('stub,first', [
    ("def f(a, b):\n    raise NotImplementedError('exercise 9.1')", 'return a'),
    ("class A(B):\n    def __init__(self, n): self.n = n\n    def after_loss(self):\n"
     "        raise NotImplementedError('exercise 9.1')", None)])
def test_wrong_answers_are_python(tmp_path, stub, first):
    o = read_exercises(chapter(tmp_path, *good[:3], ('code', stub, []), *good[4:]))[0]
    made = dict(wrong_answers(o))
    for code in made.values(): ast.parse(code)
    assert {'return None','return 0'}<=set(made) and (first is None or first in made)


# What is needed

@pytest.mark.parametrize('line,names', [
    ('a.append(1)', 'a'), ('a[0] = 1', 'a'), ('a.b.c = 1', 'a'), ('del a[0]', 'a'), ('x = a.pop()', 'a'), ('a.b[2].fit(3)', 'a'),
    ('with a.quiet(): b.fit(1)', 'a b'), ('with open(a, "w") as f: f.write("x")', 'a f'), ('for i in range(3): a.step()', 'a'),
    ('test_eq(a.sum(), 1)', ''), ('print(a.sum())', ''), ('a.sum(), b.mean()', ''), ('assert a.ok()', ''), ('import a', ''),
    ('def f(): a.append(1)', ''), ('for k,v in a.items(): b.append(k)', 'b'), ('x = a.pop().values()', 'a'),
    ('with expect_fail(): a.fit()', ''), ('for x in a.parts(): test_eq(x, 1)', '')])
def test_what_a_statement_may_change(line, names): assert changed_in(ast.parse(line).body[0])==set(names.split())

@pytest.mark.parametrize('code,bound,now,later', [
    ('x = y', 'x', 'y', ''), ('def f(x): return x+g(z)', 'f', '', 'g z'), ('class A(B):\n    def m(self): return c', 'A', 'B', 'c'),
    ('import a.b as c, d.e', 'c d', '', ''), ('x = [i*n for i in xs]', 'x', 'xs', 'n')])
def test_names(code, bound, now, later):
    b,n,l = names_in(code)
    assert b==set(bound.split()) and n|l==set(now.split())|set(later.split()) and set(later.split())<=l|n

def needs(tmp_path, *code, use='x'):
    cells = [good[0], ('code', '#| default_exp losses', []), *(('code', o, []) for o in code), *good[2:5],
             ('code', f'def f(): return {use}', ['hide-cell'])]
    return setup_of(chapter(tmp_path, *cells)).split('import *\n\n')[1].split('\n')[:-1]

@pytest.mark.parametrize('code,kept', [
    (['x = 1', 'y = 2'], 'x = 1'), (['x = 1\ny = 2\nx = y'], 'y = 2|x = y'), (['x = 1', 'x = 2'], 'x = 2'),
    (['x = 1', 'x += 2'], 'x = 1||x += 2'), (['x = []', 'x.append(1)', 'x[0]'], 'x = []||x.append(1)'),
    (['def g(): return y\ny = 3\nx = g()'], 'def g(): return y|y = 3|x = g()'),
    (['x = 1', 'if later: x = 2', 'later = 3'], 'x = 1||if later: x = 2'),
    (['for e in (1,2): print(e)\nx = 1'], 'x = 1'), (['e = 1\ntry: x = e\nexcept ValueError as e: pass'], 'try: x = e|except ValueError as e: pass'),
    (['torch.manual_seed(0)\nx = 1'], 'torch.manual_seed(0)|x = 1'), (['#| slow\nx = 1', 'x = 2'], 'x = 2'),
    (['%matplotlib inline', 'x = 1'], 'x = 1')])
def test_what_an_exercise_needs(tmp_path, code, kept): assert needs(tmp_path, *code)=='|'.join([kept]).split('|')

def test_exported_names_are_imported_not_copied(tmp_path):
    text = setup_of(chapter(tmp_path, good[0], ('code', '#| default_exp losses', []), ('code', '#| export\nimport os\ndef _g(): pass', []),
                            *good[2:5], ('code', 'def f(): return _g() or os', ['hide-cell'])))
    assert text.split()==['import', 'os', 'from', 'digits_fastai.losses', 'import', '*', 'from', 'digits_fastai.losses', 'import', '_g']


# The folder

@pytest.fixture
def mine(tmp_path):
    write_exercises(tmp_path/'mine', ['02b','5'])
    return tmp_path/'mine'

def answer(nb, number, code, kind='answer'):
    d = json.loads(nb.read_text(encoding='utf-8'))
    for c in d['cells']:
        if f'{kind}-{number}' in c['metadata'].get('tags', []): c['source'] = code
    nb.write_text(json.dumps(d), encoding='utf-8')

def test_a_folder_has_what_a_repository_needs(mine):
    names = {o.relative_to(mine).as_posix() for o in mine.rglob('*') if o.is_file()}
    assert names=={'02b_drawing.ipynb','05_losses.ipynb','requirements.txt','README.md','.notest','.gitignore',
                   '.github/workflows/progress.yaml'}
    import yaml
    steps = yaml.safe_load((mine/'.github/workflows/progress.yaml').read_text())['jobs']['progress']['steps']
    assert any('digits progress .' in o.get('run', '') for o in steps)

def test_notebooks_are_notebooks_without_solutions(mine):
    import nbformat
    for nb in mine.glob('*.ipynb'):
        nbformat.validate(nbformat.read(nb, as_version=4))
        text = nb.read_text(encoding='utf-8')
        for o in read_exercises(course_folder()/nb.name):
            body = o.solution.split('\n')[-1] if 'def ' not in o.solution else o.solution.split('\n')[0]
            assert json.dumps(body)[1:-1] not in text and json.dumps(o.stub.split('\n')[0])[1:-1] in text

def test_all_exercises_are_written(tmp_path):
    done = write_exercises(tmp_path/'all')
    assert {o.name for o in chapters_with_exercises()}=={o for o in done if o.endswith('.ipynb')} and set(done.values())=={'written'}
    assert not [o for o in progress(tmp_path/'all') if o.status!='to do'] # and no process is needed to know that

def test_work_is_never_overwritten(mine):
    for o in ('02b_drawing.ipynb','README.md'): (mine/o).write_text('my work')
    assert write_exercises(mine, ['02b','05_losses'])['README.md']=='kept'
    assert all((mine/o).read_text()=='my work' for o in ('02b_drawing.ipynb','README.md'))

def test_nbdev_leaves_the_folder_alone(mine):
    from nbdev.test import _keep_file
    assert not _keep_file(mine/'05_losses.ipynb', ignore_fname='.notest')
    (mine/'.notest').unlink()
    assert _keep_file(mine/'05_losses.ipynb', ignore_fname='.notest')

def test_an_installed_library_says_where_exercises_are(tmp_path):
    shutil.copytree(root/'digits_fastai', tmp_path/'site'/'digits_fastai', ignore=shutil.ignore_patterns('__pycache__'))
    code = 'from digits_fastai.exercises import write_exercises\ntry: write_exercises("x")\nexcept FileNotFoundError as e: print(e)'
    said = run(python, '-c', code, cwd=tmp_path, PYTHONPATH=tmp_path/'site').stdout
    assert 'git clone https://github.com/' in said and '--from' in said and not (tmp_path/'x').exists()

@pytest.mark.parametrize('name,stems', [('5', ['05_losses']), (5, ['05_losses']), ('05_losses.ipynb', ['05_losses']),
                                        (['4','2b'], ['02b_drawing','04_optimizer'])])
def test_chapters_are_named_as_people_do(name, stems): assert [o.stem for o in chapters_with_exercises(name)]==stems


# What is done

def statuses(nb, **kwargs): return {o.exercise: (o.status,o.said) for o in check_notebook(nb, **kwargs)}

def test_solutions_are_done_and_wrong_answers_are_wrong(mine):
    one,two = read_exercises(course_folder()/'05_losses.ipynb')
    nb = mine/'05_losses.ipynb'
    answer(nb, one.number, one.solution.split('\n')[0])
    answer(nb, two.number, 'def error_rate(inp, targ): return (inp.argmax(1)==targ).float().mean()')
    seen = progress(mine)
    assert [o.status for o in seen]==['to do','to do','done','wrong'] and not seen
    assert 'at: test_close' in seen[-1].said and seen.summary=='1 of 4 done, 1 wrong, 2 to do'
    assert json.loads(seen.to_json())['ok'] is False and json.loads(seen.to_json())['done']==1
    answer(nb, two.number, '\n'.join(two.solution.split('\n')[:-1]))
    assert progress(mine) and progress(mine).summary=='2 of 4 done, 2 to do'

@pytest.mark.parametrize('code,word', [
    ('def chain(words):\n    while True: pass', 'no end within 2 s'), ('while True: pass', 'no end within 2 s'),
    ('import os\ndef chain(words): os._exit(0)', 'ended the whole program'), ('def chain(words): exit()', 'SystemExit'),
    ('def chain(words):\n    print("x"*10**7)\n    return words', 'Error'), ('def chain(words) return', 'SyntaxError'),
    ('', 'NameError'), ('def chain(words): return chain(words)', 'RecursionError'), ('raise ValueError("oh")', 'oh')])
def test_bad_answers_do_no_harm(mine, code, word):
    answer(mine/'02b_drawing.ipynb', '2b.1', code)
    began = time.monotonic()
    status,said = statuses(mine/'02b_drawing.ipynb', limit=2)['2b.1']
    assert status=='wrong' and word in said and time.monotonic()-began<120

def test_helpers_imports_and_magic_are_allowed(mine):
    nb = mine/'02b_drawing.ipynb'
    d = json.loads(nb.read_text())
    d['cells'].insert(3, dict(cell_type='code', source='%matplotlib inline\n!ls\nfrom functools import reduce', metadata={}))
    nb.write_text(json.dumps(d))
    answer(nb, '2b.1', "def arrow(a, b): return a+'->'+b\ndef chain(words): return reduce(arrow, words)")
    assert statuses(nb)['2b.1']==('done','')

def test_a_failed_setup_is_no_fault_of_the_answer(mine):
    nb = mine/'02b_drawing.ipynb'
    d = json.loads(nb.read_text())
    next(c for c in d['cells'] if c['metadata'].get('tags')==['setup'])['source'] = 'import no_such_thing'
    nb.write_text(json.dumps(d))
    answer(nb, '2b.1', "def chain(words): return '->'.join(words)")
    status,said = statuses(nb)['2b.1']
    assert status=='not run' and 'no_such_thing' in said

def test_a_changed_or_missing_check_does_not_count(mine):
    nb = mine/'05_losses.ipynb'
    answer(nb, '5.1', 'def where(c, a, b): return a')
    answer(nb, '5.1', 'pass', kind='check')
    answer(nb, '5.2', 'x = 1')
    d = json.loads(nb.read_text())
    d['cells'] = [c for c in d['cells'] if 'check-5.2' not in c['metadata'].get('tags', [])]
    nb.write_text(json.dumps(d))
    assert {k: v[0] for k,v in statuses(nb).items()}=={'5.1': 'changed', '5.2': 'missing'}

def test_spaces_at_the_end_of_a_check_are_no_change(): assert fingerprint('a\nb')==fingerprint('a\nb\n ')!=fingerprint('a\n b')

@pytest.mark.parametrize('text', ['', '{}', 'no json', '[]'])
def test_a_file_that_is_no_notebook_is_named(mine, text):
    (mine/'02b_drawing.ipynb').write_text(text)
    with pytest.raises(ValueError, match='02b_drawing.ipynb is no notebook'): progress(mine)
