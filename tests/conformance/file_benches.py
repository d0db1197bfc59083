# SPDX-License-Identifier: Apache-2.0
"""Benches without a wire: nothing, and capture files."""

from __future__ import annotations

import struct

from bench import Bench

_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, 1)  # nanoseconds, Ethernet
FIRST_STAMP = 1_700_000_000_000_000_000
STEP = 1_000


def write_capture(path, frames):
    """A capture of `frames`, a microsecond apart."""
    with path.open("wb") as out:
        out.write(_HEADER)
        for n, frame in enumerate(frames):
            seconds, rest = divmod(FIRST_STAMP + n * STEP, 1_000_000_000)
            out.write(struct.pack("<IIII", seconds, rest, len(frame), len(frame)) + frame)


def read_capture(path):
    data = path.read_bytes()
    out, at = [], len(_HEADER)
    while at < len(data):
        kept = struct.unpack_from("<I", data, at + 8)[0]
        out.append(data[at + 16 : at + 16 + kept])
        at += 16 + kept
    return out


class NullBench(Bench):
    backend = "null"
    live = False
    jumbo = {"frame_size": 9014}
    poll_stamps = {}

    def send(self, frames, which=0):
        pass  # it has its own

    def resize(self, mtu):
        pass

    def spec(self, which=0):
        return "null:"


class PcapBench(Bench):
    """Frames are written before the port is opened, and read from what it wrote."""

    backend = "pcap"
    live = False
    poll_stamps = {"timestamps": "replay"}
    endless = {"loop": 1 << 40}

    def prepare(self):
        self._written = self.tmp_path / "written.pcap"

    def spec(self, which=0):
        return f"pcap:{self.tmp_path}/wire{which}.pcap"

    def open(self, steer=None, sending=(), *, which=0, **options):
        path = self.tmp_path / f"wire{which}.pcap"
        if sending or not path.exists():
            write_capture(path, sending)
        if not which:
            options.setdefault("write", str(self._written))
        return super().open(steer, (), which=which, **options)

    def receive(self, count, timeout=10.0):
        return read_capture(self._written)[:count]

    def resize(self, mtu):
        pass  # a file has none
