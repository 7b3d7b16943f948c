"""What the page is tested with: digits as strokes of a pen, in several hands; the models that it asks; and the page
itself as a process. Strokes are lists of points (x, y) in a square of side 1, from top left."""
import http.client,json,math,os,queue,random,signal,subprocess,threading
from base64 import b64encode
from contextlib import contextmanager
from io import BytesIO

from filelock import FileLock

from conftest import python

def smooth(points, n=8):
    "A curve through the points (Catmull-Rom), `n` pieces between each two."
    if len(points)<3: n *= 2
    p = [points[0], *points, points[-1]]
    def at(i, t, k):
        a,b,c,d = (p[i+j][k] for j in range(4))
        return .5*(2*b + (c-a)*t + (2*a-5*b+4*c-d)*t*t + (3*b-a-3*c+d)*t**3)
    return [(at(i, j/n, 0), at(i, j/n, 1)) for i in range(len(points)-1) for j in range(n)] + [points[-1]]

def lines(*points): # straight pieces, sharp corners
    between = [(a[0]+(b[0]-a[0])*j/8, a[1]+(b[1]-a[1])*j/8) for a,b in zip(points, points[1:]) for j in range(8)]
    return between + [points[-1]]

school = {
    0: [smooth([(.5,.14),(.31,.28),(.27,.52),(.34,.76),(.5,.86),(.66,.75),(.73,.5),(.68,.26),(.5,.14)])],
    1: [lines((.5,.14),(.5,.86))],
    2: [smooth([(.3,.3),(.38,.17),(.55,.14),(.68,.26),(.64,.44),(.48,.64),(.3,.84)])+lines((.3,.84),(.72,.84))],
    3: [smooth([(.32,.2),(.48,.13),(.66,.22),(.64,.4),(.46,.48),(.66,.56),(.7,.73),(.52,.87),(.3,.8)])],
    4: [lines((.42,.14),(.28,.58),(.74,.58)), lines((.62,.32),(.6,.88))],
    5: [lines((.68,.15),(.38,.15),(.35,.46))+smooth([(.35,.46),(.52,.41),(.69,.54),(.66,.76),(.48,.87),(.3,.8)])],
    6: [smooth([(.62,.14),(.42,.3),(.32,.56),(.36,.78),(.52,.87),(.67,.76),(.64,.58),(.48,.53),(.34,.66)])],
    7: [lines((.28,.17),(.7,.17),(.44,.87))],
    8: [smooth([(.64,.25),(.5,.14),(.35,.25),(.41,.42),(.6,.56),(.68,.73),(.5,.87),(.32,.74),(.4,.56),(.6,.42),
                (.64,.25)])],
    9: [smooth([(.66,.28),(.52,.15),(.36,.24),(.35,.42),(.5,.49),(.65,.38),(.67,.26)])+lines((.67,.26),(.62,.87))],
}

other = { # a 1 with a flag, a 4 with a triangle, a 7 that sags, a 9 with a tail
    0: [smooth([(.58,.16),(.4,.18),(.27,.4),(.3,.68),(.46,.85),(.64,.78),(.75,.55),(.7,.3),(.52,.15)])],
    1: [lines((.4,.3),(.54,.14),(.5,.88))],
    2: [smooth([(.28,.34),(.36,.18),(.54,.13),(.68,.24),(.66,.42),(.5,.62),(.34,.78),(.3,.86),(.42,.8),(.56,.84),
                (.74,.82)])],
    3: [lines((.32,.16),(.68,.16),(.48,.43))+smooth([(.48,.43),(.66,.5),(.7,.7),(.54,.86),(.32,.82)])],
    4: [lines((.58,.88),(.58,.14),(.26,.62),(.74,.62))],
    5: [smooth([(.36,.18),(.34,.34),(.34,.46),(.5,.42),(.66,.5),(.7,.68),(.58,.84),(.4,.87),(.29,.8)]),
        lines((.36,.17),(.68,.16))],
    6: [smooth([(.54,.12),(.42,.34),(.34,.58),(.36,.8),(.52,.88),(.66,.78),(.66,.62),(.52,.54),(.38,.64)])],
    7: [smooth([(.28,.2),(.5,.18),(.72,.18),(.6,.4),(.5,.64),(.46,.88)])],
    8: [smooth([(.5,.48),(.36,.36),(.38,.2),(.52,.13),(.64,.22),(.62,.38),(.48,.5),(.34,.64),(.34,.8),(.5,.88),
                (.66,.78),(.64,.62),(.5,.48)])],
    9: [smooth([(.68,.3),(.56,.16),(.4,.18),(.34,.34),(.42,.48),(.58,.46),(.68,.3),(.68,.5),(.62,.74),(.48,.86)])],
}

def slanted(strokes, by=.22): return [[(x-by*(y-.5), y) for x,y in s] for s in strokes]
def placed(strokes, left, top, size): return [[(left+x*size, top+y*size) for x,y in s] for s in strokes]
def shaky(strokes, seed, much=.012):
    dice = random.Random(seed)
    def off(i): return dice.gauss(0, much)*math.sin(i),dice.gauss(0, much)*math.cos(i)
    return [[(x+dx, y+dy) for i,(x,y) in enumerate(s) for dx,dy in [off(i)]] for s in strokes]

