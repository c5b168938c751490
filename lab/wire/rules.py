"""What goes wrong with TCP on the wire, by the name of a mode."""

import time

from segment import FIN, RST, SYN

PASS, LOSE, RESET = 'pass', 'lost', 'reset'


class Rules:
    """The mode, and what has to be known for it.

        pass                    nothing goes wrong
        lose-server-rst         the server's resets are lost
        lose-server-fin         the server's FINs are lost
        lose-server-ack         the server's segments that only acknowledge are lost
        lose-client-data-once   the next data of the client is lost, once
        forge-rst [MS]          a box on the way has forgotten connections, and answers data of the client with a reset
        silent [MS [MS]]        a box on the way has forgotten connections, and drops what belongs to them, if need be for the
                                second time only: then it knows them again

    Forgotten are the connections that there are now, or each that was idle for so many milliseconds.
    """

    def __init__(self):
        self.last = {}          # when there was a segment, by flow
        self.forgotten = {}     # since when, by flow
        self.choose('pass')

    def choose(self, name, idle=None, duration='inf'):
        self.rule = getattr(self, 'rule_' + name.replace('-', '_'), None)

        if self.rule is None:
            raise ValueError(f'no mode "{name}"')

        self.limit = float(idle or 'inf') / 1000
        self.duration = float(duration) / 1000
        self.forgotten = {} if idle else dict.fromkeys(self.last, time.monotonic())

    def judge(self, segment, now):
        flow = segment.flow

        if segment.has(SYN) and not segment.from_server:
            # ports come again
            self.forgotten.pop(flow, None)
        elif now - self.last.get(flow, now) >= self.limit:
            self.forgotten.setdefault(flow, now)

        self.last[flow] = now
        self.is_forgotten = flow in self.forgotten and now - self.forgotten[flow] < self.duration

        return self.rule(segment)

    def rule_pass(self, segment):
        return PASS

    def rule_lose_server_rst(self, segment):
        return LOSE if segment.from_server and segment.has(RST) else PASS

    def rule_lose_server_fin(self, segment):
        return LOSE if segment.from_server and segment.has(FIN) else PASS

    def rule_lose_server_ack(self, segment):
        return LOSE if segment.from_server and segment.is_pure_ack else PASS

    def rule_lose_client_data_once(self, segment):
        if segment.from_server or not segment.length:
            return PASS

        self.choose('pass')

        return LOSE

    def rule_forge_rst(self, segment):
        return RESET if self.is_forgotten and segment.length and not segment.from_server else PASS

    def rule_silent(self, segment):
        return LOSE if self.is_forgotten else PASS
