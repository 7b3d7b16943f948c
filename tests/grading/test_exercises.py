"""Every chapter's exercises have one form, can be solved, and can be got wrong; and the folder that learners get works.

For the contents the exercises are tried in forks of one process: see solving.py."""
import ast,json,re,shutil,sys,textwrap

import nbformat,pytest

from conftest import python,root,run
from digits_fastai.download import exercise,solution
from digits_fastai.grading.exercises import (
    _checksum,chapters_with_exercises,check_notebook,exercise_notebook,numbered_notebooks,progress,read_exercises,setup_of,write_exercises)
from solving import faults,wrong_answers

chapters = chapters_with_exercises()


# The form

@pytest.mark.parametrize('nb', chapters.values(), ids=chapters)
def test_a_chapter_has_two_to_four_exercises_in_one_form(nb):
    exercises = read_exercises(nb)
    assert 2<=len(exercises)<=4
    cells = json.loads(nb.read_text(encoding='utf-8'))['cells']
    kinds = dict(task='markdown', exercise='code', check='code', solution='code', setup='code')
    for c in cells:
        tags = c['metadata'].get('tags', [])
        assert all(c['cell_type']==kinds[o] for o in tags if o in kinds)
        folded = 'hide-cell' in tags, c['metadata'].get('cellView')=='form', c['metadata'].get('jupyter')=={'source_hidden': True}
        assert set(folded)=={'solution' in tags}, 'a solution is folded on the site, in Colab and in JupyterLab'
        stub = c['cell_type']=='code' and re.search(r"(?m)^(?:\s+|def .*: )raise NotImplementedError\('exercise", ''.join(c['source']))
        assert bool(stub)==('exercise' in tags), f'tag this stub, or make it none: {"".join(c["source"])[:80]}'
    for o in exercises:
        bodies = [n.body for n in ast.walk(ast.parse(o.stub)) if isinstance(n, ast.FunctionDef)]
        assert sum(isinstance(b[0], ast.Raise) and ast.unparse(b[1:]) in ('','yield') for b in bodies)==1, o.number
        assert f"raise NotImplementedError('exercise {o.number}')" in o.stub
        assert o.check.count(f"with exercise('{o.number}'): ")==1, o.number
    checks = [c for c in cells if 'check' in c['metadata'].get('tags', [])]
    for o,c in zip(exercises, checks):
        said = ''.join(''.join(p.get('text', '')) for p in c['outputs'])
        assert said==f'exercise {o.number}: to do\n', f'{o.number}: the saved output is {said!r}'

def test_numbers_are_different():
    found = [o.number for nb in chapters.values() for o in read_exercises(nb)]
    assert len(set(found))==len(found)

def chapter(file, *cells):
    "A notebook of cells (kind, source, tag)."
    made = [dict(cell_type=k, source=s, metadata={'tags': t.split()}) for k,s,t in cells]
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(dict(cells=made)))
    return file

def four(number, stub='def f():', check='assert f()==3', solution='def f(): return 3'):
    return [('markdown', f'**{number}** Write `f`.', 'task'),
            ('code', f"{stub}\n    raise NotImplementedError('exercise {number}')", 'exercise'),
            ('code', f"from digits_fastai.download import exercise\nwith exercise('{number}'): {check}", 'check'),
            ('code', f"with solution('{number}'):\n{textwrap.indent(solution, '    ')}", 'hide-cell solution')]

top = [('markdown', '# Toys', ''), ('code', '#| default_exp losses', ''), ('code', '#| export\nx = 3', ''),
       ('code', '#| hide\ny = 4', 'setup')]

def test_exercises_are_read_whatever_their_number_looks_like(tmp_path):
    nb = chapter(tmp_path/'09_x.ipynb', *top, *four('10.1'), *four('training 3.2'))
    assert [o.number for o in read_exercises(nb)]==['10.1','training 3.2']
    assert read_exercises(nb)[1].solution=='def f(): return 3'
    assert setup_of(nb)==['from digits_fastai.losses import *', 'y = 4']

def test_a_solution_that_keeps_no_names_is_refused(tmp_path):
    cells = [*four('10.1')[:3], ('code', 'def f(): return 3', 'hide-cell solution')]
    with pytest.raises(ValueError, match=r"solution of 10.1 begins with solution\('10.1'\)"):
        read_exercises(chapter(tmp_path/'09_x.ipynb', *top, *cells))