hands = {
    'school': school,
    'other': other,
    'slanted': {d: slanted(s) for d,s in school.items()},
    'small, in a corner': {d: placed(s, .02, .38, .6) for d,s in other.items()},
    'shaky': {d: shaky(s, d) for d,s in school.items()},
}


def full_path(tmp_path_factory):
    "All ten digits, MNIST's or the stand-in's. Never fetched into the cache that people use."
    from digits_fastai.download import cache_folder,digits_path
    if not (cache_folder('data')/'mnist_png').is_dir():
        home = tmp_path_factory.getbasetemp()/'no_mnist'
        home.mkdir(exist_ok=True)
        os.environ['FASTAI_HOME'] = str(home)
    return digits_path(full=True)

def home_with_models(tmp_path_factory):
    "A FASTAI_HOME with all digits, in which the page's four models lie, trained on 5,000 of them; made once."
    base,path = tmp_path_factory.getbasetemp(),full_path(tmp_path_factory)
    if 'PYTEST_XDIST_WORKER' in os.environ: base = base.parent # all workers have the same models
    home = base/'home_with_models'
    with FileLock(base/'home_with_models.lock'): return _train_models(home, path)

def _train_models(home, path):
    import torch
    from digits_fastai.app.draw import quick_models,train_quick
    from digits_fastai.nets.ten_digits import ten_digits
    folder = home/'models'/'digits_fastai'/path.name
    if not (folder/'convnet').is_dir():
        (home/'data').mkdir(parents=True)
        (home/'data'/path.name).symlink_to(path)
        data = ten_digits(path)
        some = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(0))[:5_000]
        data.x,data.y = data.x[some],data.y[some]
        for name in quick_models: train_quick(name, data, folder/name)
    return home

def drawn(digit=3, hand='school', side=280, width=26, ink=0, paper=255):
    "A digit on a canvas of `side` pixels, as a PIL image."
    from PIL import Image,ImageDraw
    im = Image.new('L', (side,side), paper)
    pen = ImageDraw.Draw(im)
    for stroke in hands[hand][digit]:
        at = [(x*side, y*side) for x,y in stroke]
        pen.line(at, fill=ink, width=width, joint='curve')
        for x,y in at: pen.ellipse([x-width/2, y-width/2, x+width/2, y+width/2], fill=ink)
    return im

def as_png(a):
    "A picture, as a PNG file's bytes."
    from PIL import Image
    f = BytesIO()
    (a if isinstance(a, Image.Image) else Image.fromarray(a)).save(f, 'PNG')
    return f.getvalue()

def as_url(data): return 'data:image/png;base64,' + b64encode(data).decode()

class Page:
    "The page as a process: `url`, `ask`, everything that it has said."
    def __init__(self, home, options='', code=None, **env):
        self.lines,self.seen = queue.Queue(),[]
        code = code or f'from digits_fastai.app.page import draw\ndraw({options})'
        env = {k: v for k,v in {**os.environ, 'FASTAI_HOME': str(home), **env}.items() if v is not None}
        self.process = subprocess.Popen([python, '-u', '-c', code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, cwd=home, env=env)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout: self.lines.put(line.rstrip())
        self.lines.put(None)

    def wait_for(self, text, timeout=90):
        "The next line with `text` in it."
        while True:
            line = self.lines.get(timeout=timeout)
            assert line is not None, f'it ended before it said {text!r}:\n' + '\n'.join(self.seen)
            self.seen.append(line)
            if text in line: return line

    def started(self):
        self.url = self.wait_for('Draw at ').split()[2]
        self.address = self.url.removeprefix('http://')
        return self

    def interrupt(self, timeout=15):
        "Ctrl-C; its exit status, and all that it has said."
        if self.process.poll() is None: self.process.send_signal(signal.SIGINT)
        return self.ended(timeout)

    def ended(self, timeout=60):
        "Its exit status, and all that it has said, when it has ended by itself."
        code = self.process.wait(timeout)
        self.reader.join(5)
        while not self.lines.empty(): self.seen += filter(None, [self.lines.get()])
        return code,'\n'.join(self.seen)

    def ask(self, where='/', data=None, method=None, timeout=20, **headers):
        "Status, headers and text of an answer; `data` goes as JSON unless it is bytes."
        c = http.client.HTTPConnection(self.address, timeout=timeout)
        try:
            body = data if data is None or isinstance(data, bytes) else json.dumps(data).encode()
            headers = {k.replace('_', '-'): v for k,v in headers.items()}
            if body is not None: headers.setdefault('Content-Type', 'application/json')
            c.request(method or ('GET' if body is None else 'POST'), where, body, headers)
            r = c.getresponse()
            return r.status,dict((k.lower(), v) for k,v in r.headers.items()),r.read().decode()
        finally: c.close()

@contextmanager
def page(home, options='port=0', **env):
    "A page that runs for the length of a `with` block, and must end cleanly."
    p = Page(home, options, **env)
    try: yield p.started()
    finally:
        try: code,said = p.interrupt()
        finally: p.process.kill()
    assert code==0 and 'Traceback' not in said, said
