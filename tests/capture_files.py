"""What tshark reads out of a capture: a second opinion on what wirepath wrote."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from shared_data import missing


def tshark(path: Path | str, *names: str) -> list[dict[str, str]]:
    """Fields of every frame, "" where a frame has none."""
    program = _program("tshark")
    done = subprocess.run(
        [program, "-n", "-r", path, "-T", "fields"]
        + [word for name in names for word in ("-e", name)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines]


def dissected(path: Path | str) -> list[dict[str, str]]:
    """Each frame as wirepath tells of it: number, stamp, direction, queue, verdict, …"""
    return tshark(
        path,
        "frame.number",
        "frame.time_epoch",
        "frame.len",
        "frame.cap_len",
        "frame.packet_flags_direction",
        "frame.interface_queue",
        "frame.interface_name",
        "frame.verdict.ebpf_xdp",
        "frame.drop_count",
        "frame.packet_id",
        "frame.comment",
        "udp.payload",
        "eth.dst",
    )


def comments(path: Path | str) -> list[str]:
    """Comments of the file itself, as capinfos shows them."""
    done = subprocess.run(
        [_program("capinfos"), "-k", "-F", path],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return re.findall(r"^Capture comment:\s+(.*)$", done.stdout, re.MULTILINE)


def nanoseconds(epoch: str) -> int:
    """``1700000000.123456789`` as whole nanoseconds."""
    seconds, _, fraction = epoch.partition(".")
    return int(seconds) * 10**9 + int(fraction.ljust(9, "0"))


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(f"{name}, the second opinion on captures, is not installed (apt install tshark)")
    return found