@pytest.mark.parametrize('left_out,word', [(0,'task'), (1,'exercise'), (2,'check'), (3,'solution'), (7,'solution'), (4,'task')])
def test_a_forgotten_tag_is_named(tmp_path, left_out, word):
    cells = [*four('10.1'), *four('10.2')]
    cells[left_out] = (*cells[left_out][:2], '')
    with pytest.raises(ValueError, match=f'09_x.ipynb: .*tagged {word}'): read_exercises(chapter(tmp_path/'09_x.ipynb', *top, *cells))

def test_a_task_without_a_number_is_refused(tmp_path):
    cells = [('markdown', 'Write `f`.', 'task'), *four('10.1')[1:]]
    with pytest.raises(ValueError, match='number in bold'): read_exercises(chapter(tmp_path/'09_x.ipynb', *top, *cells))


# Run All

def test_run_all_keeps_what_the_reader_wrote_and_says_three_words(tmp_path):
    "In a real kernel: one right, one wrong, one untouched."
    nbclient = pytest.importorskip('nbclient')
    answers = dict(a='def a(): return 3', b='def b(): return 4', c="def c():\n    raise NotImplementedError('exercise 9.c')")
    cells = ['from digits_fastai.download import exercise,solution']
    for name,answer in answers.items():
        cells += [answer, f"def check(f): assert f()==3, f'{{f()}} is not 3'\nwith exercise('9.{name}'): check({name})",
                  f"with solution('9.{name}'):\n    def {name}(): return 3\n    helper = 5\n    check({name})"]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(o) for o in [*cells, "print(a(), b(), 'helper' in globals())"]])
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    km = AsyncKernelManager()
    km._kernel_spec = KernelSpec(argv=[python, '-m', 'ipykernel_launcher', '-f', '{connection_file}'], language='python')
    nbclient.NotebookClient(nb, km=km, timeout=60, resources={'metadata': {'path': str(tmp_path)}}).execute()
    said = ''.join(o['text'] for c in nb.cells for o in c.outputs)
    assert said.splitlines()==['exercise 9.a: right',
        "exercise 9.b: not yet. AssertionError: 4 is not 3, at: def check(f): assert f()==3, f'{f()} is not 3'",
        'exercise 9.c: to do', '3 4 False']

def test_what_a_check_says(capsys):
    for error in (None, NotImplementedError('exercise 9.1'), NotImplementedError('input'), ValueError(), KeyError('x\ny')):
        with exercise('9.1'):
            if error: raise error
    with pytest.raises(KeyboardInterrupt), exercise('9.1'): raise KeyboardInterrupt
    assert capsys.readouterr().out.splitlines()==[f'exercise 9.1: {o}' for o in (
        'right', 'to do', 'not yet. NotImplementedError: input', 'not yet. ValueError', r"not yet. KeyError: 'x\ny'")]

def test_a_solution_gives_names_back_even_when_it_fails():
    world = dict(solution=solution, f=1)
    with pytest.raises(ZeroDivisionError): exec("with solution('9.1'):\n    f = 2\n    g = 3\n    1/0", world)
    assert world['f']==1 and 'g' not in world

@pytest.mark.parametrize('nb', chapters.values(), ids=chapters)
def test_the_story_uses_no_answer(nb):
    "Names of exercises are the reader's: a cell behind them that used one would fail on a wrong answer."
    cells = [c for c in json.loads(nb.read_text(encoding='utf-8'))['cells'] if c['cell_type']=='code']
    theirs = set()
    for c in cells:
        tags,source = set(c['metadata'].get('tags', [])),''.join(c['source'])
        if 'exercise' in tags: theirs |= set(re.findall(r'(?m)^(?:def|class) (\w+)', source))
        elif not tags & {'check','solution'}:
            used = theirs & {n.id for n in ast.walk(ast.parse(re.sub(r'(?m)^(\s*)[!%].*', r'\1pass', source))) if isinstance(n, ast.Name)}
            assert not used, f'{used} in {source[:80]!r}'


# The contents

