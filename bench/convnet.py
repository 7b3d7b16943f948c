"The recipes of nets 06 on all ten digits: what they read of the test set, and how long fastai's resnet18 would take."
import time,warnings
from dataclasses import replace
from statistics import mean,median

from digits_fastai.download import digits_path,is_standin
from digits_fastai.nets.seconds import fast_recipes,train_fast
from digits_fastai.nets.ten_digits import ten_digits
from digits_fastai.vision import resnet18_learner
from .measure import met

# Before anything was run: which seeds, which accuracy (their mean), how many epochs of resnet18 to be set against.
plan = {'3s': (range(5), .99, 1), '12s': (range(5), .994, 4), '60s': (range(3), .996, None)}

class Resnet18:
    "fastai's, with its own loading of the pictures, in this process or in fastai's usual number beside it."
    def __init__(self, path, usual_workers):
        from fastcore.parallel import defaults
        self.learn = resnet18_learner(path, num_workers=min(16, defaults.cpus) if usual_workers else 0)

    def batch(self, n): # (wall, processor) seconds a batch, from n of them; the first two only warm up
        from fastai.callback.core import Callback,CancelFitException
        times = []
        class Clock(Callback):
            def after_batch(self):
                times.append((time.perf_counter(),time.process_time()))
                if len(times)>=n+2: raise CancelFitException
        with self.learn.no_bar(), self.learn.no_logging(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            self.learn.fit_one_cycle(1, .1, cbs=Clock())
        n = len(times)-2
        return tuple((b-a)/n for a,b in zip(times[1], times[-1]))

def run(quick=False):
    "One row a recipe. `quick` trains a twentieth of it from one seed and multiplies the time: no accuracy is reached."
    path = digits_path(full=True)
    full = ten_digits(path, valid_pct=None) # all that may be trained on; what the Learner validates on is the test set
    ways = [Resnet18(path, o) for o in (False,True)]
    their = min(ways, key=lambda o: o.batch(4 if quick else 20)[0]) # workers pay on some machines and not on others
    rows,share = [],20 if quick else 1
    for name,(seeds,accuracy,epochs) in plan.items():
        recipe,seeds = fast_recipes[name],list(seeds)
        if quick: recipe,seeds = replace(recipe, epochs=recipe.epochs/share),seeds[:1]
        ours,theirs,read = [],[],[]
        for seed in seeds:
            theirs.append(their.batch(2 if quick else 10))
            learn = train_fast(full, recipe, seed)
            ours.append((share*learn.stopwatch.secs,share*learn.stopwatch.cpu_secs))
            read.append(learn.recorder.values[-1][2])
        if epochs: # the batches before each run stand for all that its epochs would have
            n,target = epochs*len(their.learn.dls.train),'>= 40'
            against = f"fastai's resnet18, {epochs} epoch{'s' if epochs>1 else ''}, extrapolated"
            wall,cpu = (sorted(n*t[i]/o[i] for o,t in zip(ours, theirs)) for i in (0,1))
            seconds = median(n*t for t,_ in theirs)
        else:
            target,against,seconds = '<= 1','60 s',60.
            wall,cpu = (sorted(o[i]/60 for o in ours) for i in (0,1))
        reached = None if quick or is_standin(path) else met(median(wall), target) and mean(read)>=accuracy
        rows.append(dict(
            what=f'recipe {name}: {mean(read):.2%} of the test set, {accuracy:.1%} wanted (seeds {seeds[0]} to '
                 f'{seeds[-1]}: {", ".join(f"{100*o:.2f}" for o in read)})', ours='train_fast',
            against=against, target=target, met=reached, ratio=median(wall), ratio_cpu=median(cpu),
            spread=[wall[len(wall)//4],wall[-1-len(wall)//4]],
            seconds_ours=median(t for t,_ in ours), seconds_against=seconds, turns=len(seeds), seeds=seeds,
            accuracies=[round(o, 4) for o in read], accuracy=round(mean(read), 5), accuracy_target=accuracy))
    return rows

if __name__=='__main__':
    for o in run(): print(o)
