"What the site consists of: every notebook of nbs/ in its group, and the pages beside them, as Sphinx reads them."
import json,re
from configparser import ConfigParser
from pathlib import Path

from execnb.nbio import nb2dict

import lookup,reference
from pages import Symbols,local_links,page

root = Path(__file__).resolve().parent.parent

groups = { # title: the numbers of its chapters
    'Data': '00|01', 'A baseline': '02', 'Loaders, steps and losses': '03|04|05', 'The Learner': '06', 'Toolkit': '07',
    'Nets': '08|09', 'Ten digits and experiments': '10|12', 'Grade your own': '11', 'Use it': '13|14[b-z]|15|16',
    'Scale': '14'}

beside = ['book_map','names','api/index','CHANGELOG','CONTRIBUTING'] # the pages that are no chapters


def group_of(nb):
    "The title under which a notebook is listed: of those that match, the one that says most."
    fits = [(m.end(), title) for title,number in groups.items() if (m := re.match(f'(?:{number})', nb.stem))]
    if not fits: raise ValueError(f'{nb.name} belongs to no group: say in docs/contents.py where it is to be listed')
    return max(fits)[1]

def toctree(notebooks, others):
    "The contents as MyST's toctrees, which stand unseen on the front page."
    blocks = []
    for title in groups:
        listed = [f'nbs/{nb.stem}' for nb in notebooks if group_of(nb)==title]
        if listed: blocks.append((title, listed))
    return '\n\n'.join('\n'.join(['```{toctree}', ':hidden:', f':caption: {title}', '', *listed, '```'])
                       for title,listed in [*blocks, ('Look it up', others)])

def settings():
    ini = ConfigParser(delimiters=['='])
    ini.read(root/'settings.ini', encoding='utf-8')
    return ini['DEFAULT']

def module_of(nb): return re.search(r'#\|\s*default_exp (\w+)', nb.read_text(encoding='utf-8'))[1]

def write(path, text):
    "Only what has changed, so that Sphinx reads again only what has."
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding='utf-8')!=text: path.write_text(text, encoding='utf-8')
    return path

def write_sources(dest):
    "All pages of the site into `dest`, as Sphinx reads them. Gives the notebooks that they are made of."
    cfg = settings()
    files_at = f'{cfg["git_url"]}/blob/{cfg["branch"]}'
    notebooks = sorted((root/'nbs').glob('[0-9]*.ipynb'))
    modules = {nb: module_of(nb) for nb in notebooks}
    symbols = Symbols(list(modules.values()))
    entries = {nb: reference.public(modules[nb]) for nb in notebooks}
    for nb in notebooks:
        for o in entries[nb]: symbols.add(o.name, modules[nb], linked=o.is_code)

    tops = [root/'index.ipynb', root/'CHANGELOG.md', root/'CONTRIBUTING.md']
    pages = {o.relative_to(root).as_posix() for o in [*notebooks, *tops]}
    def prose(folder, module=None):
        up = '../'*(folder!='.')
        return lambda text: symbols.link(local_links(text, folder, root, pages.__contains__, files_at), module, up)

    written,found = set(),{}
    def put(name, text): written.add(write(dest/name, text))
    for nb in notebooks:
        number = nb.stem.split('_')[0]
        made = page(nb, prose('nbs', modules[nb]), number)
        put(f'nbs/{nb.name}', json.dumps(nb2dict(made)))
        anchors = set(re.findall(r'<span id="(src-[\w.]+)">', '\n'.join(c.source for c in made.cells)))
        title = re.match(r'# (.*)', made.cells[0].source)[1]
        source = f'{files_at}/{cfg["lib_path"]}/{modules[nb]}.py'
        if not entries[nb]: continue
        found[modules[nb]] = entries[nb],nb,title,anchors
        put(f'api/{modules[nb]}.md', reference.module_page(modules[nb], entries[nb], nb, title, anchors, source))
    put('api/index.md', lookup.all_names(found))
    put('names.md', lookup.whose_names(symbols))
    if (root/'docs'/'book_map.csv').exists():
        put('book_map.md', lookup.book_map(root/'docs'/'book_map.csv', notebooks, symbols))
    for name in ('CHANGELOG.md','CONTRIBUTING.md'): put(name, prose('.')((root/name).read_text(encoding='utf-8')))
    front = page(root/'index.ipynb', prose('.'))
    front.cells[-1].source += '\n\n' + toctree(notebooks, [o for o in beside if (dest/f'{o}.md') in written])
    put('index.ipynb', json.dumps(nb2dict(front)))
    for o in [*dest.glob('nbs/*.ipynb'), *dest.glob('api/*.md'), *dest.glob('*.md')]:
        if o not in written: o.unlink() # of a chapter that is gone
    return notebooks