names = list(chapters)
train_long = ['12_ladder','grading/12_project_digits','nets/08_recipes','training/05_checkpoints'] # in setup or solution
others = [o for o in names if o not in train_long]
@pytest.mark.parametrize('names', [
    pytest.param(others[::6], id='some chapters'), pytest.param(train_long, id='those that train long', marks=pytest.mark.slow),
    pytest.param([o for o in others if o not in others[::6]], id='the other chapters', marks=pytest.mark.slow)])
def test_exercises_can_be_solved_and_be_got_wrong(names, tmp_path, path):
    run(python, root/'tests'/'grading'/'solving.py', tmp_path/'out.json', *(chapters[o] for o in names), cwd=root, timeout=1200)
    found = json.loads((tmp_path/'out.json').read_text())
    assert len(found)==len(names) and not {k: v for k,v in found.items() if v}

def test_what_is_wrong_with_an_exercise_is_seen(tmp_path):
    def found(*cells, top=top): return ' '.join(faults(chapter(tmp_path/'09_x.ipynb', *top, *cells)))
    assert not found(*four('10.1'))
    assert found(*four('10.1', check='assert f() or True')).count('passes')==3
    assert 'the solution fails: exercise 10.1: not yet. AssertionError' in found(*four('10.1', solution='def f(): return 4'))
    assert 'the stub is not to do' in found(*four('10.1', check='3'))
    assert 'the setup is not enough: ZeroDivisionError' in found(*four('10.1'), top=[*top, ('code', '1/0', 'setup')])
    assert 'standard error' in found(*four('10.1', solution='import sys\ndef f(): return len(sys.stderr.write("x")*"123")'))

@pytest.mark.parametrize('stub,first', [
    ("def f(a, b):\n    raise NotImplementedError('exercise 10.1')", 'return a'),
    ("class A(B):\n    def __init__(self, n): self.n = n\n    def after_loss(self):\n"
     "        raise NotImplementedError('exercise 10.1')", None)])
def test_wrong_answers_are_python(stub, first):
    made = dict(wrong_answers(stub))
    for code in made.values(): ast.parse(code)
    assert {'return None','return 0'}<=set(made) and (first is None or first in made)


# The chapters

def test_chapters_are_found_in_rooms(tmp_path):
    for o in ('04_a','training/03_b','training/11_c','nets/03_d','.hidden/05_e','mine/06_f'):
        chapter(tmp_path/f'{o}.ipynb', *top, *four('10.1'))
    chapter(tmp_path/'01_no_exercises.ipynb', *top)
    (tmp_path/'mine'/'.notest').touch()
    def found(*names): return list(chapters_with_exercises(names or None, tmp_path))
    assert list(numbered_notebooks(tmp_path))==['01_no_exercises','04_a','mine/06_f','nets/03_d','training/03_b','training/11_c']
    assert found()==['04_a','nets/03_d','training/03_b','training/11_c']
    for name in ('4','04',4,'04_a','04_a.ipynb'): assert found(name)==['04_a']
    for name in ('training/3','training/03','training/03_b','training/03_b.ipynb'): assert found(name)==['training/03_b']
    assert found('training')==['training/03_b','training/11_c'] and found('4','nets/3')==['04_a','nets/03_d']
    for name in ('3','01','b','nets/11','mine/6'):
        with pytest.raises(ValueError, match=f'is called {name}: there are 04_a'): found(name)

def test_an_installed_library_says_where_exercises_are(tmp_path):
    shutil.copytree(root/'digits_fastai', tmp_path/'site'/'digits_fastai', ignore=shutil.ignore_patterns('__pycache__'))
    code = 'from digits_fastai.grading.exercises import write_exercises\ntry: write_exercises("x")\nexcept FileNotFoundError as e: print(e)'
    said = run(python, '-c', code, cwd=tmp_path, PYTHONPATH=tmp_path/'site').stdout
    assert 'git clone https://github.com/' in said and '--from' in said and not (tmp_path/'x').exists()


# The folder

@pytest.fixture
def mine(tmp_path):
    "A learner's folder with two chapters, one of them in a room, whose setup is quick."
    source = tmp_path/'nbs'
    chapter(source/'04_a.ipynb', *top, *four('4.1'), *four('4.2'))
    chapter(source/'training'/'03_b.ipynb', *top, *four('training 3.1'), *four('training 3.2'))
    write_exercises(tmp_path/'mine', source=source)
    for nb in numbered_notebooks(tmp_path/'mine').values():
        nb.write_text(nb.read_text().replace('from digits_fastai.losses import *', ''))
    return tmp_path/'mine'

