"The tables to look things up in: all names, whose they are, and the book's sections."
import csv,re

from reference import escaped,in_chapter,table


def page(title, lead, *parts): return '\n\n'.join([f'# {title}', '{.lead}\n'+lead, *parts, ''])

def first_sentence(words): return re.split(r'(?<=[.:?])\s', words.split('\n\n')[0])[0].rstrip(':')

def all_names(found):
    "A row for each public name; `found` has entries, chapter and anchors of each module."
    rows = []
    for module,(entries,chapter,anchors) in found.items():
        for o in entries:
            words = escaped(first_sentence(o.words)) if o.is_code else f'a {type(o.obj).__name__}'
            rows.append((f'[`{o.name}`]({module}.md#{o.name})', in_chapter(o, chapter, anchors, chapter.cited), words))
    rows.sort(key=lambda o: (o[0].lower(), o[0]))
    return page('All names', f'The {len(rows)} public names of the library: where each is made, and what it is.',
                'A page a module: ' + ', '.join(f'[`{o}`]({o}.md)' for o in found) + '.',
                table('name', 'chapter', 'what it is', rows=rows))

def whose_names(symbols):
    "A row for each name of ours that `from digits_fastai.all import *` gives, and whose place it takes."
    from digits_fastai import all as everything
    import fastai.vision.all as fastais
    rows = []
    for name in sorted(everything._ours, key=str.lower):
        module = getattr(getattr(everything, name), '__module__', '').removeprefix('digits_fastai.')
        if module not in symbols.homes[name]: module = symbols.homes[name][0] # a constant doesn't say whose it is
        theirs = getattr(fastais, name, None)
        replaced = f'`{getattr(theirs, "__module__", "")}`' if theirs is not None else ''
        rows.append((f'[`{name}`](api/{module}.md#{name})', f'`{module}`', replaced))
    return page('Whose names', 'What `from digits_fastai.all import *` gives: every name of `fastai.vision.all`, and '
                f'{len(rows)} of ours. Where both have one, ours takes the place of fastai\'s.',
                table('name', 'made in', "in place of fastai's, from", rows=rows))

def named(dotted, symbols):
    "module.name as a link to where the name, or the class that it belongs to, is described."
    parts = dotted.split('.')
    module = next((m for m in ('.'.join(parts[:i]) for i in (1,2)) if m in symbols.order), parts[0])
    name = dotted.removeprefix(f'{module}.')
    known = [o for o in (name, name.rpartition('.')[0]) if o in symbols.homes]
    if not known: raise ValueError(f'{dotted} is no public name of the library, as module.name')
    homes = symbols.homes[known[0]]
    return f'[`{name}`](api/{module if module in homes else homes[0]}.md#{known[0]})'

def book_map(path, course, symbols):
    "A row for each row of docs/book_map.csv. ValueError if it names a chapter or a name that doesn't exist."
    named_so = {o.name: o for o in course}
    rows,last = [],None
    with open(path, newline='', encoding='utf-8') as f:
        for r in csv.DictReader(f):
            name,section = r['chapter'],r['section']
            if name not in named_so: raise ValueError(f'{path.name} names the chapter {name!r}: there is no such notebook')
            here = f'[{named_so[name].cited} {named_so[name].title}](nbs/{name}.ipynb)'
            ours,theirs = [named(o, symbols) for o in r['ours'].split()],[f'`{o}`' for o in r['fastai'].split()]
            rows.append((escaped(section)*(section!=last), here, '<br>'.join(ours), '<br>'.join(theirs),
                         escaped(r['note'] or '')))
            last = section
    return page('The book, section by section', "Each section of the book's fourth chapter: where you read it here, "
                'what we call it, and what fastai or PyTorch calls it today.',
                table('in the book', 'here', 'ours', "fastai's, PyTorch's", '', rows=rows))
