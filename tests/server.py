"A web server on loopback that misbehaves on request, and a proxy; they keep a log of what was asked and what was sent."
import fcntl,gzip,http.server,io,os,shutil,socket,ssl,struct,subprocess,tarfile,termios,threading,time
from dataclasses import dataclass,field,replace

import pytest


def noise(n, seed=0):
    "`n` bytes that no compression makes smaller; the same for the same seed."
    import random
    return random.Random(seed).randbytes(n)

def a_tree(n=30, size=400, seed=0):
    "`n` small files in two folders, as {name: bytes}: what the digits look like to a downloader."
    return {f'{"train" if i%3 else "valid"}/{3+4*(i%2)}/{i}.bin': noise(size, seed*1000+i) for i in range(n)}

def as_tgz(files, top='tiny', level=1):
    "A .tgz of a dictionary {name: bytes}, with its folders, as fastai's are."
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as t:
        folders = {p for name in files for p in parents(f'{top}/{name}')}
        for name in sorted(folders, key=lambda o: (o.count('/'), o)):
            info = tarfile.TarInfo(name)
            info.type,info.mode = tarfile.DIRTYPE,0o755
            t.addfile(info)
        for name,data in files.items():
            info = tarfile.TarInfo(f'{top}/{name}')
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), level, mtime=0)

def parents(name):
    parts = name.split('/')[:-1]
    return ['/'.join(parts[:i+1]) for i in range(len(parts))]

def tree(folder):
    "What lies in a folder, hidden files left out, as {name: bytes}; nothing if there is no folder."
    files = sorted(o for o in folder.rglob('*') if o.is_file())
    names = {o: o.relative_to(folder).as_posix() for o in files}
    return {k: o.read_bytes() for o,k in names.items() if not any(p.startswith('.') for p in k.split('/'))}


@dataclass
class Reply:
    "How one request is answered. As it stands: a good server's answer, ranges and all."
    body: bytes = b''
    status: int = 200
    headers: dict = field(default_factory=dict) # more headers; they win
    etag: str = None
    modified: str = None
    ranges: bool = True # does the server know Range?
    if_range: bool = True # does it know If-Range?
    length: object = True # Content-Length: the true one, none (False), or that many bytes more or less than there are
    chunked: bool = False
    cut: int = None # after that many bytes of its payload (−1: before the status line) the connection is dropped
    reset: bool = False # dropped by RST, not FIN
    hold: bool = False # at `cut` the server says nothing more, until it is closed
    piece: int = 2**16 # bytes sent at once
    gap: float = 0. # seconds between them
    watch: object = None # called with the number of bytes sent so far, before each piece

    def but(self, **kwargs): return replace(self, **kwargs)

    def pick(self, asked):
        "The status, the payload and the headers that a request with those headers gets."
        heads = {k: v for k,v in (('ETag', self.etag), ('Last-Modified', self.modified)) if v}
        want = asked.get('Range')
        if self.status!=200 or not self.ranges or not want: return self.status,self.body,heads
        heads['Accept-Ranges'] = 'bytes'
        held = asked.get('If-Range')
        strong = self.etag and not self.etag.startswith('W/')
        same = held in (None, self.etag if strong else None, self.modified)
        if self.if_range and not same: return 200,self.body,heads
        first,_,last = want.removeprefix('bytes=').partition('-')
        first,n = int(first),len(self.body)
        if first>=n: return 416,b'',{**heads, 'Content-Range': f'bytes */{n}'}
        last = min(int(last) if last else n-1, n-1)
        return 206,self.body[first:last+1],{**heads, 'Content-Range': f'bytes {first}-{last}/{n}'}


