"""The same on a GPU: nccl with one rank, mixed precision, checkpoints with the GPU's dice, epoch times beside the CPU's.

All looks (scaling_cuda.py) are made by one process that may see the GPU; conftest keeps it from this one. Figures: with -s,
or in the file that SCALE_FIGURES names.
"""
import json,os,re
from pathlib import Path

import pytest

from conftest import python,run,visible_gpus

names = re.findall(r'\w+', re.search(r'looks = \[(.*?)\]', (Path(__file__).parent/'scaling_cuda.py').read_text(), re.S)[1])
pytest.importorskip('accelerate')


@pytest.fixture(scope='module')
def looked():
    "What the process on the GPU has seen, by name."
    res = run(python, Path(__file__).parent/'scaling_cuda.py', ok=False, timeout=540, CUDA_VISIBLE_DEVICES=visible_gpus,
              OMP_NUM_THREADS=None)
    if 'there is no GPU' in res.stderr: pytest.skip('there is no GPU here')
    seen = {o['name']: o for o in map(json.loads, filter(lambda l: l.startswith('{'), res.stdout.splitlines()))}
    if file := os.getenv('SCALE_FIGURES'): Path(file).write_text(json.dumps(seen, indent=1))
    return seen,res.stderr


@pytest.mark.parametrize('name', names)
def test_on_the_gpu(looked, name):
    seen,stderr = looked
    assert name in seen, f'the process ended before it came to this:\n{stderr[-3000:]}'
    print(name, seen[name]['seconds'], 's', json.dumps(seen[name]['figures']))
    assert not seen[name]['wrong'], seen[name]['wrong']
