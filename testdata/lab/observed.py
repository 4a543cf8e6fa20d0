"""What a capture shows: a small reader of the files the lab records, and from it the time of each
lookup's first query and the addresses and names that can be seen at all.

Classic pcap, little-endian, microseconds, as tcpdump writes it here; Ethernet, LINUX_SLL and
LINUX_SLL2.  Files that were cut short are read as far as they go.
"""
import collections
import socket
import struct

import dnswire

HEADER = {1: (14, 12), 113: (16, 14), 276: (20, 0)}   # link type: length, where the EtherType is
Query = collections.namedtuple("Query", "time client port id name qtype")
# A worker that sends its first query later than this after it was asked had it waiting in a queue.
QUEUED = 0.05
NDOTS = 5
UNFINISHED = (97, 98)      # result codes of lookups that were not over at the end


def frames(path):
    """(seconds, network packet) of every whole record."""
    with open(path, "rb") as f:
        head = f.read(24)
        if len(head) < 24:
            return
        link = struct.unpack("<I", head[20:])[0]
        if head[:4] != b"\xd4\xc3\xb2\xa1" or link not in HEADER:
            raise ValueError(f"{path}: not a capture of this lab")
        skip, type_at = HEADER[link]
        while len(record := f.read(16)) == 16:
            seconds, micros, length, _ = struct.unpack("<IIII", record)
            data = f.read(length)
            if len(data) < length:
                return
            kind = data[type_at:type_at + 2]
            if kind in (b"\x08\x00", b"\x86\xdd"):
                yield seconds + micros / 1e6, data[skip:]


def datagram(packet):
    """(source, destination, source port, destination port, DNS bytes), or None."""
    if packet[0] >> 4 == 4:
        start, protocol = (packet[0] & 15) * 4, packet[9]
        if struct.unpack("!H", packet[6:8])[0] & 0x1FFF:
            return None
        src, dst = socket.inet_ntop(socket.AF_INET, packet[12:16]), socket.inet_ntop(socket.AF_INET, packet[16:20])
    else:
        start, protocol = 40, packet[6]
        src, dst = socket.inet_ntop(socket.AF_INET6, packet[8:24]), socket.inet_ntop(socket.AF_INET6, packet[24:40])
    body = packet[start:]
    if protocol == 17 and len(body) >= 8:
        return (src, dst, *struct.unpack("!HH", body[:4]), body[8:])
    if protocol == 6 and len(body) >= 20:
        return (src, dst, *struct.unpack("!HH", body[:4]), body[(body[12] >> 4) * 4 + 2:])
    return (src, dst, 0, 0, b"")


class Point:
    """One capture point: its queries in order, and everything it shows."""

    def __init__(self, paths):
        self.queries, self.addresses, self.names = [], set(), set()
        self.last = 0.0
        for path in paths:
            for time, packet in frames(path):
                self.last = max(self.last, time)
                seen = datagram(packet)
                if seen:
                    self.add(time, *seen)
        self.queries.sort()

    def add(self, time, src, dst, sport, dport, data):
        self.addresses |= {src, dst}
        if 53 not in (sport, dport) or len(data) < 17:
            return
        try:
            name, at = dnswire.dec_name(data, 12)
        except (IndexError, ValueError):
            return
        name = name.lower().rstrip(".")
        if data[2] & 0x80 == 0 and dport == 53 and at + 2 <= len(data):
            self.queries.append(Query(time, src, sport, data[:2], name, data[at:at + 2]))
        self.names.add(name)

    def shows(self, value):
        """Whether an address, prefix or name can be seen here.  The pod network of a node counts
        as seen when one of its addresses is."""
        if "/" in value:
            prefix = value.split("/")[0].rsplit(".", 1)[0] + "."
            return any(a.startswith(prefix) for a in self.addresses)
        return value in self.addresses or any(n == value or n.endswith("." + value) for n in self.names)


def asked_names(row, suffixes):
    """The names a lookup may ask for, the first one first."""
    words = [w for w in row["name"].split() if not w.startswith("+")]
    if words[0] == "-x":
        return [".".join(reversed(words[1].split("."))) + ".in-addr.arpa"]
    name = words[0].lower()
    searched = row["client"] in ("glibc", "musl", "go", "getent")
    if not searched or name.endswith(".") or name.count(".") >= NDOTS:
        return [name.rstrip(".")]
    return [f"{name}.{s}" for s in suffixes] + [name]


def first_queries(rows, point, pods):
    """Fill in row["first_query"]: the time of the lookup's first query, None where this capture
    point cannot show it.  `pods` maps a pod's address to (its addresses, its search suffixes).

    A lookup that was not over when the last packet was captured is left out, and so is one whose
    worker kept it waiting in a queue of its own."""
    by_key = collections.defaultdict(list)
    for query in point.queries:
        by_key[query.client, query.name].append(query)
    claimed = set()
    for row in sorted(rows, key=lambda r: r["t"]):
        row["first_query"] = None
        if row["pod"] not in pods or row["rc"] in UNFINISHED or row["t"] + row["ms"] / 1e3 > point.last:
            continue
        addresses, suffixes = pods[row["pod"]]
        names = asked_names(row, suffixes)
        until = row["t"] + QUEUED
        found = sorted(q for a in addresses for n in names for q in by_key[a, n]
                       if row["t"] <= q.time <= until and (q.client, q.port, q.id) not in claimed)
        found = [q for q in found if q.name == names[0]] or found
        if found:
            first = found[0]
            row["first_query"] = round(first.time, 6)
            # The other type is asked for right behind it, and every packet is seen several times.
            claimed |= {(q.client, q.port, q.id) for q in found if q.name == first.name and q.time - first.time < 0.001}
