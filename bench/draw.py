"The drawing page with fifty people drawing at once: how long they wait, and how many are refused."
import http.client,json,os,subprocess,sys,tempfile,threading,time
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from statistics import median

from PIL import Image

from digits_fastai.download import digits_path
from digits_fastai.app.draw import quick_readers,redraw
from digits_fastai.images import load_folder
from digits_fastai.images import part_folder

people,pause = 50,.12 # the page asks again that many seconds after it has been answered, while somebody draws
root = Path(__file__).resolve().parents[1]

def questions(n):
    "Test digits drawn anew, as the page sends them."
    x,_,_ = load_folder(part_folder(digits_path(full=True), None, ('testing','valid')))
    res = []
    for o in redraw(x[:: max(1, len(x)//n)][:n]):
        Image.fromarray(o).save(f := BytesIO(), 'PNG')
        res.append(json.dumps(dict(image='data:image/png;base64,'+b64encode(f.getvalue()).decode())).encode())
    return res

def load(address, asked, people, times, pause):
    "Seconds that each question took, its status, and how long all of it took."
    took,status,start = [],[],threading.Barrier(people+1)
    def person(i):
        c = http.client.HTTPConnection(address, timeout=60)
        start.wait()
        time.sleep(pause*i/people) # they don't all begin at the same moment
        for k in range(times):
            at = time.perf_counter()
            c.request('POST', '/guess', asked[(i*times+k)%len(asked)], {'Content-Type': 'application/json'})
            r = c.getresponse()
            r.read()
            took.append(time.perf_counter()-at)
            status.append(r.status)
            time.sleep(pause)
        c.close()
    threads = [threading.Thread(target=person, args=(i,)) for i in range(people)]
    for t in threads: t.start()
    start.wait()
    at = time.perf_counter()
    for t in threads: t.join()
    return sorted(took),status,time.perf_counter()-at

def run(quick=False):
    "A row for the convnet alone, and one for the four quick models together."
    asked,rows,kept = questions(100),[],quick_readers()
    for names in (['convnet'], list(kept)[:4]):
        models = [str(kept[o].folder) for o in names]
        with tempfile.TemporaryDirectory() as home: # an empty cache: only these models are on the page
            start = f'from digits_fastai.app.page import draw; draw({models!r}, port=0)'
            p = subprocess.Popen([sys.executable, '-u', '-W', 'ignore', '-c', start], cwd=root, stdout=subprocess.PIPE,
                                 env={**os.environ, 'FASTAI_HOME': home}, text=True)
            try:
                address = next(o for o in p.stdout if o.startswith('Draw at ')).split()[2].removeprefix('http://')
                load(address, asked, 2, 5, 0) # to warm up
                took,status,wall = load(address, asked, people, 5 if quick else 30, pause)
            finally:
                p.terminate()
                p.wait(20)
        p95,errors = took[len(took)*95//100],sum(o!=200 for o in status)
        good = p95<=.3 and not errors # the limit was set for the convnet
        what = f'{people} people draw at once, {" + ".join(names)}: 95 % of the answers, {errors} errors'
        rows.append(dict(what=what, ours='page', against='300 ms', target='<= 1', ratio=p95/.3, spread=None,
                         ratio_cpu=None, met=None if quick or len(names)>1 else good, seconds_ours=p95,
                         seconds_against=.3, turns=len(took), median=median(took), errors=errors,
                         answers_a_second=len(took)/wall))
    return rows

if __name__=='__main__':
    for o in run('--quick' in sys.argv): print(o)
