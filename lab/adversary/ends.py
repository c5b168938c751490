"""How connections end. Each end takes a connection that has been answered on, and the request that asked for it; it returns the
next request if one comes that has an answer to get.

    then=idle       after at=MS without a request, how=HOW
    then=stall      the process looks at nothing for at=MS, and then finds that the time of the connection is over before it finds
                    the request that may have come: how=HOW
    then=half       after at=MS without a request the connection is closed one way, and what comes then is
                        what=discard    read and thrown away, as Apache httpd does
                        what=process    carried out, as a Node.js server that calls end() does
                        what=reset      carried out, and after another after=MS the connection is reset
    then=die        of the next request it reads nothing, some bytes, what has come by then, or all, and carries only that out:
                    read=none|part|come|all; and after another after=MS, how=HOW

    how=close       close(2)
    how=notify      the same after a close_notify of TLS
    how=reset       close(2) with a linger time of 0: an RST
    how=exit        the process exits
    how=kill        the process is killed
"""

import ctypes
import os
import signal
import socket
import struct
import time

PR_SET_PDEATHSIG = 1

# in seconds: nothing here lasts for longer
PATIENCE = 10
# for how long a connection that is closed one way is read from
LINGER = 1

# of a request that is read in part: more than its first line, less than its head
PART = 100
WHOLE = 1 << 20


def idle(connection, request):
    if connection.arrives(left(connection, request)):
        return connection.request()

    cut(connection, request)


def stall(connection, request):
    time.sleep(max(0, left(connection, request)))
    cut(connection, request)


def half(connection, request):
    if connection.arrives(left(connection, request)):
        return connection.request()

    connection.socket.shutdown(socket.SHUT_WR)
    what = request.argument('what')
    deadline = time.monotonic() + LINGER

    while connection.arrives(deadline - time.monotonic()):
        if what == 'discard':
            if not connection.read():
                return

        elif connection.request() is None:
            return

        elif what == 'reset':
            time.sleep(float(request.argument('after', 0)) / 1000)
            reset(connection)
            return


def die(connection, request):
    if not connection.arrives(PATIENCE):
        return

    read = request.argument('read')

    if read == 'part':
        connection.part_of_request(PART)
    elif read == 'come':
        connection.part_of_request(WHOLE)
    elif read == 'all' and connection.request() is None:
        return

    time.sleep(float(request.argument('after', 0)) / 1000)
    cut(connection, request)


ENDS = {'idle': idle, 'stall': stall, 'half': half, 'die': die}


def left(connection, request):
    """The time until the idle age that the request says."""
    return connection.idle_since + float(request.argument('at')) / 1000 - time.monotonic()


def cut(connection, request):
    HOW[request.argument('how')](connection)


def close(connection):
    connection.socket.close()


def notify(connection):
    connection.socket.setblocking(False)

    try:
        connection.socket.unwrap()
    except OSError:
        # the client's own close_notify is not waited for
        pass

    close(connection)


def reset(connection):
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    close(connection)


def leave(_):
    os._exit(1)


def kill(_):
    os.kill(os.getpid(), signal.SIGKILL)


HOW = {'close': close, 'notify': notify, 'reset': reset, 'exit': leave, 'kill': kill}


def end_with(parent):
    """The kernel ends this process with that one, which has started it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    if os.getppid() != parent:
        os._exit(1)
