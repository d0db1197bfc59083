"""The steering program's two builds say the same of every frame: eBPF run by the kernel
(BPF_PROG_RUN) and native code."""

from __future__ import annotations

import ctypes
import os
import platform
import random
import struct

import pytest
from shared_data import shared

import wirepath as wp
from wirepath import _core, frames
from wirepath.lab import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        not {b.name: b for b in wp.backends()}["af_xdp"].available,
        reason="the af_xdp backend is not available here: see `wirepath backends`",
    ),
]

_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_BPF_PROG_TEST_RUN, _BPF_PROG_GET_FD_BY_ID = 10, 13
_XDP_PASS, _XDP_REDIRECT = 2, 4
_libc = ctypes.CDLL(None, use_errno=True)

STEERINGS = {
    "one group": wp.udp("239.1.1.1", 9001),
    "few, mixed": wp.udp("239.1.1.1", 9001) | wp.tcp("*", 80) | wp.udp("2001:db8::7"),
    "many": wp.udp("10.9.0.1", 53)
    | wp.udp("*", 161)
    | wp.tcp("2001:db8::7", 443)
    | wp.tcp("*", 22)
    | wp.udp("239.1.1.1")
    | wp.udp("ff15::1", 9001),
    "everything": wp.everything(),
}
ADDRESSES = ["239.1.1.1", "239.1.1.2", "10.9.0.1", "2001:db8::7", "ff15::1", "2001:db8::8"]
PORTS = [9001, 53, 161, 80, 443, 22, 5]


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    done = _libc.syscall(
        _SYS_BPF[platform.machine()], command, ctypes.byref(buffer), len(attributes)
    )
    if done < 0:
        raise OSError(ctypes.get_errno(), f"bpf command {command}")
    return done, buffer.raw


class Program:
    """A loaded program, run by the kernel on frames of our making."""

    def __init__(self, number: int) -> None:
        self.fd, _ = _bpf(_BPF_PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))

    def run(self, frame: bytes) -> int:
        data = ctypes.create_string_buffer(frame, len(frame))
        out = ctypes.create_string_buffer(len(frame) + 512)
        _, answer = _bpf(
            _BPF_PROG_TEST_RUN,
            struct.pack(
                "=IIIIQQIIIIQQIII",
                self.fd, 0, len(frame), len(out), ctypes.addressof(data), ctypes.addressof(out),
                1, 0, 0, 0, 0, 0, 0, 0, 0,
            ),
        )  # fmt: skip
        return int(struct.unpack_from("=I", answer, 4)[0])

    def close(self) -> None:
        os.close(self.fd)


def a_frame(rng: random.Random) -> bytes:
    """A frame that often matches, often is damaged, and sometimes is both."""
    target = rng.choice(ADDRESSES)
    frame = bytearray(
        frames.udp(
            rng.randbytes(rng.randrange(0, 60)),
            dst=(target, rng.choice(PORTS)),
            dst_mac="02:00:00:00:00:02",
            vlan=rng.choice([None, None, 7]),
        )
    )
    at = 14 if frame[12:14] != b"\x81\x00" else 18
    kind = rng.randrange(8)
    if kind == 0:  # another tag or two
        tag = rng.choice([b"\x81\x00", b"\x88\xa8"]) + b"\x00\x05"
        frame[12:12] = tag * rng.randrange(1, 6)
    elif kind == 1 and frame[at] >> 4 == 4:  # a fragment
        frame[at + 6 : at + 8] = rng.choice([b"\x20\x00", b"\x00\x10", b"\x3f\xff"])
    elif kind == 2 and frame[at] >> 4 == 4:  # options
        frame[at] = 0x46
        frame[at + 20 : at + 20] = b"\1\1\1\1"
        total = struct.unpack_from(">H", frame, at + 2)[0] + 4
        struct.pack_into(">H", frame, at + 2, total)
    elif kind == 3 and frame[at] >> 4 == 6:  # extension headers
        next_header, extensions = 17, b""
        for number in rng.choices([0, 43, 60, 44, 51], k=rng.randrange(1, 11)):
            extensions = bytes([next_header, 0]) + rng.randbytes(6) + extensions
            next_header = number
        frame[at + 6] = next_header
        frame[at + 40 : at + 40] = extensions
        length = struct.unpack_from(">H", frame, at + 4)[0] + len(extensions)
        struct.pack_into(">H", frame, at + 4, length)
    elif kind == 4:  # TCP by its number
        frame[at + (9 if frame[at] >> 4 == 4 else 6)] = 6
    if rng.random() < 0.3:
        frame[rng.randrange(12, len(frame))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.3:
        del frame[rng.randrange(14, len(frame) + 1) :]
    return bytes(frame)


def almost(target: str, port: int) -> list[bytes]:
    """A frame of the flow, and those that differ from it in one thing that decides."""
    whole = bytearray(frames.udp(b"x" * 8, dst=(target, port), dst_mac="02:00:00:00:00:02"))

    def changed(at: int, *values: int) -> bytes:
        return bytes(whole[:at]) + bytes(values) + bytes(whole[at + len(values) :])

    out = [bytes(whole), changed(14, 0x46), changed(14, 0x65), changed(23, 6), changed(23, 1)]
    out += [changed(12, *kind) for kind in ((0x86, 0xDD), (0x08, 0x06), (0x81, 0x00))]
    out += [changed(16, 0, total) for total in (0, 20, 24, 27, 28, 29)]
    out += [changed(20, *bits) for bits in ((0x20, 0), (0, 1), (0x40, 0), (0x80, 0))]
    out += [changed(at, whole[at] ^ 1) for at in (30, 31, 32, 33, 36, 37)]
    # Options in whose place the ports would stand without them.
    ports = bytes(whole[34:38])
    out.append(changed(14, 0x46) + b"\0" * 4)
    out.append(bytes(whole[:14]) + b"\x46" + bytes(whole[15:34]) + ports + b"\0" * 12)
    return out + [bytes(whole[:length]) for length in range(33, len(whole))]


@pytest.mark.parametrize("name", STEERINGS)
def test_both_builds_agree(lab_name, name):
    steering = STEERINGS[name]
    rng = random.Random(name)
    cases = [a_frame(rng) for _ in range(4000)] + almost("239.1.1.1", 9001)
    for capture in (
        "attack/amp.UDP.snmp.src161.pcapng",
        "attack/amp.TCP.syn.optionallyACK.optionallysamePort.pcapng",
        "mold/itch50_2023/Multiple.Packets.pcap",
    ):
        with wp.open(f"pcap:{shared(capture)}", steer=wp.everything()) as port:
            for batch in port:
                cases += [bytes(batch[i]) for i in range(0, len(batch), 4)]
    with (
        Lab(lab_name) as lab,
        lab["b"].enter(),
        wp.open(f"af_xdp:{lab['b'].interface.name}", steer=steering) as port,
    ):
        program = Program(port.info()["program_id"])
        answers = {}
        for frame in cases:
            kernel = program.run(frame)
            native = _core.steer_classify(steering, frame)
            assert (kernel == _XDP_REDIRECT) == (native == "match"), frame.hex()
            assert kernel in (_XDP_PASS, _XDP_REDIRECT)
            answers[native] = answers.get(native, 0) + 1
        program.close()
    assert answers["match"] > 30
    if not steering.is_everything:
        assert answers["pass"] > 100
        assert answers["fragment"] > 20