def type_into(nb, tag, code):
    d = json.loads(nb.read_text(encoding='utf-8'))
    for c in d['cells']:
        if tag in c['metadata'].get('tags', []): c['source'] = code
    nb.write_text(json.dumps(d), encoding='utf-8')

def test_a_folder_has_what_a_repository_needs(mine):
    names = {o.relative_to(mine).as_posix() for o in mine.rglob('*') if o.is_file()}
    assert names=={'04_a.ipynb','training/03_b.ipynb','requirements.txt','README.md','.notest','training/.notest','.gitignore',
                   '.github/workflows/progress.yaml'}
    import yaml
    steps = yaml.safe_load((mine/'.github/workflows/progress.yaml').read_text())['jobs']['progress']['steps']
    assert steps[-1]['run']=='digits progress .'
    from nbdev.test import _keep_file
    assert not _keep_file(mine/'training'/'03_b.ipynb', ignore_fname='.notest') # nbdev_test leaves it alone
    (mine/'training'/'.notest').unlink()
    assert _keep_file(mine/'training'/'03_b.ipynb', ignore_fname='.notest')

@pytest.mark.parametrize('name', chapters)
def test_notebooks_are_notebooks_without_solutions(name):
    made = exercise_notebook(chapters[name], name)
    nb = nbformat.reads(json.dumps(made), as_version=4)
    nbformat.validate(nb)
    text = '\n'.join(c.source for c in nb.cells)
    assert f'/nbs/{name}.ipynb' in nb.cells[0].source
    for o in read_exercises(chapters[name]): assert o.solution not in text and o.stub.split('\n')[0] in text

def test_nbgrader_reads_them():
    "Its metadata schema 3; it replaces what stands between the marks; the checksum is what its 0.9.6 computes."
    cells = [c for nb in chapters.values() for c in exercise_notebook(nb)['cells'] if 'nbgrader' in c['metadata']]
    ids = [c['metadata']['nbgrader']['grade_id'] for c in cells]
    assert len(set(ids))==len(ids) and all(re.fullmatch('[a-zA-Z0-9_-]+', o) for o in ids)
    for c in cells:
        grader,source = c['metadata']['nbgrader'],''.join(c['source'])
        assert grader['checksum']==_checksum(source, grader) and grader['schema_version']==3
        if grader['grade']: assert grader['locked'] and grader['points']==1 and "', file=sys.stderr): " in source
        else: assert grader['solution'] and ('### BEGIN SOLUTION' in source)==('### END SOLUTION' in source)
    grader = dict(grade=True, grade_id='check-4-2', locked=True, solution=False, points=1)
    assert _checksum('assert f()==3', grader)=='6e11890582d7658c2344adbe1e715d62'
    assert _checksum('def f(): pass', dict(grader, grade=False, locked=False, solution=True))=='4d7a13381c6a837387a97986dbcb035a'

def test_work_is_never_overwritten(mine):
    for o in ('04_a.ipynb','README.md'): (mine/o).write_text('my work')
    done = write_exercises(mine, [4,'training'], mine.parent/'nbs')
    assert set(done.values())=={'kept'} and all((mine/o).read_text()=='my work' for o in ('04_a.ipynb','README.md'))


# What is done

def statuses(nb, **kwargs): return {o.exercise: o.status for o in check_notebook(nb, **kwargs)}

def test_untouched_stubs_need_no_kernel(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'nbclient', None)
    write_exercises(tmp_path/'all')
    seen = progress(tmp_path/'all')
    assert {o.chapter for o in seen}==set(chapters) and {o.status for o in seen}=={'to do'}
    nb = tmp_path/'all'/f'{names[0]}.ipynb'
    type_into(nb, f'exercise {read_exercises(chapters[names[0]])[0].number}', 'x = 3')
    with pytest.raises(ModuleNotFoundError, match=r"nbclient is missing: .* pip install 'digits_fastai\[learn\]'"): check_notebook(nb)

