"What an import costs, in fresh processes: ours against `import torch`; and how soon `digits --help` answers."
import os,subprocess,sys
from pathlib import Path

from .measure import met,row,take_turns

root = Path(__file__).resolve().parents[1]
help_ = 'from digits_fastai.app.cli import app; app(["--help"])'

def fresh(code): # runs it in a new process
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(root), *filter(None, [os.getenv('PYTHONPATH')])])}
    def run(): return subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env=env, check=True,
                                     capture_output=True, text=True).stdout
    return run

def run(quick=False):
    "Rows: two imports against torch's; the help text, which loads no torch."
    took = take_turns({o: fresh(o) for o in ('import torch', 'import digits_fastai.learner', 'import digits_fastai.all',
                                             help_)}, 1 if quick else 9)
    rows = [row('in a fresh process', took, f'import digits_fastai.{o}', 'import torch', '<= 1.1') for o in ('learner','all')]
    wall = sorted(t for t,_ in took[help_])
    half = wall[len(wall)//2]
    torches = fresh(f'import sys\ntry: {help_}\nexcept SystemExit: print("torch" in sys.modules)')().split()[-1]
    rows.append(dict(what='digits --help', ours='seconds', against='and no torch', target='<= 0.5', ratio=half,
                     spread=[wall[len(wall)//4],wall[-1-len(wall)//4]], met=met(half, '<= 0.5') and torches=='False',
                     seconds_ours=half, turns=len(wall)))
    return rows
