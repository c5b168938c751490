"""A connection of HTTP/1.1, read as far as is wanted, and no further."""

import os
import select
import ssl
import time
from urllib.parse import parse_qs, urlsplit

HEAD_END = b'\r\n\r\n'


class Request:
    def __init__(self, head):
        lines = head.decode('latin1').split('\r\n')
        self.arguments = parse_qs(urlsplit(lines[0].split(' ')[1]).query)
        headers = dict(line.lower().split(': ', 1) for line in lines[1:] if line)
        self.length = int(headers.get('content-length', 0))

    def argument(self, name, default=None):
        return self.arguments.get(name, [default])[0]

    @property
    def id(self):
        return self.argument('id', '-')


class Connection:
    """A socket, or a TLS one, and what is known of it."""

    def __init__(self, sock, log):
        self.socket = sock
        self.log = log
        self.buffer = b''
        # when the last answer was sent: the beginning of the idle age
        self.idle_since = time.monotonic()

    def arrives(self, seconds):
        """Whether something arrives within this time; nothing is read."""
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True

        return bool(select.select([self.socket], [], [], max(0, seconds))[0])

    def read(self, size=65536):
        """Reads something; whether there was any, and not the end."""
        some = self.socket.recv(size)
        self.buffer += some

        return bool(some)

    def request(self):
        """Reads a request and carries it out; none when the client ends the connection instead."""
        while HEAD_END not in self.buffer:
            if not self.read():
                return None

        head, _, body = self.buffer.partition(HEAD_END)
        request = Request(head)
        self.write_log('seen', request)

        while len(body) < request.length:
            if not self.read():
                return None

            body = self.buffer.partition(HEAD_END)[2]

        self.buffer = body[request.length:]
        self.write_log('done', request)

        return request

    def part_of_request(self, size):
        """Reads no more than the beginning of a request."""
        self.read(size)
        line, found, _ = self.buffer.partition(b'\r\n')

        if found:
            self.write_log('seen', Request(line))

    def answer(self, request, last):
        close = 'Connection: close\r\n' if last else ''
        body = f'{request.id}\n'

        self.socket.sendall(f'HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{close}\r\n{body}'.encode())
        self.idle_since = time.monotonic()

    def write_log(self, what, request):
        # in one piece, among those of others
        os.write(self.log, f'{what} {request.id}\n'.encode())
