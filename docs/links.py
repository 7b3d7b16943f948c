"The built pages looked over: no link into nowhere, nothing loaded from elsewhere, no picture without words."
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote,urlsplit

loading = dict.fromkeys(['img','script','iframe','source','video','audio','embed'], 'src') | dict(object='data')
loading_rels = {'stylesheet','icon','preload','modulepreload','prefetch'}


class Page(HTMLParser):
    "What a page links to, what it loads, what in it can be linked to, and which pictures are without words."
    def __init__(self, text):
        super().__init__()
        self.ids,self.links,self.loads,self.wordless = set(),[],[],[]
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        d = {k: v or '' for k,v in attrs}
        if 'id' in d: self.ids.add(d['id'])
        if tag=='a' and 'href' in d: self.links.append(d['href'])
        if tag=='link' and loading_rels & set(d.get('rel', '').split()): self.loads.append(d['href'])
        if d.get(loading.get(tag)): self.loads.append(d[loading[tag]])
        if tag=='img' and not d.get('alt', '').strip(): self.wordless.append(d.get('src', '')[:80])


def remote(url):
    parts = urlsplit(url)
    return bool(parts.netloc) or parts.scheme not in ('','data')

def dead(url, path, pages, site):
    "Why a link of the page at `path` is dead; None if it isn't."
    parts = urlsplit(url)
    target = (path.parent/unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir(): target /= 'index.html'
    if not target.is_relative_to(site) or not target.exists(): return 'leads nowhere'
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].ids: return 'has no such anchor'

def faults(site):
    "All that is wrong with the pages in the folder `site`, a line each."
    site = Path(site).resolve()
    ours = [o for o in sorted(site.rglob('*.html')) if '_static' not in o.relative_to(site).parts]
    pages = {o: Page(o.read_text(encoding='utf-8')) for o in ours}
    for path,page in pages.items():
        name = path.relative_to(site).as_posix()
        for o in page.wordless: yield f'{name}: a picture without words: {o}'
        for o in page.loads:
            if remote(o): yield f'{name}: {o} is loaded from elsewhere'
        for o in dict.fromkeys([*page.links, *page.loads]):
            if not (urlsplit(o).scheme or remote(o)) and (why := dead(o, path, pages, site)): yield f'{name}: {o} {why}'
    for path in sorted(site.rglob('*.css')):
        for o in re.findall(r'(?:url\(|@import )\s*["\']?((?:https?:)?//[^"\')\s]+)', path.read_text(encoding='utf-8')):
            yield f'{path.relative_to(site).as_posix()}: {o} is loaded from elsewhere'
    if not pages: yield f'{site}: there are no pages'
