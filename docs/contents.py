"What the site consists of: every notebook of nbs/ in its group, and the pages beside them, as Sphinx reads them."
import json,os,re
from configparser import ConfigParser

from execnb.nbio import nb2dict

import lookup,reference
from pages import Symbols,local_links,page
from rooms import chapters,root,rooms

beside = ['book_map','names','api/index','CHANGELOG','CONTRIBUTING'] # the pages that are no chapters


def toctree(listed, others):
    "The contents as MyST's toctrees, which stand unseen on the front page: the rooms, then the pages beside them."
    blocks = [(room.title, [f'nbs/{o.name}' for o in listed if o.room==room.name]) for room in rooms]
    blocks.append(('Look it up', others))
    return '\n\n'.join('\n'.join(['```{toctree}', ':hidden:', f':caption: {title}', '', *pages, '```'])
                       for title,pages in blocks if pages)

def settings():
    ini = ConfigParser(delimiters=['='])
    ini.read(root/'settings.ini', encoding='utf-8')
    return ini['DEFAULT']

def write(path, text):
    "Only what has changed, so that Sphinx reads again only what has."
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding='utf-8')!=text: path.write_text(text, encoding='utf-8')
    return path

def write_sources(dest):
    "All pages of the site into `dest`, as Sphinx reads them. Gives the notebooks that they are made of."
    cfg = settings()
    files_at = f'{cfg["git_url"]}/blob/{cfg["branch"]}'
    course = chapters()
    symbols = Symbols([o.module for o in sorted(course, key=lambda o: (o.floor, o.room, o.number))])
    entries = {o.name: reference.public(o.module) for o in course}
    for chapter in course:
        for o in entries[chapter.name]: symbols.add(o.name, chapter.module, linked=o.is_code)

    tops = [root/'index.ipynb', root/'CHANGELOG.md', root/'CONTRIBUTING.md']
    pages = {o.relative_to(root).as_posix() for o in [*(c.nb for c in course), *tops]}
    def prose(folder, module=None):
        up = f'{os.path.relpath(root, root/folder)}/'.removeprefix('./')
        return lambda text: symbols.link(local_links(text, folder, root, pages.__contains__, files_at), module, up)

    written,found = set(),{}
    def put(name, text): written.add(write(dest/name, text))
    for o in course:
        folder = o.nb.parent.relative_to(root).as_posix()
        made = page(o.nb, prose(folder, o.module), o.cited)
        put(f'nbs/{o.name}.ipynb', json.dumps(nb2dict(made)))
        if not entries[o.name]: continue
        anchors = set(re.findall(r'<span id="(src-[\w.]+)">', '\n'.join(c.source for c in made.cells)))
        source = f'{files_at}/{o.py.relative_to(root).as_posix()}'
        found[o.module] = entries[o.name],o,anchors
        put(f'api/{o.module}.md', reference.module_page(o, entries[o.name], anchors, source))
    put('api/index.md', lookup.all_names(found))
    put('names.md', lookup.whose_names(symbols))
    put('book_map.md', lookup.book_map(root/'docs'/'book_map.csv', course, symbols))
    for name in ('CHANGELOG.md','CONTRIBUTING.md'): put(name, prose('.')((root/name).read_text(encoding='utf-8')))
    front = page(root/'index.ipynb', prose('.'))
    front.cells[-1].source += '\n\n' + toctree(course, [o for o in beside if (dest/f'{o}.md') in written])
    put('index.ipynb', json.dumps(nb2dict(front)))
    for o in [*dest.glob('nbs/**/*.ipynb'), *dest.glob('api/*.md'), *dest.glob('*.md')]:
        if o not in written: o.unlink() # of a chapter that is gone
    return [o.nb for o in course]
