"""Network namespaces, each with a TUN device: what an end of the wire is made of."""

import ctypes
import fcntl
import os
import signal
import struct
import subprocess
from collections import namedtuple

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
PR_SET_TIMERSLACK = 29
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x1, 0x1000

libc = ctypes.CDLL(None, use_errno=True)

# Its name, the file of the namespace and that of the device, which gives packets and takes them.
End = namedtuple('End', 'name namespace device')


class Unable(Exception):
    """This machine has not what is needed."""


def new(name, address):
    """Enters a new namespace with a device that has the address."""
    if libc.unshare(CLONE_NEWNET) == -1:
        raise Unable(f'no network namespace: {os.strerror(ctypes.get_errno())}')

    namespace = os.open('/proc/self/ns/net', os.O_RDONLY | os.O_CLOEXEC)
    device = os.open('/dev/net/tun', os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack('16sH22x', name.encode(), IFF_TUN | IFF_NO_PI))

    # before the device is up, or it has IPv6's own traffic
    write('/proc/sys/net/ipv6/conf/all/disable_ipv6', '1')
    ip('link', 'set', 'lo', 'up')
    ip('addr', 'add', address, 'dev', name)
    # bursts of a test are not to be lost before they are on the wire
    ip('link', 'set', name, 'mtu', '1500', 'txqueuelen', '5000', 'up')

    return End(name, namespace, device)


def ip(*arguments):
    try:
        subprocess.run(['ip', *arguments], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise Unable('no command "ip": it is in iproute2') from None
    except subprocess.CalledProcessError as error:
        raise Unable(f'ip {" ".join(arguments)}: {error.stderr.strip()}') from None


def write(path, text):
    try:
        with open(path, 'w') as file:
            file.write(text)
    except FileNotFoundError:
        # a kernel without IPv6
        pass


def end_with_parent():
    """The kernel ends this process when the one that started it is gone, however that went."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def hurry():
    """Delays are to be exact: timers without slack, and first in the queue for a processor."""
    libc.prctl(PR_SET_TIMERSLACK, 1)

    try:
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    except OSError:
        # then packets are late when the machine is busy; the figures tell by how much
        pass
