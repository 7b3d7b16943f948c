"""The chapters as Sphinx reads them: nbdev processes a notebook, and what it leaves for Quarto becomes MyST's.

Nothing is run: the pages show the outputs that the notebooks keep."""
import ast,re
from functools import partial
from pathlib import Path

from execnb.nbio import mk_cell,read_nb
from fastcore.foundation import L
from nbdev.doclinks import patch_name
from nbdev.processors import FilterDefaults

hidden = {'hide','default_exp'}
shown_twice = ('text/html','image/png','image/jpeg','text/markdown') # richer than the words that come with them


class Course(FilterDefaults):
    "nbdev's processors, but for those that run cells or take the exported code away: it is what one reads here."
    left_out = {'add_show_docs','insert_warning','clean_show_doc','exec_show_docs','rm_export','add_links'}
    def base_procs(self): return [o for o in super().base_procs() if o.__name__ not in self.left_out]


def slug(title):
    "The anchor of a heading, as JupyterLab, nbviewer and GitHub make it: Break-it."
    return title.replace(' ', '-')

def outside_code(f, text, blocks_only=False):
    "`text` with f(part) for all that is not in a fence, nor in a span of code."
    code = r'^(?:```|~~~)[\s\S]*?^(?:```|~~~)[ \t]*$' + ('' if blocks_only else r'|`[^`\n]+`')
    parts = re.split(f'({code})', text, flags=re.M)
    return ''.join(o if i%2 else f(o) for i,o in enumerate(parts))

def front_matter(text, number=''):
    "nbdev's raw YAML becomes the title and a line under it."
    import yaml
    d = yaml.safe_load(text.strip().strip('-'))
    lead = d.get('description')
    return f'# {number} {d["title"]}'.replace('#  ', '# ') + (f'\n\n{{.lead}}\n{lead}' if lead else '')

callouts = {f'callout-{o}': o for o in ('note','tip','warning','caution','important')}

def quarto(text):
    "Callouts become admonitions, other `:::` blocks a div with their classes, options in braces after a link go."
    def block(m):
        colons,classes = m[1],re.findall(r'\.([\w-]+)', m[2])
        kind = next((callouts[o] for o in classes if o in callouts), None)
        title = re.search(r'title="([^"]*)"', m[2])
        fold = '\n:class: dropdown' if 'collapse="true"' in m[2] else ''
        if not kind: return f'{colons}{{div}} {" ".join(classes)}'
        return f'{colons}{{admonition}} {title[1]}\n:class: {kind}{" dropdown" if fold else ""}' if title else \
               f'{colons}{{{kind}}}{fold}'
    def outside(part):
        part = re.sub(r'^(:{3,})[ \t]*\{([^}\n]*[.=][^}\n]*)\}[ \t]*$', block, part, flags=re.M)
        return re.sub(r'(\]\([^)\n]*\))\{[^}\n]*\}', r'\1', part)
    return outside_code(outside, text, blocks_only=True)

def local_links(text, folder, root, is_page, files_at):
    "Links to files that are no pages lead to the repository, where they are."
    def link(m):
        if m[1] is None: return m[0] # a span of code
        target,_,anchor = m[2].partition('#')
        if not target or re.match(r'\w+:', target) or m[1].startswith('!'): return m[0]
        path = (root/folder/target).resolve()
        if not path.is_relative_to(root) or not path.exists() or is_page(path.relative_to(root).as_posix()): return m[0]
        return f'{m[1]}({files_at}/{path.relative_to(root).as_posix()}{"#"*bool(anchor)}{anchor})'
    words = r'(?:[^\]\n`]|`[^`\n]*`)*' # of a link; there may be code among them
    return outside_code(partial(re.sub, rf'(!?\[{words}\])\(([^)\s]+)\)|`[^`\n]+`', link), text, blocks_only=True)


