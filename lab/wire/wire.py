#!/usr/bin/env python3
"""A wire between two network namespaces, which a suite can cut, slow down and lie on.

    wire.py [delay=MS] [lifetime=SECONDS] [trace=FILE] [seed=NUMBER]

Joins two new namespaces, "client" (10.77.0.1) and "server" (10.77.0.2), by TUN devices, and passes packets on as they are. TCP
is not terminated: what the one end sees is what the other end's kernel has done. Prints

    client /proc/PID/fd/N
    server /proc/PID/fd/N

two files for setns(2) or nsenter --net=. Where this machine can't do it, prints why and exits with status 77.

The namespaces have no names, and the devices belong to this process: when it ends and nobody is left in them, they are gone. It
ends with its standard input, with the process that started it, and when its lifetime is over, whichever comes first.

A line of standard input is a command. The answer is a line: "ok", figures, or "error" and what is wrong.

    delay MS [MS]   one-way delay, towards the server and towards the client; the same for both unless two are given
    loss PERCENT    so many packets are lost, in each direction
    jitter MS       each packet takes up to so much longer, so that packets overtake each other
    mode NAME [MS]  what else goes wrong, see rules.py
    mark TEXT       a line of its own in the trace
    figures         "passed N lost N forged N late MS": packets, and by how much the latest was late

Lost and delayed at random is what the seed says: the same packets for the same traffic.
"""

import heapq
import os
import random
import select
import signal
import sys
import time

import namespace
import rules
from segment import Segment

UNABLE = 77

CLIENT, SERVER = '10.77.0.1/24', '10.77.0.2/24'


class Wire:
    """The packets on their way, and what decides on them."""

    def __init__(self, client, server, trace, seed):
        self.other = {client: server, server: client}
        self.client, self.server = client, server
        self.delay = {client: 0.0, server: 0.0}     # by the device that a packet comes from
        self.loss = 0.0
        self.jitter = 0.0
        self.random = random.Random(seed)
        self.rules = rules.Rules()
        self.trace = trace
        self.queue = []     # (when due, number, device, packet)
        self.number = 0     # keeps the order of what is due at the same time
        self.figures = {'passed': 0, 'lost': 0, 'forged': 0}
        self.late = 0.0

    def take(self, device, packet, now):
        """A packet has come from a device."""
        segment = Segment.of(packet, from_server=device == self.server)
        verdict = self.rules.judge(segment, now) if segment else rules.PASS

        if verdict == rules.PASS and self.random.random() < self.loss:
            verdict = rules.LOSE

        self.write_trace(now, segment, verdict)

        if verdict == rules.PASS:
            jitter = self.random.random() * self.jitter
            self.send(self.other[device], packet, now + self.delay[device] + jitter)

        elif verdict == rules.RESET:
            # a box in the middle of the wire answers: half of the way there, and half of the way back
            self.send(device, segment.reset(), now + (self.delay[device] + self.delay[self.other[device]]) / 2)
            self.figures['forged'] += 1

        else:
            self.figures['lost'] += 1

    def send(self, device, packet, due):
        self.number += 1
        heapq.heappush(self.queue, (due, self.number, device, packet))

    def deliver(self):
        """Delivers what is due; how long it is until something else is."""
        while self.queue:
            now = time.monotonic()
            due, _, device, packet = self.queue[0]

            if due > now:
                return due - now

            heapq.heappop(self.queue)
            os.write(device, packet)

            self.figures['passed'] += 1
            self.late = max(self.late, now - due)

        return None

    def write_trace(self, now, segment, verdict):
        if self.trace and segment:
            print(f'{now:.6f} {segment} {"" if verdict == rules.PASS else verdict}'.rstrip(), file=self.trace)

    def obey(self, line):
        """Carries a command out; the answer."""
        name, *words = line.split() or ['']

        try:
            if name == 'delay':
                values = [float(word) / 1000 for word in words]
                self.delay = {self.client: values[0], self.server: values[-1]}
            elif name == 'loss':
                self.loss = float(words[0]) / 100
            elif name == 'jitter':
                self.jitter = float(words[0]) / 1000
            elif name == 'mode':
                self.rules.choose(*words)
            elif name == 'mark':
                if self.trace:
                    print('#', *words, file=self.trace)
            elif name == 'figures':
                counts = ' '.join(f'{key} {count}' for key, count in self.figures.items())
                return f'{counts} late {self.late * 1000:.1f}'
            else:
                raise ValueError(f'no command "{name}"')

        except (IndexError, TypeError, ValueError) as error:
            return f'error in "{line}": {error}'

        return 'ok'


def run(wire, lifetime):
    end = time.monotonic() + lifetime
    commands = b''

    while (left := end - time.monotonic()) > 0:
        due = wire.deliver()
        # select() waits more exactly than poll(), which counts in milliseconds
        ready, _, _ = select.select([0, wire.client, wire.server], [], [], left if due is None else min(left, due))

        for device in ready:
            if device:
                read_packets(wire, device)
                continue

            some = os.read(0, 4096)

            if not some:
                return

            *lines, commands = (commands + some).split(b'\n')

            for line in lines:
                print(wire.obey(line.decode()), flush=True)


def read_packets(wire, device):
    while True:
        try:
            packet = os.read(device, 65536)
        except BlockingIOError:
            return

        wire.take(device, packet, time.monotonic())


def main(arguments):
    options = dict(argument.split('=', 1) for argument in arguments)

    namespace.end_with_parent()
    # Ctrl-C is for the suite, which closes the standard input then
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    try:
        ends = [namespace.new(*end) for end in (('client', CLIENT), ('server', SERVER))]
    except (OSError, namespace.Unable) as error:
        print(f'no wire: {error}', flush=True)
        return UNABLE

    trace = open(options['trace'], 'w', buffering=1) if 'trace' in options else None
    wire = Wire(ends[0].device, ends[1].device, trace, int(options.get('seed', 1)))
    wire.obey(f'delay {options.get("delay", 0)}')

    for end in ends:
        print(f'{end.name} /proc/{os.getpid()}/fd/{end.namespace}', flush=True)

    namespace.hurry()
    run(wire, float(options.get('lifetime', 600)))

    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
