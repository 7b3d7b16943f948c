"The reference: a page a module, with every public name, its call, its words and a table of its docments."
import inspect,re,warnings
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from pprint import pformat

from fastcore.docments import docments
from pages import outside_code

warnings.filterwarnings('ignore', '`torch.jit', FutureWarning) # PyTorch's, about fastai


@dataclass
class Entry:
    "One public name of a module."
    name:str # as one writes it: mean_digits, Learner.fit
    module:str # digits_fastai.… without the package's name
    obj:object
    line:int # where in the module it stands

    @property
    def is_code(self): return inspect.isroutine(self.obj) or inspect.isclass(self.obj)

    @property
    def words(self): return inspect.getdoc(self.obj) or '' if self.is_code else ''


def public(module):
    "All public names of a module and their documented methods, in its order. Source: nbdev's own index, and `__all__`."
    from digits_fastai._modidx import d
    mod = import_module(f'digits_fastai.{module}')
    source = Path(mod.__file__).read_text(encoding='utf-8')
    listed = vars(mod).get('__all__', []) # `all` has none of its own: it only hands on
    indexed = [o.removeprefix(mod.__name__+'.') for o in d['syms'][mod.__name__]]
    entries = []
    for name in dict.fromkeys([*indexed, *listed]):
        owner,_,method = name.rpartition('.')
        if any(o.startswith('_') for o in name.split('.')) or not owner and name not in listed: continue
        if owner and not hasattr(mod, owner): continue # a class inside a function
        obj = inspect.getattr_static(getattr(mod, owner), method) if owner else getattr(mod, name)
        obj = getattr(obj, 'fget', None) or getattr(obj, '__func__', obj)
        if owner and not obj.__doc__: continue
        if name in indexed: line = inspect.getsourcelines(inspect.unwrap(obj))[1]
        elif at := re.search(rf'^(?:\w+,)*{name}\b.* = ', source, flags=re.M): line = source[:at.start()].count('\n')+1
        else: continue # a name of another module, handed on
        entries.append(Entry(name, module, obj, line))
    return sorted(entries, key=lambda o: o.line)


def escaped(text):
    "Plain words with `code` in them as MyST: nothing else in them means anything."
    return outside_code(partial(re.sub, r'([*_<>$\[\]{}\\])', r'\\\1'), text)

def table(*head, rows):
    "Rows of MyST under their headings."
    lines = [head, ['---']*len(head), *rows]
    return '\n'.join('| ' + ' | '.join(o.replace('|', r'\|') for o in line) + ' |' for line in lines)

def shown(o):
    "A default value as one reads it in code; of typer's options what they hold."
    if type(o).__module__.startswith('typer'): o = o.default
    if isinstance(o, float): return f'{o:g}'
    return o.__name__ if hasattr(o, '__name__') else re.sub(r'<(\S+) object at 0x\w+>', r'\1()', repr(o))

def typed(o):
    "An annotation without the modules that its names come from."
    if o is inspect.Parameter.empty: return ''
    return re.sub(r'[\w.]+\.(\w+)', r'\1', inspect.formatannotation(o)).replace(' ', '').strip("'")

def as_call(entry):
    "The call, as it is written, in as many lines as it needs."
    try: params = inspect.signature(entry.obj).parameters.values()
    except (TypeError, ValueError): return entry.name
    stars = {inspect.Parameter.VAR_POSITIONAL: '*', inspect.Parameter.VAR_KEYWORD: '**'}
    words,keyword = [],False
    for p in params:
        if p.name=='self': continue
        if p.kind==p.KEYWORD_ONLY and not keyword and '*' not in ''.join(o[:1] for o in words): words.append('*')
        keyword = keyword or p.kind==p.KEYWORD_ONLY
        words.append(stars.get(p.kind, '') + p.name + ('' if p.default is p.empty else f'={shown(p.default)}'))
    lines = ['await '*inspect.iscoroutinefunction(entry.obj) + f'{entry.name}(']
    for i,word in enumerate(words):
        word += ', '*(i<len(words)-1)
        if len(lines[-1]+word)>88: lines.append(' '*4)
        lines[-1] += word
    return '\n'.join(o.rstrip() for o in lines)+')'

def parameters(entry):
    "What the docments say: a row a parameter, and what comes back."
    try: docs = docments(entry.obj, full=True, returns=True)
    except (TypeError, ValueError, OSError): return ''
    rows = []
    for name,o in docs.items():
        if name=='self' or not (words := o.get('docment')): continue
        anno = typed(inspect.signature(entry.obj).parameters[name].annotation if name!='return' else o['anno'])
        name = 'gives' if name=='return' else f'`{name}`'
        rows.append((f'{name} `{anno}`' if anno else name, escaped(words)))
    return table('parameter', 'what it is', rows=rows) if rows else ''

def as_value(o):
    "A constant in words, a long one cut; of a table of functions its keys."
    if isinstance(o, dict) and ' at 0x' in repr(o): o = list(o)
    text = re.sub(r"<(?:class|function) '?(?:\w+\.)*(\w+)'?(?: at 0x\w+)?>|<(\S+) object at 0x\w+>", r'\1\2',
                  pformat(o, width=88, compact=True))
    lines = text.splitlines()
    return '\n'.join(lines[:12] + ['…']*(len(lines)>12))

def described(entry, chapter, anchors):
    "One name: heading, call, words, table, and the way to where the chapter writes it."
    if entry.is_code:
        body = [f'```python\n{as_call(entry)}\n```', escaped(entry.words), parameters(entry)]
    else:
        body = [f'```text\n{as_value(entry.obj)}\n```']
    return '\n\n'.join([f'## `{entry.name}`', *filter(None, body), in_chapter(entry, chapter, anchors)])

def in_chapter(entry, chapter, anchors, words='In the chapter'):
    "A link to the cell that makes the name, or, for a method, its class."
    name = next(o for o in (entry.name, entry.name.split('.')[0]) if f'src-{o}' in anchors)
    return f'<a class="where" href="../nbs/{chapter.name}.html#src-{name}">{words}</a>'

def module_page(chapter, entries, anchors, source):
    "Everything public in one module."
    lead = f'What [{chapter.cited} {chapter.title}](../nbs/{chapter.name}.ipynb) exports. [Its source]({source}).'
    entries = [described(o, chapter, anchors) for o in entries]
    return '\n\n'.join(['---\norphan: true\n---', f'# `digits_fastai.{chapter.module}`', '{.lead}\n'+lead, *entries, ''])
