"The site: what the converter makes of nbdev's and Quarto's marks, what the check of the pages finds, all of it built."
import importlib.util,json,re,shutil

import pytest

from conftest import chapters,python,root,run

nbdev = pytest.importorskip('nbdev', reason='nbdev makes the pages: pip install -e ".[dev]"')
if not nbdev.__version__.startswith('2.'):
    pytest.skip(f'nbdev {nbdev.__version__} is not the one of the extra dev', allow_module_level=True)

import contents,links,lookup,pages,reference,rooms

of = {o.module: o for o in chapters}


# The converter

def test_front_matter_becomes_a_title_and_a_line():
    text = '---\ndescription: "What `x` is: a name"\noutput-file: learner.html\ntitle: The Learner\n---\n'
    assert pages.front_matter(text, '06')=='# 06 The Learner\n\n{.lead}\nWhat `x` is: a name'
    assert pages.front_matter('---\ntitle: digits_fastai\n---')=='# digits_fastai'

@pytest.mark.parametrize('was,becomes', [
    ('::: {.callout-note}\nx\n:::', ':::{note}\nx\n:::'),
    ('::: {.callout-tip collapse="true"}\nx\n:::', ':::{tip}\n:class: dropdown\nx\n:::'),
    ('::: {.callout-warning title="Take care"}\nx\n:::', ':::{admonition} Take care\n:class: warning\nx\n:::'),
    ('::: {.py-2 .border fig-align="center"}\nx\n:::', ':::{div} py-2 border\nx\n:::'),
    ('[a](b.ipynb){target="_blank"}', '[a](b.ipynb)'),
    ('```\n::: {.callout-note}\n```', '```\n::: {.callout-note}\n```'),
    ('a list: {1, 2}', 'a list: {1, 2}')])
def test_quarto_becomes_myst(was, becomes): assert pages.quarto(was)==becomes

def test_anchors_are_those_of_jupyter(): assert pages.slug('How far? `relu`')=='How-far?-`relu`'

def test_code_is_left_alone():
    text = 'a `a` a\n```python\na\n```\na'
    assert pages.outside_code(str.upper, text)=='A `a` A\n```python\na\n```\nA'

def test_links_to_files_lead_to_the_repository():
    def made(text): return pages.local_links(text, 'nbs', root, {'nbs/08_learner.ipynb'}.__contains__, 'https://repo')
    assert made('[x](08_learner.ipynb#Try-it)')=='[x](08_learner.ipynb#Try-it)'
    assert made('[x](../settings.ini)')=='[x](https://repo/settings.ini)'
    for o in ('[x](nothing.txt)', '[x](https://a.b/c)', '`[x](../settings.ini)`', '![x](page.png)'):
        assert made(o)==o

@pytest.fixture
def symbols():
    s = pages.Symbols(['images','losses','learner'])
    for name,module in (('mse','losses'), ('Learner','learner'), ('Learner.fit','learner'), ('show','images'),
                        ('show','learner')):
        s.add(name, module)
    s.add('digits', 'losses', linked=False)
    return s

@pytest.mark.parametrize('was,becomes', [
    ('`mse`', '[`mse`](../api/losses.md#mse)'), ('`Learner.fit()`', '[`Learner.fit()`](../api/learner.md#Learner.fit)'),
    ('`show`', '[`show`](../api/learner.md#show)'), ('# `mse`', '# `mse`'), ('[`mse`](x.md)', '[`mse`](x.md)'),
    ('```\n`mse`\n```', '```\n`mse`\n```'), ('`mse(x)`', '`mse(x)`'), ('`nothing`', '`nothing`'),
    ('`digits`', '`digits`')])
def test_names_lead_to_their_pages(symbols, was, becomes): assert symbols.link(was, 'learner', '../')==becomes

def test_a_chapter_knows_nothing_of_later_ones(symbols):
    text = symbols.link('`Learner` `mse` `show`', 'losses')
    assert text=='`Learner` [`mse`](api/losses.md#mse) [`show`](api/images.md#show)'

def test_what_a_cell_defines():
    source = '@patch\ndef fit(self:Learner): pass\nclass A: x = 1\nasync def f(): pass\na,b = 1,2\n_c = 3\nd.e = 4\n'
    assert pages.defined(source)==['Learner.fit','A','f','a','b']


