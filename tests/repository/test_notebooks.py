"What a reader sees on GitHub and in Colab: every notebook has its frame, and no debris in its outputs."
import json,os,re
from pathlib import Path

import nbformat
import pytest

from conftest import chapters,notebooks,python,root,settings

everyone = [root/'index.ipynb', *notebooks]
def named(nb): return nb.relative_to(root).with_suffix('').as_posix()
biggest = 1.5e6 # bytes

debris = {'the path of an installed package': r'site-packages|dist-packages',
          "somebody's folder": r'/home/\w|/Users/\w|/root\b|/tmp\b|/var/folders|' + re.escape(f'{root}{os.sep}'),
          'a progress bar': r'<progress|█|\d%\|',
          'a warning': r'\w*Warning: |\bwarn\(',
          'a traceback': r'Traceback \(most recent'}


def read(nb): return json.loads(nb.read_text(encoding='utf-8'))
def source(c): return ''.join(c['source'])
def cells(nb, kind): return [c for c in read(nb)['cells'] if c['cell_type']==kind]

def texts(output):
    "Everything in an output that is text, pictures left out."
    yield ''.join(output.get('text', ''))
    for kind,data in output.get('data', {}).items():
        if kind not in ('image/png','image/jpeg'): yield data if isinstance(data, str) else ''.join(data)

def stains(cells, home=str(Path.home())):
    "What shouldn't be in saved outputs, in words."
    patterns = {**debris, 'the home directory': re.escape(home)+r'\b'} if len(home)>1 else debris
    for i,c in enumerate(cells):
        for o in c.get('outputs', []):
            if o['output_type']=='error': yield f'code cell {i}: an error, {o.get("ename")}'
            if o.get('name')=='stderr': yield f'code cell {i}: something written to stderr'
            for what,pattern in patterns.items():
                if any(re.search(pattern, t) for t in texts(o)): yield f'code cell {i}: {what}'

def addresses(nb):
    "Every web address in the notebook's source that has our name in it."
    name = settings()['repo']
    found = re.findall(r'https?://[^\s\'"<>)\]`]+', '\n'.join(source(c) for c in read(nb)['cells']))
    return [o.rstrip('.,;') for o in found if name in o]

def ours(url):
    "Does an address agree with settings.ini?"
    s = settings()
    place = s['git_url'].removeprefix('https://github.com/')
    allowed = (s['git_url'], s['doc_host']+s['doc_baseurl'], f'https://colab.research.google.com/github/{place}',
               f'https://raw.githubusercontent.com/{place}')
    return any(url==o or re.match(re.escape(o)+r'(\.git)?([/#?@]|$)', url) for o in allowed)


@pytest.mark.parametrize('nb', everyone, ids=named)
def test_a_notebook_has_its_frame(nb):
    d = read(nb)
    ids = [c['id'] for c in d['cells']]
    assert len(ids)==len(set(ids)), f'ids that occur twice: {sorted({o for o in ids if ids.count(o)>1})}'
    assert d['metadata']['kernelspec']['name']=='python3'
    first = d['cells'][0]
    assert first['cell_type']=='markdown' and re.match(r'# \S.*\n+> \S', source(first)), 'it begins "# Title", "> Line"'
    assert nb.stat().st_size<biggest, f'{nb.stat().st_size/1e6:.1f} MB'

@pytest.mark.parametrize('nb', everyone, ids=named)
def test_jupyter_finds_nothing_wrong_with_the_file(nb):
    nbformat.validate(read(nb), version=4)
    assert read(nb)['nbformat_minor']>=5, 'ids of cells came with 4.5'

def test_a_file_that_is_no_notebook_is_reported():
    d = read(notebooks[0])
    for change in (dict(cell_type='prose'), dict(id='not allowed!'), dict(source=3)):
        with pytest.raises(nbformat.ValidationError):
            nbformat.validate({**d, 'cells': [{**d['cells'][0], **change}]}, version=4)

# What a chapter reads or runs that lies in the repository: Colab has it only where the hidden cell fetches it.
data = {o.name for o in (root/'nbs').rglob('*') if o.suffix in ('.csv','.png')}
repository = (r'\bcourse_folder\(|\.\./(docs|bench|tests|settings\.ini)|[\'"](?:nbs/)?(?:\w+/)?\d\d_\w+\.ipynb[\'"]|run\(\'exercises|'
              + '|'.join(map(re.escape, sorted(data))))

def missing_in_colab(nb):
    "Does a notebook read files of the repository without fetching them?"
    reads = any(re.search(repository, source(c)) for c in cells(nb, 'code'))
    return reads and not any('git clone' in source(c) for c in cells(nb, 'code') if 'google.colab' in source(c))

@pytest.mark.parametrize('nb', notebooks, ids=named)
def test_in_colab_a_chapter_has_the_files_that_it_reads(nb):
    assert not missing_in_colab(nb), 'clone the repository in the hidden cell, as the last chapter does'

