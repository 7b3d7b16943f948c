"""README.md from the saved outputs of index.ipynb: `python docs/readme.py [--out DIR]`.

Cells marked `#| hide` are left out, of cells marked `#| echo: false` only the outputs are shown,
and other `#|` lines are not shown. Pictures go into README_files/. Nothing is run."""
import argparse
import re
import shutil
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

root = Path(__file__).resolve().parent.parent


def directives(cell):
    "What stands in a cell's `#|` lines, as `hide`, `echo: false` and so on."
    return {o.strip() for o in re.findall(r'^#\|(.*)$', cell.source, flags=re.M)} if cell.cell_type=='code' else set()


def shown(nb):
    "The cells that a reader should see, without their directives."
    cells = []
    for cell in nb.cells:
        marks = directives(cell)
        if 'hide' in marks or cell.cell_type=='raw': continue
        if cell.cell_type=='code':
            cell.source = '' if 'echo: false' in marks else re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M)
            for o in cell.outputs: # a figure is a picture, not also the words that describe it
                if 'image/png' in o.get('data', {}): o.data.pop('text/plain', None)
        cells.append(cell)
    nb.cells = cells
    return nb


def readme(out):
    "Write README.md and README_files/ into `out`."
    nb = shown(nbformat.read(root/'index.ipynb', as_version=4))
    resources = {'unique_key': 'README', 'output_files_dir': 'README_files'}
    nb.metadata.language_info = {'name': 'python'} # nbdev_clean leaves it out; it colours the code
    text,resources = MarkdownExporter().from_notebook_node(nb, resources)
    text = re.sub(r'```python\s*```\n', '', text)
    text = re.sub(r'^ +\n', '\n', text, flags=re.M)
    text = re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'
    if text.count('![')!=1: raise ValueError('one picture is expected, the ladder: give a second one a text of its own')
    text = text.replace('![png](', '![the ladder: mistakes in a thousand digits, rung by rung](')
    shutil.rmtree(out/'README_files', ignore_errors=True)
    for name,data in resources['outputs'].items():
        (out/name).parent.mkdir(parents=True, exist_ok=True)
        (out/name).write_bytes(data)
    (out/'README.md').write_text(text, encoding='utf-8')


if __name__=='__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=root, help='folder to write to; the repository if not given')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    readme(args.out)