def notebook(dest, *cells):
    "A notebook of cells: a text is markdown, a tuple is code, its tags and its outputs."
    def one(i, o):
        if isinstance(o, str): return dict(cell_type='markdown', id=f'c{i}', metadata={}, source=o)
        source,tags,outputs = o
        return dict(cell_type='code', id=f'c{i}', metadata=dict(tags=tags), source=source, outputs=outputs,
                    execution_count=None)
    nb = dict(cells=[one(*o) for o in enumerate(cells)], nbformat=4, nbformat_minor=5,
              metadata=dict(kernelspec=dict(name='python3', language='python', display_name='python3')))
    dest.write_text(json.dumps(nb), encoding='utf-8')
    return dest

picture = [dict(output_type='display_data', metadata={}, data={'image/png': 'iVBORw0K', 'text/plain': '<Figure>'})]

@pytest.fixture
def page(tmp_path):
    nb = notebook(tmp_path/'01_one.ipynb', '# One\n\n> A line',
                  ('#| default_exp one', [], []), ('#| hide\nsecret = 1', [], []),
                  ('import torch', [], []), '## A `part`', ('#| export\ndef one(): pass', [], []),
                  ('plot(1)', [], picture), ('#| fig-alt: "A three"\nplot(2)', [], picture),
                  ('#| echo: false\nplot(3)', [], picture), ('answer = 3', ['hide-cell'], []),
                  ('#| code-fold: true\n#| code-summary: "Long"\nlong = """\n#| hide\n"""', [], []))
    return pages.page(nb, lambda text: text, '01')

def test_a_chapter_is_converted(page):
    sources = [c.source for c in page.cells]
    assert sources[0]=='# 01 One\n\n{.lead}\nA line'
    assert not any('secret' in o or o.startswith('#|') or '---' in o for o in sources)
    assert sources[sources.index('def one(): pass')-1]=='<span id="src-one"></span>'

def test_tags_say_how_a_cell_is_shown(page):
    tags = {c.source: c.metadata['tags'] for c in page.cells if c.cell_type=='code'}
    assert tags=={'import torch': ['hide-input'], 'def one(): pass': ['export'], 'plot(1)': [], 'plot(2)': [],
                  'plot(3)': ['remove-input'], 'answer = 3': ['hide-cell'], 'long = """\n#| hide\n"""': ['hide-input']}
    folds = [c.metadata['mystnb'].get('code_prompt_show') for c in page.cells if c.cell_type=='code']
    assert [o for o in folds if o]==['Imports','A solution','Long']

def test_every_picture_has_words(page):
    alts = {c.source: c.metadata['mystnb']['image']['alt'] for c in page.cells if c.source.startswith('plot')}
    derived = 'A part: picture made by this cell'
    assert alts=={'plot(1)': derived, 'plot(2)': 'A three', 'plot(3)': derived}

def test_the_sites_contents_are_the_rooms():
    blocks = contents.toctree(chapters, ['names']).split('\n\n```{toctree}')
    assert len(blocks)==len(rooms.rooms)+1 and 'Look it up' in blocks[-1]
    for room,block in zip(rooms.rooms, blocks):
        listed = re.findall(r'^nbs/\S+', block, flags=re.M)
        assert f':caption: {room.title}\n' in block and listed==[f'nbs/{o}' for o in chapters if o.room==room.name]


# The reference

def test_a_page_tells_what_the_docments_say():
    entry, = [o for o in reference.public('baseline') if o.name=='mean_digits']
    text = reference.described(entry, of['baseline'], {'src-mean_digits'})
    assert '## `mean_digits`' in text and 'mean_digits(x, y, n=None)' in text
    assert re.search(r'\| `x` `Tensor` \| images, float in \\\[0,1\\\], \\\[N,H,W\\\] \|', text)
    assert '../nbs/02_baseline.html#src-mean_digits' in text

def test_methods_and_patched_methods_are_found():
    assert {'Learner','TrainingLoop.fit','Evaluator.validate'} <= {o.name for o in reference.public('learner')}
    assert {'Learner.lr_find','valley'} <= {o.name for o in reference.public('training.lr_find')}

@pytest.mark.parametrize('row,wrong', [
    ('05_losses,losses.mse learner.Learner.none,F.mse_loss,a|b', None), ('77_none,,,', "names the chapter '77_none'"),
    ('05_losses,losses.gone,,', 'losses.gone is no public name')])
def test_the_map_of_the_book_is_drawn_from_its_file(tmp_path, symbols, row, wrong):
    file = tmp_path/'book_map.csv'
    file.write_text(f'section,chapter,ours,fastai,note\nThe loss,{row}\n', encoding='utf-8')
    def made(): return lookup.book_map(file, [of['losses']], symbols)
    if wrong:
        with pytest.raises(ValueError, match=wrong): made()
    else: assert re.search(r'The loss \| \[05 One .*\]\(nbs/05_losses.ipynb\) \| \[`mse`\]\(api/losses.md#mse\)<br>'
                           r'\[`Learner.none`\]\(api/learner.md#Learner\) \| `F.mse_loss` \| a\\\|b \|', made())


