"Side by side: contestants take turns in one process, and only the ratios of a turn are trusted."
import gc,os,subprocess,sys,time
from math import log
from pathlib import Path
from statistics import median

def take_turns(
    contestants:dict, # functions without arguments, by name
    turns:int=9, # how often each runs, after once to warm up
)->dict: # for each name, a list of (wall, processor) seconds, one a turn
    "Time the contestants in turn, so that a machine that slows down for a minute slows down all of them."
    took,names = {o: [] for o in contestants},list(contestants)
    for turn in range(-1, turns):
        for name in names:
            gc.collect()
            gc.disable()
            wall,cpu = time.perf_counter(),time.process_time()
            try: contestants[name]()
            finally: gc.enable()
            if turn>=0: took[name].append((time.perf_counter()-wall, time.process_time()-cpu))
        names.reverse() # nobody always comes after the same one
    return took

def row(
    what:str, # what was measured
    took:dict, # what `take_turns` gave
    ours:str, # name of our contestant
    against:str, # name of the other
    target:str, # '>= 8' for "at least 8 times as fast", '<= 1.1' for "at most 1.1 times as long"
    **more, # further columns: memory, notes
)->dict: # a row of the table
    "One comparison: the median of the turns' ratios, and between which values the middle half of them lies."
    faster = target.startswith('>=')
    def ratio(i): # of wall times, or of processor times
        pairs = [(o[i],t[i]) for o,t in zip(took[ours], took[against])]
        return sorted(t/o if faster else o/t for o,t in pairs)
    wall,cpu = ratio(0),ratio(1)
    seconds = {k: median(t for t,_ in took[k]) for k in (ours, against)}
    return dict(what=what, ours=ours, against=against, target=target, ratio=median(wall),
                spread=[wall[len(wall)//4], wall[-1-len(wall)//4]], ratio_cpu=median(cpu), met=met(median(wall), target),
                seconds_ours=seconds[ours], seconds_against=seconds[against], turns=len(wall), **more)

def met(ratio, target): # is the target reached?
    sign,limit = target.split()
    return ratio>=float(limit) if sign=='>=' else ratio<=float(limit)

def exponent(sizes, seconds): # e of seconds ~ sizes**e, by least squares on logarithms
    "How cost grows: 1 is proportionally, 2 would be with the square."
    xs,ys = [log(o) for o in sizes],[log(o) for o in seconds]
    mx,my = sum(xs)/len(xs),sum(ys)/len(ys)
    return sum((x-mx)*(y-my) for x,y in zip(xs, ys))/sum((x-mx)**2 for x in xs)

def growth(what, sizes, took, ours): # `took` by size
    "A row that says how the cost grows. The quickest turn counts: what disturbs a run only ever makes it slower."
    e = exponent(sizes, [min(wall for wall,_ in took[n]) for n in sizes])
    return dict(what=f'{what}, cost from {sizes[0]:,} to {sizes[-1]:,}', ours=ours, against='size**e', target='<= 1.05',
                ratio=e, spread=None, ratio_cpu=exponent(sizes, [min(cpu for _,cpu in took[n]) for n in sizes]),
                met=met(e, '<= 1.05'), seconds_ours=min(took[sizes[-1]])[0], turns=len(took[sizes[0]]))

def peak(
    before:str, # code that prepares, and loads what the measured code would load
    code:str, # code to measure
)->int: # bytes; None where the system doesn't tell (it is Linux that does)
    "How much more memory `code` takes at its height than there was before it, in a fresh process."
    meter = """
def memory(name): return next(int(o.split()[1])*1024 for o in open('/proc/self/status') if o.startswith(name))
open('/proc/self/clear_refs', 'w').write('5')
started = memory('VmRSS')
"""
    script = '\n'.join([before, meter, code, "print(memory('VmHWM')-started)"])
    if not os.access('/proc/self/clear_refs', os.W_OK): return None
    return int(subprocess.run([sys.executable, '-W', 'ignore', '-c', script], cwd=Path(__file__).resolve().parents[1],
                              capture_output=True, text=True, check=True).stdout.split()[-1])
