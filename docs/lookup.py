"The tables to look things up in: all names, whose they are, and the book's sections."
import csv,re

from reference import escaped,in_chapter,table


def page(title, lead, *parts): return '\n\n'.join([f'# {title}', '{.lead}\n'+lead, *parts, ''])

def first_sentence(words): return re.split(r'(?<=[.:?])\s', words.split('\n\n')[0])[0].rstrip(':')

def all_names(found):
    "A row for each public name; `found` has entries, notebook, title and anchors of each module."
    rows = []
    for module,(entries,nb,title,anchors) in found.items():
        for o in entries:
            words = escaped(first_sentence(o.words)) if o.is_code else f'a {type(o.obj).__name__}'
            rows.append((f'[`{o.name}`]({module}.md#{o.name})', in_chapter(o, nb, anchors, title.split()[0]), words))
    rows.sort(key=lambda o: (o[0].lower(), o[0]))
    return page('All names', f'The {len(rows)} public names of the library: where each is made, and what it is.',
                'A page a module: ' + ', '.join(f'[`{o}`]({o}.md)' for o in found) + '.',
                table('name', 'chapter', 'what it is', rows=rows))

def whose_names(symbols):
    "A row for each name that `from digits_fastai.all import *` gives."
    from digits_fastai import all as everything
    rows,ours = [],0
    for name in sorted(everything._all_, key=str.lower):
        if name in vars(everything):
            module = getattr(vars(everything)[name], '__module__', '').removeprefix('digits_fastai.')
            if module not in symbols.homes[name]: module = symbols.homes[name][0] # a constant doesn't say whose it is
            rows.append((f'[`{name}`](api/{module}.md#{name})', f'ours, `{module}`'))
            ours += 1
        elif name in everything._modules: rows.append((f'`{name}`', f'the module `{everything._modules[name]}`'))
        else: rows.append((f'`{name}`', next(f'`{k}`' for k,names in everything._theirs.items() if name in names)))
    return page('Whose names', f'`from digits_fastai.all import *` gives {len(rows)} names, enough to run the chapter '
                f'as printed. {ours} are ours; the others come from fastai and from what fastai stands on.',
                table('name', 'from', rows=rows))

def named(dotted, symbols):
    "module.name as a link to where the name, or the class that it belongs to, is described."
    module,_,name = dotted.partition('.')
    known = [o for o in (name, name.rpartition('.')[0]) if o in symbols.homes]
    if not known: raise ValueError(f'{dotted} is no public name of the library, as module.name')
    homes = symbols.homes[known[0]]
    return f'[`{name}`](api/{module if module in homes else homes[0]}.md#{known[0]})'

def book_map(path, notebooks, symbols):
    "A row for each row of docs/book_map.csv. ValueError if it names a chapter or a name that doesn't exist."
    titles = {nb.stem: re.search(r'"# ([^"\\]*)', nb.read_text(encoding='utf-8'))[1] for nb in notebooks}
    rows,last = [],None
    with open(path, newline='', encoding='utf-8') as f:
        for r in csv.DictReader(f):
            nb,section = r['chapter'],r['section']
            if nb not in titles: raise ValueError(f'{path.name} names the chapter {nb!r}: there is no such notebook')
            here = f'[{nb.split("_")[0]} {titles[nb]}](nbs/{nb}.ipynb)'
            ours,theirs = [named(o, symbols) for o in r['ours'].split()],[f'`{o}`' for o in r['fastai'].split()]
            rows.append((escaped(section)*(section!=last), here, '<br>'.join(ours), '<br>'.join(theirs),
                         escaped(r['note'] or '')))
            last = section
    return page('The book, section by section', "Each section of the book's fourth chapter: where you read it here, "
                'what we call it, and what fastai or PyTorch calls it today.',
                table('in the book', 'here', 'ours', "fastai's, PyTorch's", '', rows=rows))