def test_answers_are_done_wrong_or_to_do_in_every_room(mine):
    type_into(mine/'04_a.ipynb', 'exercise 4.1', '%matplotlib inline\n!ls\nfrom math import sqrt\ndef f(): return sqrt(9)')
    type_into(mine/'training'/'03_b.ipynb', 'exercise training 3.2', 'def f(): return 4')
    told = []
    seen = progress(mine, on_result=told.append)
    assert [(o.chapter,o.exercise,o.status) for o in seen]==[
        ('04_a','4.1','done'), ('04_a','4.2','to do'), ('training/03_b','training 3.1','to do'), ('training/03_b','training 3.2','wrong')]
    assert told==seen and not seen and seen.summary=='1 of 4 done, 1 wrong, 2 to do'
    assert seen[-1].said=="AssertionError, at: with exercise('training 3.2', file=sys.stderr): assert f()==3"
    assert json.loads(seen.to_json())['ok'] is False and json.loads(seen.to_json())['done']==1
    assert progress(mine, '4') and len(progress(mine, 'training/3'))==2
    with pytest.raises(ValueError, match='is called 5'): progress(mine, 5)

bad = {'loop': ('def f():\n    while True: pass', 'no end within 2 s'),
       'the end': ('import os\ndef f(): os._exit(0)', 'ended the whole program'), 'exit': ('def f(): exit()', 'SystemExit'),
       'print': ('def f():\n    while True: print("x"*10**6)', 'characters printed|no end within 2 s'),
       'process at once': ('import subprocess\nsubprocess.run(["sleep","3217"])', 'no end within 2 s'),
       'input': ('def f(): return int(input())', 'does not support input requests'),
       'syntax': ('def f() return', 'SyntaxError'), 'nothing': ('', 'NameError'),
       'depth': ('def f(): return f()', 'RecursionError'), 'error': ('raise ValueError("oh")', 'ValueError: oh, at: raise')}

def test_bad_answers_do_no_harm(tmp_path):
    "All in one notebook: each is wrong, and a good answer behind them is still done."
    cells = [o for name in [*bad,'good'] for o in four(name)]
    made = exercise_notebook(chapter(tmp_path/'04_a.ipynb', *top, *cells))
    made['cells'] = [c for c in made['cells'] if 'digits_fastai.losses' not in ''.join(c['source'])]
    nb = tmp_path/'mine.ipynb'
    nb.write_text(json.dumps(made))
    for name,(code,_) in bad.items(): type_into(nb, f'exercise {name}', f'del f\n{code}' if name=='nothing' else code)
    type_into(nb, 'exercise good', 'def f(): return y-1')
    found = {o.exercise: o for o in check_notebook(nb, limit=2)}
    for name,(_,word) in bad.items(): assert found[name].status=='wrong' and re.search(word, found[name].said), found[name]
    assert found['good'].status=='done'
    if shutil.which('pgrep'): assert not run('pgrep', '-f', 'sleep 3217', ok=False).stdout, 'what an answer starts, ends with it'

def test_a_failed_setup_is_no_fault_of_the_answer(mine):
    type_into(mine/'04_a.ipynb', 'setup', 'import no_such_thing')
    type_into(mine/'04_a.ipynb', 'exercise 4.1', 'def f(): return 3')
    one,two = check_notebook(mine/'04_a.ipynb')
    assert one.status=='not run' and 'no_such_thing' in one.said and two.status=='to do'

def test_a_changed_or_missing_check_does_not_count(mine):
    nb = mine/'04_a.ipynb'
    type_into(nb, 'exercise 4.1', 'def f(): return 4')
    type_into(nb, 'check 4.1', 'pass')
    type_into(nb, 'exercise 4.2', 'def f(): return 3')
    assert statuses(nb)=={'4.1': 'changed', '4.2': 'done'}
    d = json.loads(nb.read_text())
    for c in d['cells']: c['metadata'].pop('nbgrader', None)
    nb.write_text(json.dumps(d))
    assert statuses(nb)=={'4.1': 'changed', '4.2': 'changed'}
    d['cells'] = [c for c in d['cells'] if 'check 4.2' not in c['metadata'].get('tags', [])]
    nb.write_text(json.dumps(d))
    assert statuses(nb)=={'4.1': 'changed', '4.2': 'missing'}

@pytest.mark.parametrize('text', ['', '{}', 'no json', '[]'])
def test_a_file_that_is_no_notebook_is_named(mine, text):
    (mine/'04_a.ipynb').write_text(text)
    with pytest.raises(ValueError, match='04_a.ipynb is no notebook'): progress(mine)
