"What a linter can say, ruff says: pyproject.toml has its rules."
from conftest import python,root,run


def test_ruff_finds_nothing():
    found = run(python, '-m', 'ruff', 'check', '--quiet', '--no-cache', '--output-format', 'concise', cwd=root, ok=False)
    assert not found.returncode, found.stdout+found.stderr

def test_ruff_looks_at_every_file():
    looked = run(python, '-m', 'ruff', 'check', '--no-cache', '--show-files', cwd=root).stdout.splitlines()
    for folder in ('digits_fastai','tests','bench','docs'):
        for o in (root/folder).rglob('*.py'): assert str(o) in looked, o