@dataclass
class Seen:
    "One request, as the log keeps it."
    path: str
    headers: dict
    sent: int = 0 # bytes of the payload that went out
    status: int = None

    @property
    def range(self): return self.headers.get('Range')


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    via = ''

    def log_message(self, *args): pass

    def do_CONNECT(self):
        "A proxy's tunnel; its other end is here, too, and speaks for any host of the certificate."
        self.server.tunnels.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.via = 'https://' + self.path.removesuffix(':443')
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile,self.wfile = self.connection.makefile('rb'),self.connection.makefile('wb', 0)
        self.close_connection = False

    def do_GET(self):
        reply,seen = self.server.next_reply(self.via + self.path, self.headers)
        if callable(reply): return reply(self, seen)
        if reply.cut==-1: return self.drop(reply)
        status,payload,heads = reply.pick(self.headers)
        seen.status = status
        self.send_response(status)
        if not isinstance(reply.length, bool): heads['Content-Length'] = str(len(payload) + reply.length)
        elif reply.length and not reply.chunked: heads['Content-Length'] = str(len(payload))
        if reply.chunked: heads['Transfer-Encoding'] = 'chunked'
        elif 'Content-Length' not in heads: heads['Connection'] = 'close'
        for k,v in {**heads, **reply.headers}.items(): self.send_header(k, v)
        self.end_headers()
        end = len(payload) if reply.cut is None else min(reply.cut, len(payload))
        while seen.sent<end and not self.server.closing.is_set():
            block = payload[seen.sent:min(end, seen.sent+reply.piece)]
            if reply.watch: reply.watch(seen.sent)
            self.wfile.write(b'%x\r\n%s\r\n' % (len(block), block) if reply.chunked else block)
            seen.sent += len(block)
            if reply.gap: self.server.closing.wait(reply.gap)
        if reply.watch: reply.watch(seen.sent)
        if reply.cut is not None and reply.cut<=len(payload): return self.drop(reply)
        if reply.chunked: self.wfile.write(b'0\r\n\r\n')
        if reply.length is not True: self.close_connection = True

    def drop(self, reply):
        self.close_connection = True
        if reply.hold: return self.server.closing.wait(60)
        if not reply.reset: return
        s = self.connection
        for _ in range(200): # what is still on its way would be lost with the connection
            if struct.unpack('i', fcntl.ioctl(s.fileno(), termios.TIOCOUTQ, b'\0'*4))[0]==0: break
            time.sleep(.005)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        os.close(s.detach()) # at once: socketserver's own shutdown() would say a polite goodbye first


class Server(http.server.ThreadingHTTPServer):
    "`server.at(path, *replies)`: the n-th request for the path gets the n-th reply, later ones the last."
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, tls=None, tunnel=None):
        super().__init__(('127.0.0.1', 0), Handler)
        self.routes,self.log,self.tunnels = {},[],[]
        self.closing,self.lock = threading.Event(),threading.Lock()
        self.tls = tunnel # how a proxy's tunnels are encrypted
        if tls: self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f'http{"s" if tls else ""}://127.0.0.1:{self.server_port}'

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, args=(.01,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.closing.set()
        self.shutdown()
        self.server_close()
        self.thread.join()

    def handle_error(self, request, address): pass # a client that went away is what is tested here

    def shutdown_request(self, request):
        try: super().shutdown_request(request)
        except OSError: pass # reset already

    def at(self, path, *replies):
        "From now on `path` gets these replies. Returns its URL; its part of the log begins anew."
        with self.lock:
            self.routes[path] = list(replies)
            self.log[:] = [o for o in self.log if o.path!=path]
        return path if path.startswith('http') else self.url + path

    def next_reply(self, path, headers):
        with self.lock:
            seen = Seen(path, dict(headers.items()))
            n = sum(o.path==path for o in self.log)
            self.log.append(seen)
            steps = self.routes.get(path) or [Reply(b'nothing is here', 404)]
            return steps[min(n, len(steps)-1)],seen

    def ranges(self, path): return [o.range for o in self.log if o.path==path]
    def sent(self, path): return sum(o.sent for o in self.log if o.path==path)


def redirect(to, status=302): return Reply(b'', status, {'Location': to})

def certificate(folder, *names):
    "A certificate that nobody has signed but itself, for these hosts. Returns its file and how a server uses it."
    if shutil.which('openssl') is None: pytest.skip('there is no openssl command to make a certificate with')
    cert,key = folder/'cert.pem',folder/'key.pem'
    made = subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
         '-keyout', str(key), '-out', str(cert), '-subj', '/CN=loopback', '-addext',
         f'subjectAltName={",".join(names)}', '-addext', 'keyUsage=critical,digitalSignature,keyCertSign'],
        capture_output=True, text=True)
    if made.returncode: pytest.skip(f'this openssl makes no such certificate: {made.stderr[-200:]}')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert,context

class DeafServer:
    "A port at which nobody ever answers the door: its waiting room is full. `url` is its address."
    def __enter__(self):
        self.socket = socket.socket()
        self.socket.bind(('127.0.0.1', 0))
        self.socket.listen(0)
        self.url = f'http://127.0.0.1:{self.socket.getsockname()[1]}'
        self.waiting = [socket.socket() for _ in range(4)]
        for s in self.waiting:
            s.setblocking(False)
            s.connect_ex(self.socket.getsockname())
        return self

    def __exit__(self, *args):
        for s in (*self.waiting, self.socket): s.close()
