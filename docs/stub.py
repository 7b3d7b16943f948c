"""digits_fastai/all.pyi, what editors and type checkers read of `digits_fastai.all`: `python docs/stub.py [--out FILE]`.

The star import's names are made by `__getattr__` when the program runs. Here they stand as ordinary imports: ours from
the modules that make them, fastai's from where they come from. Made with the development set; tests hold it."""
import argparse,sys,types
from collections import defaultdict
from importlib import import_module
from pathlib import Path

root = Path(__file__).resolve().parent.parent
typed = {'torch','numpy','pandas','matplotlib','PIL',*sys.stdlib_module_names} # what a type checker has types of
head = "# Written by docs/stub.py. Do not edit: the names come from nbs/ and from fastai.vision.all.\n\n"


def home(name, o):
    "The module that a type checker should look `name` up in."
    module = getattr(o, '__module__', None) or ''
    if module.startswith('digits_fastai.'): return module
    is_known = module.split('.')[0] in typed and not any(part.startswith('_') for part in module.split('.'))
    if is_known and getattr(import_module(module), name, None) is o: return module
    return 'fastai.vision.all'

def stub():
    "The text of all.pyi."
    sys.path.insert(0, str(root))
    everything = import_module('digits_fastai.all')
    modules,homes = [],defaultdict(list)
    for name in everything.__all__:
        o = getattr(everything, name)
        if isinstance(o, types.ModuleType): modules.append((o.__name__, name))
        else: homes[home(name, o)].append(name)
    lines = []
    for module,name in sorted(modules):
        lines.append(f'import {module} as _{name}') # a stub hands on `a as a`, but no `a as b`
        lines.append(f'{name} = _{name}')
    for module,names in sorted(homes.items()):
        lines += [f'from {module} import {name} as {name}' for name in names]
    return head + '\n'.join(lines) + '\n'


if __name__=='__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, default=root/'digits_fastai'/'all.pyi', help='the file to write')
    parser.parse_args().out.write_text(stub(), encoding='utf-8')
