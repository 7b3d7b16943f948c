"How Sphinx draws the pages. Name, addresses and description stand in settings.ini."
from configparser import ConfigParser
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert

ini = ConfigParser(delimiters=['='])
ini.read(Path(__file__).resolve().parent.parent/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']

project,author,copyright,version = cfg['title'],cfg['author'],cfg['copyright'],cfg['version']
extensions = ['myst_nb']
exclude_patterns = ['_*']
root_doc = 'index'
nitpicky = True

nb_execution_mode = 'off'
nb_merge_streams = True
nb_output_stderr = 'error'
nb_render_markdown_format = 'myst'
myst_enable_extensions = ['attrs_block','attrs_inline','colon_fence','dollarmath']
myst_heading_anchors = 4
myst_heading_slug_func = 'pages.slug'
myst_links_external_new_tab = False

html_theme = 'sphinx_book_theme'
html_title = cfg['title']
html_static_path = ['custom.css']
html_css_files = ['custom.css']
html_baseurl = cfg['doc_host'] + cfg['doc_baseurl'] + '/'
html_sourcelink_suffix = ''
html_math_renderer = 'mathml'
html_use_index = False
html_permalinks_icon = '#'
html_theme_options = dict(
    repository_url=cfg['git_url'], repository_branch=cfg['branch'], path_to_docs='',
    launch_buttons=dict(colab_url='https://colab.research.google.com'), use_download_button=True,
    use_repository_button=True, show_toc_level=2, home_page_in_toc=True, navbar_persistent=[],
    pygments_light_style='a11y-high-contrast-light', pygments_dark_style='a11y-high-contrast-dark')


def mathml(self, node):
    "Formulas are written as MathML, which browsers draw without a script."
    shown = 'block' if isinstance(node, nodes.math_block) else 'inline'
    self.body.append(convert(node.astext(), display=shown))
    raise nodes.SkipNode


def named_by_its_words(app, pagename, templatename, context, doctree):
    "A fold is read aloud as what is written on it, not as 'Toggle hidden content'."
    if 'body' in context: context['body'] = context['body'].replace(' aria-label="Toggle hidden content"', '')


def setup(app):
    app.add_html_math_renderer('mathml', (mathml, None), (mathml, None))
    app.connect('html-page-context', named_by_its_words)
