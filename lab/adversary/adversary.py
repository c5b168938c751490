#!/usr/bin/env python3
"""A backend that ends its connections in every way there is, and remembers which requests it has carried out.

    adversary.py ADDRESS PORT LOG [tls=CERTIFICATE,KEY,VERSION]

Each connection has a process of its own, that may die without harm to others. A request is answered with its id, and says what
becomes of its connection then; the arguments of its URI are

    id=ID       is written to the log, as "seen ID" when the request's first line has been read, and as "done ID" when all of it
                has been, which is when it is carried out: before it is answered, and before anything else is done
    then=END    how the connection ends, see ends.py, which has more arguments; without it the answer closes the connection

The log is appended to line by line, and tells all whatever dies.
"""

import os
import signal
import socket
import ssl
import sys

import ends
from connection import Connection

BACKLOG = 512


def listen(address, port):
    listener = socket.create_server((address, port), backlog=BACKLOG)
    # what a connection inherits: an answer goes out at once
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    return listener


def tls_context(option):
    certificate, key, version = option.split(',')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.load_cert_chain(certificate, key)

    return context


def serve(accepted, context, log):
    """A connection, from its first request to its end."""
    accepted.settimeout(ends.PATIENCE)
    connection = Connection(context.wrap_socket(accepted, server_side=True) if context else accepted, log)
    request = connection.request()

    while request:
        end = request.argument('then')
        connection.answer(request, last=end is None)

        if end is None:
            return

        request = ends.ENDS[end](connection, request)


def main(address, port, path, *options):
    context = tls_context(options[0].removeprefix('tls=')) if options else None
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    listener = listen(address, int(port))

    # nobody waits for the processes of connections; they end with this one
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    parent = os.getpid()

    while True:
        accepted, _ = listener.accept()

        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            ends.end_with(parent)

            try:
                listener.close()
                serve(accepted, context, log)
            except OSError:
                # the client has gone away; that of TLS errors is one of these too
                pass

            os._exit(0)

        accepted.close()


if __name__ == '__main__':
    main(*sys.argv[1:])
