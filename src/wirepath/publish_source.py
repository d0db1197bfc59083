"""What a publisher sends, found out from the file itself."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _core
from ._core import Steering
from .errors import ConfigError
from .ports import open as open_port

# First bytes of pcap (either byte order, µs or ns) and of pcapng (draft-ietf-opsawg-pcapng).
_CAPTURES = (
    b"\xa1\xb2\xc3\xd4",
    b"\xd4\xc3\xb2\xa1",
    b"\xa1\xb2\x3c\x4d",
    b"\x4d\x3c\xb2\xa1",
    b"\x0a\x0d\x0d\x0a",
)
_GZIP = b"\x1f\x8b"
_MOLD_HEADER = 20


@dataclass(frozen=True)
class Source:
    """A native source and what is known of it: ``kind``, and for a capture ``packets`` to be sent
    and ``skipped`` (frames of other flows, without UDP, or too short for MoldUDP64)."""

    native: _core.MessageSource | _core.PacketList
    kind: str
    about: dict[str, Any]
    messages: int | None = None
    packets: int | None = None


def generated(seed: int, messages: int, symbols: int, burst: int) -> Source:
    """A generated day."""
    native = _core.generated_source(seed=seed, messages=messages, symbols=symbols, burst=burst)
    about = {"seed": seed, "messages": messages, "symbols": symbols}
    return Source(native, "generated", about, messages=messages)


def kind_of(path: str) -> tuple[str, bool]:
    """``"capture"`` or ``"itch file"``, and whether it is compressed. Raises :class:`ConfigError`
    when it is neither or cannot be read."""
    try:
        with Path(path).open("rb") as file:
            begin = file.read(4)
        compressed = begin.startswith(_GZIP)
        if compressed:
            with gzip.open(path, "rb") as unpacked:
                begin = unpacked.read(4)
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path} cannot be read: {why} (a file, or the word generated)") from None
    if begin.startswith(_CAPTURES):
        return "capture", compressed
    if _is_itch(begin):
        return "itch file", compressed
    raise ConfigError(
        f"{path} is neither a capture (pcap, pcapng) nor a file of length-prefixed ITCH 5.0 "
        f"messages: look at it with: file {path}"
    )


def from_file(path: str, steer: Steering | None) -> Source:
    """An ITCH file or a capture, compressed by gzip or not.

    steer: the flow to take of a capture, None = all of UDP. Raises :class:`ConfigError` when the
    file is neither, holds nothing to send, or cannot be read.
    """
    kind, compressed = kind_of(path)
    if kind == "capture":
        return _capture(path, steer)
    if steer is not None:
        raise ConfigError(f"flow is not usable with {path}: only a capture holds several flows")
    if not compressed:
        return Source(_core.itch_file_source(path), kind, {"path": path})
    with tempfile.NamedTemporaryFile(prefix="wirepath-", suffix=".itch") as target:
        try:
            with gzip.open(path, "rb") as unpacked:
                shutil.copyfileobj(unpacked, target, 1 << 20)
            target.flush()
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigError(f"{path} cannot be unpacked: {error}") from None
        # Native code maps it: the mapping outlives the file's name.
        return Source(_core.itch_file_source(target.name), kind, {"path": path})


def _is_itch(begin: bytes) -> bool:
    layouts = _core.itch50_layouts()
    return len(begin) >= 3 and chr(begin[2]) in layouts and int.from_bytes(begin[:2], "big") <= 64


def _capture(path: str, steer: Steering | None) -> Source:
    packets = _core.PacketList()
    skipped = 0
    with open_port(
        f"pcap:{path}", steer=steer if steer is not None else _core.everything(), batch_size=256
    ) as port:
        for batch in port:
            headers = batch.headers()
            stamps = batch.timestamps
            for i in range(len(batch)):
                start = int(headers["payload_offset"][i])
                length = int(headers["payload_length"][i])
                if not headers["layers"][i] & 16 or length < _MOLD_HEADER:
                    skipped += 1
                    continue
                packets.add(int(stamps[i]), batch[i][start : start + length].tobytes())
        skipped += port.stats()["drop.filtered"]
    if not len(packets):
        raise ConfigError(f"{path} holds no MoldUDP64 packet to send ({skipped} frames skipped)")
    about = {"path": path, "packets": len(packets), "skipped": skipped}
    return Source(packets, "capture", about, packets=len(packets))
