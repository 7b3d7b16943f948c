"Everything setuptools needs to know stands in settings.ini; this file only hands it over."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(here/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']

statuses = {'1': '1 - Planning', '2': '2 - Pre-Alpha', '3': '3 - Alpha', '4': '4 - Beta', '5': '5 - Production/Stable'}
audiences = {'Education': 'Education', 'Developers': 'Developers'}
newest_python = 13

def listed(key): return cfg.get(key, '').split()

extras = {key.removesuffix('_requirements'): listed(key) for key in cfg if key.endswith('_requirements')}
oldest_python = int(cfg['min_python'].split('.')[1])

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=(here/'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=cfg['author'],
    author_email=cfg['author_email'],
    license='Apache-2.0',
    url=cfg['git_url'],
    project_urls={'Documentation': cfg['doc_host'] + cfg['doc_baseurl'], 'Source': cfg['git_url']},
    keywords=cfg['keywords'],
    classifiers=[f'Development Status :: {statuses[cfg["status"]]}',
                 f'Intended Audience :: {audiences[cfg["audience"]]}',
                 f'Natural Language :: {cfg["language"]}',
                 'Environment :: Console',
                 'Framework :: Jupyter',
                 'Operating System :: OS Independent',
                 'Topic :: Education',
                 'Topic :: Scientific/Engineering :: Artificial Intelligence',
                 'Topic :: Scientific/Engineering :: Image Recognition',
                 'Typing :: Typed',
                 'Programming Language :: Python :: 3 :: Only',
                 *(f'Programming Language :: Python :: 3.{n}' for n in range(oldest_python, newest_python + 1))],
    packages=[*find_packages(include=[cfg['lib_path'], cfg['lib_path'] + '.*']), f'{cfg["lib_path"]}.app.static'],
    # py.typed tells type checkers to believe our annotations, all.pyi what the star import gives; static has the drawing page
    package_data={cfg['lib_path']: ['py.typed','all.pyi'], f'{cfg["lib_path"]}.app.static': ['*']},
    python_requires='>=' + cfg['min_python'],
    install_requires=listed('requirements'),
    extras_require=extras,
    entry_points={'console_scripts': listed('console_scripts'), 'nbdev': [f'{cfg["lib_path"]}={cfg["lib_path"]}._modidx:d']},
    zip_safe=False,
)
