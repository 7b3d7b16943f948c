"python -m bench [NAME ...]: how fast it is, as ratios of runs side by side."
import json,os,platform,sys,time,warnings
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path

import typer

here = Path(__file__).resolve().parent
modules = {'loading': 'loading', 'loader': 'loader', 'learner': 'learner', 'backward': 'backward', 'convnet': 'convnet',
           'streams': 'streams', 'import': 'imports', 'draw': 'draw'}

def machine():
    "What it ran on, in words."
    import fastai,torch
    from digits_fastai.download import digits_path,is_standin
    try: cpu = next(o.split(':')[1].strip() for o in open('/proc/cpuinfo') if o.startswith('model name'))
    except (OSError, StopIteration): cpu = platform.processor() or platform.machine()
    busy = f', load {os.getloadavg()[0]:.1f} at the start' if hasattr(os, 'getloadavg') else ''
    data = 'the stand-in digits: not MNIST' if is_standin(digits_path()) else 'MNIST'
    return (f'{cpu}, {os.cpu_count()} processors{busy}; {torch.get_num_threads()} threads; Python '
            f'{platform.python_version()}, torch {torch.__version__}, fastai {fastai.__version__}; {data}')

def cells(o):
    "A row of the table: the ratio first, then what it is of."
    spread = f'{o["spread"][0]:.2f} to {o["spread"][1]:.2f}' if o.get('spread') else ''
    cpu = f'{o["ratio_cpu"]:.2f}' if o.get('ratio_cpu') else ''
    took = ' : '.join(f'{o[k]:.3g} s' for k in ('seconds_ours','seconds_against') if o.get(k))
    memory = ' : '.join(f'{o[k]/1e6:.0f} MB' for k in ('memory_ours','memory_against') if o.get(k))
    met = {True: 'yes', False: '**no**', None: ''}[o['met']]
    return [f'**{o["ratio"]:.2f}**', o['target'], met, o['what'], f'{o["ours"]} / {o["against"]}', spread, cpu, took, memory]

def table(rows, left_out): # Markdown
    heads = 'ratio|target|met|what|of|middle half|processor time|medians|peak memory'.split('|')
    lines = [heads, ['---']*len(heads), *map(cells, rows)]
    return '\n'.join([*('| '+' | '.join(o)+' |' for o in lines), *(f'\nLeft out: {o}.' for o in left_out)])

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

@app.command()
def main(
    names:list[str]=typer.Argument(None, help=f'Which: {", ".join(modules)}. All if none is given.'),
    quick:bool=typer.Option(False, '--quick', help='A few turns of small things, to see that it runs; no figures to trust.'),
    save:bool=typer.Option(False, '--save', help='Write RESULTS.md and results.json beside this program.'),
    out:Path=typer.Option(None, help='Write them into this folder.'),
):
    "Measure side by side. '>= 8' is times as fast, '<= 1.1' times as long. MINIAI=FOLDER adds fast.ai part 2's miniai."
    if unknown := [o for o in names or [] if o not in modules]:
        raise typer.BadParameter(f'{", ".join(unknown)}: there are {", ".join(modules)}')
    warnings.filterwarnings('ignore')
    names,rows,left_out,on = names or list(modules),[],[],machine()
    kept = [] if quick or not save else before(out or here)
    page = ''
    for name in names:
        if not (here/f'{modules[name]}.py').exists():
            left_out.append(f'{name}, which is not here')
            continue
        typer.echo(f'{name} …', err=True)
        with redirect_stdout(sys.stderr): # a Learner's table is not ours
            rows += [dict(bench=name, **o) for o in import_module(f'bench.{modules[name]}').run(quick)]
        if name=='learner' and not os.getenv('MINIAI'): left_out.append('miniai, since MINIAI names no folder')
        page = f'# How fast\n\n{time.strftime("%Y-%m-%d")}, {on}.\n\n{table(rows, left_out)}\n'
        kept = [o for o in kept if o['bench']!=name]
        earlier = ''.join(f'\nMeasured {o}.\n\n{table([r for r in kept if r["measured"]==o], [])}\n'
                          for o in dict.fromkeys(r['measured'] for r in kept))
        if save or out: write(out or here, page+earlier, dict(machine=on, quick=quick, left_out=left_out, rows=rows+kept))
    typer.echo(page)

def before(folder): # rows of earlier runs, with date and machine: what isn't measured anew stays
    file = folder/'results.json'
    if not file.exists(): return []
    old = json.loads(file.read_text(encoding='utf-8'))
    return [{'measured': f'{old["date"]}, {old["machine"]}', **o} for o in old['rows'] if not old['quick']]

def write(folder, page, record): # after each bench, so that a later one that fails loses nothing
    folder.mkdir(parents=True, exist_ok=True)
    (folder/'RESULTS.md').write_text(page, encoding='utf-8')
    (folder/'results.json').write_text(json.dumps(dict(date=time.strftime('%Y-%m-%d'), **record), indent=1), encoding='utf-8')

if __name__=='__main__': app()
