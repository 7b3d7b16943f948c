"""Ranks: processes forked from this one that find each other over gloo, and what each of them brings back.

Every group has its own free port on the loopback, a time limit after which it is killed, and leaves nothing behind.
"""
import multiprocessing.connection,os,socket,tempfile,time,traceback
from dataclasses import dataclass
from pathlib import Path

import torch
import torch._dynamo,torch.distributed.tensor # DistributedDataParallel wants them: here once, and not on each rank


@dataclass
class Outcome:
    "How a rank ended."
    result:object=None # what the function gave
    error:str='' # the type and the text of what it raised
    code:int=None # its exit code; below 0: the signal that killed it
    seconds:float=None # how long after the start it was gone


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def _rank(rank, n, port, folder, f, args):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n), LOCAL_WORLD_SIZE=str(n),
                      MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), GLOO_SOCKET_IFNAME='lo', OMP_NUM_THREADS='1')
    torch.set_num_threads(1)
    res,error,code = None,'',0
    try: res = f(*args)
    except BaseException as e: error,code = f'{type(e).__name__}: {e}\n{traceback.format_exc()}',1
    torch.save((res, error), folder/f'{rank}.part')
    (folder/f'{rank}.part').rename(folder/f'{rank}.pt')
    os._exit(code)


def ranks(n, f, *args, limit=90, ok=True):
    "Call `f(*args)` on `n` ranks: an `Outcome` each; with `ok`, all must end well, and what they gave. TimeoutError."
    fork,start = multiprocessing.get_context('fork'),time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        folder,port = Path(folder),free_port()
        procs = [fork.Process(target=_rank, args=(r, n, port, folder, f, args)) for r in range(n)]
        took = {}
        try:
            for p in procs: p.start()
            while len(took)<n:
                left = start+limit-time.monotonic()
                alive = {p.sentinel: i for i,p in enumerate(procs) if i not in took}
                gone = multiprocessing.connection.wait(list(alive), max(0, left))
                if not gone: raise TimeoutError(f'ranks {sorted(alive.values())} of {n} still ran after {limit} s')
                took.update({alive[s]: time.monotonic()-start for s in gone})
        finally:
            for p in procs:
                if p.pid is not None: p.kill()
            for p in procs:
                if p.pid is not None: p.join()
        res = []
        for r,p in enumerate(procs):
            file = folder/f'{r}.pt'
            said = torch.load(file, weights_only=False) if file.exists() else (None,'')
            res.append(Outcome(*said, p.exitcode, took[r]))
    if not ok: return res
    for r,o in enumerate(res): assert o.code==0, f'rank {r} of {n} ended with {o.code}: {o.error}'
    return [o.result for o in res]
