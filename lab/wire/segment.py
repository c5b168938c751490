"""A TCP segment in an IPv4 packet: what a rule wants to know of it, and the reset that answers it."""

import struct

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

TCP = 6
IP_HEADER = struct.Struct('!BBHHHBBH4s4s')
TCP_HEADER = struct.Struct('!HHIIBBHHH')


class Segment:
    """What the header says."""

    @classmethod
    def of(cls, packet, from_server):
        """The segment in a packet; none in one of another kind."""
        if len(packet) < IP_HEADER.size + TCP_HEADER.size or packet[0] >> 4 != 4 or packet[9] != TCP:
            return None

        return cls(packet, from_server)

    def __init__(self, packet, from_server):
        self.from_server = from_server

        at = (packet[0] & 0x0F) * 4
        total, = struct.unpack_from('!H', packet, 2)

        self.source, self.target = packet[12:16], packet[16:20]
        self.source_port, self.target_port, self.sequence, self.acknowledged, offset, self.flags, *_ = \
            TCP_HEADER.unpack_from(packet, at)
        self.length = total - at - (offset >> 4) * 4

    @property
    def flow(self):
        """The same for both directions."""
        return (self.target_port, self.source_port) if self.from_server else (self.source_port, self.target_port)

    def has(self, flags):
        return bool(self.flags & flags)

    @property
    def is_pure_ack(self):
        return self.length == 0 and not self.has(FIN | SYN | RST)

    def reset(self):
        """The packet that a host sends which knows of no such connection (RFC 9293, 3.5.2)."""
        if self.has(ACK):
            sequence, acknowledged, flags = self.acknowledged, 0, RST
        else:
            sequence, acknowledged, flags = 0, (self.sequence + self.length) & 0xFFFFFFFF, RST | ACK

        header = [self.target_port, self.source_port, sequence, acknowledged, 5 << 4, flags, 0, 0, 0]
        pseudo = self.target + self.source + struct.pack('!HH', TCP, TCP_HEADER.size)
        header[7] = checksum(pseudo + TCP_HEADER.pack(*header))

        return ip_packet(self.target, self.source, TCP_HEADER.pack(*header))

    def __str__(self):
        names = ''.join(name for name, flag in zip('SFRP.', (SYN, FIN, RST, PSH, ACK)) if self.has(flag))
        side = 'server' if self.from_server else 'client'

        return (f'{side} {self.source_port}>{self.target_port} {names} '
                f'seq={self.sequence} ack={self.acknowledged} len={self.length}')


def ip_packet(source, target, payload):
    dont_fragment, hops = 0x4000, 64
    header = [0x45, 0, IP_HEADER.size + len(payload), 0, dont_fragment, hops, TCP, 0, source, target]
    header[7] = checksum(IP_HEADER.pack(*header))

    return IP_HEADER.pack(*header) + payload


def checksum(data):
    """The internet checksum (RFC 1071) of data of even length."""
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))

    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)

    return ~total & 0xFFFF