class Symbols:
    "Where each public name of the library is told: its page, and which chapters may speak of it."
    def __init__(self, order): self.order,self.homes,self.quiet = order,{},set()

    def add(self, name, module, linked=True):
        self.homes.setdefault(name, []).append(module)
        if not linked: self.quiet.add(name) # `digits` is more often a command than the constant

    def page(self, name, upto=None):
        "Page and anchor of `name` for the chapter of module `upto`: of those it may know, the nearest; None if none."
        last = self.order.index(upto) if upto in self.order else len(self.order)
        known = [o for o in self.homes.get(name, ()) if self.order.index(o)<=last]
        return f'api/{max(known, key=self.order.index)}.md#{name}' if known else None

    def link(self, text, upto=None, up=''):
        "`text` in which each public name in backticks leads to its page; not in headings, fences and links."
        def one(m):
            if m[1] is None: return m[0]
            name = m[1].removesuffix('()')
            page = None if name in self.quiet else self.page(name, upto)
            return f'[`{m[1]}`]({up}{page})' if page else m[0]
        passed = r'^#.*$|^(?:```|~~~)[\s\S]*?^(?:```|~~~)|\[[^\]\n]*\]\([^)\n]*\)'
        return re.sub(passed + r'|(?<!`)`([\w.]+(?:\(\))?)`(?!`)', one, text, flags=re.M)


def defined(source):
    "The public names that a cell defines, in its order; methods added by `@patch` as Class.method."
    names = []
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef,ast.AsyncFunctionDef,ast.ClassDef)): names += L(patch_name(node))
        elif isinstance(node, ast.Assign):
            parts = [o for target in node.targets for o in ast.walk(target)]
            names += [o.id for o in parts if isinstance(o, ast.Name) and isinstance(o.ctx, ast.Store)]
    return [o for o in names if not o.startswith('_')]

def options(cell):
    "The lines `#| key: value` at the top of a cell, which are taken out of it."
    top = re.match(r'(?:#\|.*\n?)*', cell.source)[0]
    cell.source = cell.source.removeprefix(top)
    return {k: v.strip('"') for k,v in re.findall(r'^#\|[ \t]*([\w-]+):[ \t]*(.*?)[ \t]*$', top, flags=re.M)}

def only_imports(source):
    "Does the code do nothing but import?"
    try: body = ast.parse(source).body
    except SyntaxError: return False # a magic, or a shell's command
    return bool(body) and all(isinstance(o, (ast.Import,ast.ImportFrom)) for o in body)

def plain(heading): return re.sub(r'[`*]', '', heading).strip()

def code_cell(cell, heading):
    "Options become tags, pictures get words; None if there is nothing to be seen."
    marks = cell.get('directives_', {})
    opts = options(cell)
    if hidden & set(marks) or opts.get('include')=='false' or not cell.source.strip(): return None
    tags = cell.metadata.setdefault('tags', [])
    if {'export','exporti','exports'} & set(marks): tags.append('export')
    if opts.get('echo')=='false': tags.append('remove-input')
    if opts.get('output')=='false': tags.append('remove-output')
    fold = 'A solution' if 'hide-cell' in tags else 'Imports' if only_imports(cell.source) else None
    if opts.get('code-fold', 'false')!='false': fold = opts.get('code-summary', 'Code')
    mystnb = cell.metadata.setdefault('mystnb', {})
    mystnb['image'] = {'alt': opts.get('fig-alt') or f'{plain(heading)}: picture made by this cell'}
    if fold:
        mystnb.update(code_prompt_show=fold, code_prompt_hide=fold)
        if 'hide-cell' not in tags: tags.append('hide-input')
    for o in cell.get('outputs', []):
        if any(k in o.get('data', {}) for k in shown_twice): o['data'].pop('text/plain', None)
    return cell

def page(path, text, number=''):
    "The notebook at `path` as a notebook for MyST-NB; `text` is what to do with each piece of prose."
    nb = read_nb(path)
    Course()(nb)
    cells,heading = [],Path(path).stem
    for cell in nb.cells:
        if cell.cell_type=='raw': cell = mk_cell(front_matter(cell.source, number), 'markdown')
        if cell.cell_type=='markdown':
            cell.source = text(quarto(cell.source))
            heading = ([heading]+re.findall(r'^#+ (.*)', cell.source, flags=re.M))[-1]
        elif not (cell := code_cell(cell, heading)): continue
        elif 'export' in cell.metadata['tags'] and (names := defined(cell.source)):
            cells.append(mk_cell(''.join(f'<span id="src-{o}"></span>' for o in names), 'markdown'))
        for o in cell.get('outputs', []):
            if words := o.get('data', {}).get('text/markdown'): o['data']['text/markdown'] = text(''.join(words))
        cells.append(cell)
    nb.cells = cells
    language = dict(name='python', pygments_lexer='ipython3') # it colours the code
    nb.metadata = dict(kernelspec=nb.metadata['kernelspec'], language_info=language)
    return nb
