#!/usr/bin/env python3
"""Makes a seed corpus for every fuzz target out of captures.

usage: fuzz/seed.py [FOLDER...]      default: testdata beside this folder, and ../shared if it is there

Small captures become seeds of `capture` and `whole_file` as they are. The frames of classic
little-endian ones become seeds of `packet`, their payloads on port 53 seeds of `dns`, and their TCP
segments seeds of `tcp`, each in the form that the target's first lines describe.
"""
import hashlib
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# A seed larger than this only slows a fuzzer down.
LARGEST = 20_000
FRAMES = 40
MAGIC = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x0a\x0d\x0d\x0a",
         b"\x34\xcd\xb2\xa1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"\x04\x22\x4d\x18", b"BZh")


def keep(target, seed):
    folder = os.path.join(HERE, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, hashlib.sha1(seed).hexdigest()), "wb") as out:
        out.write(seed)


def records(capture):
    """Link type, and captured bytes with the length on the wire, of a classic little-endian capture."""
    if len(capture) < 24 or capture[:4] not in (MAGIC[0], MAGIC[2]):
        return 0, []
    link, at, found = struct.unpack("<H", capture[20:22])[0], 24, []
    while at + 16 <= len(capture) and len(found) < FRAMES:
        length, wire = struct.unpack("<II", capture[at + 8:at + 16])
        if length > 65_535:
            break
        found.append((capture[at + 16:at + 16 + length], wire))
        at += 16 + length
    return link, found


def transport(link, frame):
    """Protocol number and transport bytes of an IPv4 packet on one of the common links."""
    head = {1: 14, 113: 16, 276: 20, 101: 0, 12: 0}.get(link)
    packet = frame[head:] if head is not None else b""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return 0, b""
    return packet[9], packet[(packet[0] & 15) * 4:]


def segment(data, from_server):
    sequence, flags, payload = data[6:8], data[13], data[(data[12] >> 4) * 4:][:255]
    packed = from_server | (8 if flags & 2 else 0) | (16 if flags & 16 else 0) | (32 if flags & 1 else 0) \
        | (64 if flags & 4 else 0)
    return bytes([packed]) + sequence + bytes([1, len(payload)]) + payload


def seed(capture):
    if len(capture) <= LARGEST and capture.startswith(MAGIC):
        keep("capture", capture)
        keep("whole_file", capture)
    link, frames = records(capture)
    if not frames:
        return
    if len(capture) > LARGEST:
        cut = 24 + sum(16 + len(frame) for frame, _ in frames)
        if cut <= LARGEST:
            keep("whole_file", capture[:cut])
    packets, segments = b"", b""
    for frame, wire in frames:
        missing = min(max(wire - len(frame), 0), 255)
        packets += struct.pack(">HB", len(frame), missing) + frame
        protocol, data = transport(link, frame)
        if len(data) < 8:
            continue
        ports = struct.unpack(">HH", data[:4])
        if protocol == 17 and 53 in ports:
            keep("dns", data[8:])
        elif protocol == 6 and 53 in ports and len(data) >= 20:
            segments += segment(data, int(ports[0] == 53))
    if len(packets) <= LARGEST:
        keep("packet", struct.pack(">H", link) + packets)
    if segments:
        keep("tcp", segments[:LARGEST])


def main():
    shared = os.path.join(HERE, "..", "..", "shared")
    folders = sys.argv[1:] or [os.path.join(HERE, "..", "testdata"), shared]
    for folder in folders:
        for above, _, names in os.walk(folder):
            for name in sorted(names):
                path = os.path.join(above, name)
                if os.path.isfile(path) and os.path.getsize(path) <= 2_000_000:
                    with open(path, "rb") as capture:
                        seed(capture.read())
    corpus = os.path.join(HERE, "corpus")
    for target in sorted(os.listdir(corpus)) if os.path.isdir(corpus) else []:
        print(f"{target}: {len(os.listdir(os.path.join(corpus, target)))} seeds")


if __name__ == "__main__":
    main()