def test_a_chapter_without_its_files_is_reported(tmp_path):
    last = next(o.nb for o in chapters if o.module=='all')
    whole = read(last)
    assert not missing_in_colab(last)
    bare = [c for c in whole['cells'] if 'git clone' not in source(c)]
    (tmp_path/'bare.ipynb').write_text(json.dumps({**whole, 'cells': bare}))
    assert missing_in_colab(tmp_path/'bare.ipynb')

@pytest.mark.parametrize('name', ['06_metrics', pytest.param('05_losses', marks=pytest.mark.slow)])
def test_a_chapter_runs_in_a_jupyter_kernel_alone_in_a_folder(name, tmp_path, monkeypatch):
    # nbdev_test has a shell of its own; JupyterLab, VS Code and Colab have ipykernel.
    nbclient = pytest.importorskip('nbclient')
    pytest.importorskip('ipykernel')
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    monkeypatch.delenv('MPLBACKEND', raising=False) # pictures belong into the notebook
    km = AsyncKernelManager()
    km._kernel_spec = KernelSpec(argv=[python, '-m', 'ipykernel_launcher', '-f', '{connection_file}'], language='python')
    nb = nbformat.read(root/f'nbs/{name}.ipynb', 4)
    for c in nb.cells:
        if c.cell_type=='code': c.outputs = []
    nbclient.NotebookClient(nb, km=km, timeout=120, resources={'metadata': {'path': str(tmp_path)}}).execute()
    made = [o for c in nb.cells if c.cell_type=='code' for o in c.outputs]
    assert any('image/png' in o.get('data', {}) for o in made) and not [o for o in made if o.output_type=='error']
    assert not any(tmp_path.iterdir()), 'it left files'

@pytest.mark.parametrize('nb', everyone, ids=named)
def test_colab_installs_from_the_address_in_settings(nb):
    installs = [source(c) for c in cells(nb, 'code') if 'google.colab' in source(c)]
    assert len(installs)==1, f'{nb.name} has {len(installs)} cells for Colab; one hidden cell is wanted'
    assert installs[0].startswith('#| hide'), f'the cell for Colab in {nb.name} is not hidden'
    urls = re.findall(r'git\+([^\s"\']+)', installs[0])
    wanted = [settings()['git_url']]
    assert urls==wanted, f'change the address in {nb.name}: it says {urls}, settings.ini {wanted}'

@pytest.mark.parametrize('nb', everyone, ids=named)
def test_other_addresses_agree_with_settings_as_well(nb):
    wrong = [o for o in addresses(nb) if not ours(o)]
    assert not wrong, f'change these in {nb.name}: {wrong}'

@pytest.mark.parametrize('nb', everyone, ids=named)
def test_saved_outputs_belong_to_no_machine(nb):
    assert not (found := list(stains(cells(nb, 'code')))), '\n'.join([nb.name, *found])

@pytest.mark.parametrize('nb', notebooks, ids=named)
def test_a_chapter_keeps_its_outputs(nb):
    assert any(c['outputs'] for c in cells(nb, 'code')), 'a course is read where nothing runs: save the outputs'

def test_notebooks_are_chapters():
    folders = [root/o for o in ('tests','bench','docs','digits_fastai')]
    strays = [o.relative_to(root).as_posix() for folder in folders for o in folder.rglob('*.ipynb')]
    assert not strays, 'a notebook outside nbs/ would be exported and tested as a chapter'


def stream(text, name='stdout'): return dict(output_type='stream', name=name, text=[text])
def html(text): return dict(output_type='display_data', data={'text/html': [text]}, metadata={})

@pytest.mark.parametrize('output', [
    stream('hm', 'stderr'), dict(output_type='error', ename='ValueError', evalue='', traceback=[]),
    *map(stream, ['/home/ann/x.png', "Path('/root')", '/tmp/pytest', 'lib\\site-packages\\torch', str(root/'nbs'),
                  '45%|████', 'x.py:3: UserWarning: beware', '/Users/bo', '/somewhere/else/file']),
    *map(html, ['<progress value=3>', 'FutureWarning: gone soon'])], ids=str)
def test_a_stain_is_reported(output):
    assert list(stains([dict(outputs=[output])], home='/somewhere/else'))

@pytest.mark.parametrize('output', [
    stream('0.9511'), html('<table>'), stream('Path("mnist_sample/train")'), html('3 of 4'),
    dict(output_type='display_data', data={'image/png': '/tmp/'}, metadata={})], ids=str)
def test_an_honest_output_is_not(output):
    assert not list(stains([dict(outputs=[output])], home='/somewhere/else'))

@pytest.mark.parametrize('change,good', [('', True), ('/blob/main/nbs/00_download.ipynb', True), ('.git', True),
                                         ('-mine', False), ('x/y', False)])
def test_a_wrong_address_is_reported(change, good): assert ours(settings()['git_url']+change)==good