# The check of the pages

good = ('<h1 id="top">x</h1><a href="b.html#there">b</a><a href="#top">t</a><a href="https://x.y/z">z</a>'
        '<img src="i.png" alt="a three">')

@pytest.fixture
def site(tmp_path):
    (tmp_path/'a.html').write_text(good, encoding='utf-8')
    (tmp_path/'b.html').write_text('<p id="there"></p><a href="a.html">a</a>', encoding='utf-8')
    (tmp_path/'i.png').touch()
    return tmp_path

def test_good_pages_pass(site): assert not list(links.faults(site))

@pytest.mark.parametrize('bad,why', [
    ('<a href="c.html">c</a>', 'a.html: c.html leads nowhere'),
    ('<a href="b.html#gone">', 'a.html: b.html#gone has no such anchor'),
    ('<a href="#gone">', 'a.html: #gone has no such anchor'),
    ('<a href="../b.html">', 'a.html: ../b.html leads nowhere'),
    ('<img src="j.png" alt="x">', 'a.html: j.png leads nowhere'),
    ('<img src="i.png">', 'a.html: a picture without words: i.png'),
    ('<img src="i.png" alt=" ">', 'a.html: a picture without words: i.png'),
    ('<script src="https://cdn.x/y.js"></script>', 'a.html: https://cdn.x/y.js is loaded from elsewhere'),
    ('<link rel="stylesheet" href="//cdn.x/y.css">', 'a.html: //cdn.x/y.css is loaded from elsewhere'),
    ('<img src="http://x.y/i.png" alt="x">', 'a.html: http://x.y/i.png is loaded from elsewhere')])
def test_a_planted_fault_is_found(site, bad, why):
    (site/'a.html').write_text(good+bad, encoding='utf-8')
    assert list(links.faults(site))==[why]

def test_a_font_from_elsewhere_is_found(site):
    (site/'s.css').write_text('@font-face { src: url("https://fonts.x/f.woff2") }', encoding='utf-8')
    assert list(links.faults(site))==['s.css: https://fonts.x/f.woff2 is loaded from elsewhere']

def test_no_pages_are_no_site(tmp_path): assert len(list(links.faults(tmp_path)))==1


# All of it

have_sphinx = all(importlib.util.find_spec(o) for o in ('sphinx','myst_nb','sphinx_book_theme','latex2mathml'))

@pytest.fixture(scope='module')
def built(tmp_path_factory):
    if not have_sphinx: pytest.skip('the site is built where Sphinx is installed: pip install -e ".[dev]"')
    tmp = tmp_path_factory.mktemp('site')
    alone = ['unshare','-rn'] if shutil.which('unshare') else []
    if alone and run(*alone, 'true', ok=False).returncode: alone = [] # the network can't be cut off here
    run(*alone, python, root/'docs'/'build', '--out', tmp/'site', '--sources', tmp/'src', timeout=900)
    return tmp/'site'

@pytest.mark.slow
def test_the_site_is_built_without_a_network_a_warning_or_a_fault(built):
    for o in ('index','names','api/index','CHANGELOG','CONTRIBUTING','search', *(f'nbs/{o}' for o in chapters)):
        assert (built/f'{o}.html').is_file(), o
    assert {o.name for o in built.parent.iterdir()}=={'site','src'}, 'the build leaves something beside its pages'

@pytest.mark.slow
def test_a_chapter_is_downloaded_as_it_is(built):
    for o in chapters: assert (built/'_sources'/'nbs'/f'{o}.ipynb').read_bytes()==o.nb.read_bytes()

@pytest.mark.slow
def test_solutions_are_folded_and_nothing_of_nbdev_is_left(built):
    text = (built/'nbs'/'08_learner.html').read_text(encoding='utf-8')
    assert 'A solution' in text and 'tag_hide-cell' in text and 'api/dataloaders.html#dataloaders' in text
    assert 'colab.research.google.com' in text and '08_learner.ipynb' in text
    for o in chapters:
        text = (built/'nbs'/f'{o}.html').read_text(encoding='utf-8')
        shown = re.sub(r'<pre>.*?</pre>|<code.*?</code>', '', text, flags=re.S)
        assert not re.search(r'default_exp|google\.colab\b|:::|\{\.callout|^#\|', shown, flags=re.M), o

@pytest.mark.slow
def test_formulas_need_no_script(built):
    text = (built/'nbs'/'02_baseline.html').read_text(encoding='utf-8')
    assert '<math' in text and not re.search('<script[^>]*mathjax', text, flags=re.I)
