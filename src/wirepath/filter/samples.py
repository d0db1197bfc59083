"""Samples as pcapng (draft-ietf-opsawg-pcapng), each packet with its rule as a comment."""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import PortError
from .engine import Sample

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_COMMENT, _TSRESOL = 1, 9
_ETHERNET = 1


class SampleWriter:
    """Writes samples into a file as they come. Raises PortError where it cannot be written."""

    def __init__(self, path: str | Path) -> None:
        try:
            self._file = Path(path).open("wb")  # noqa: SIM115 -- closed by close()
        except OSError as error:
            raise PortError(error.errno, f"{path} cannot be written: {error.strerror}") from None
        self._file.write(_block(_SECTION, struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1)))
        nanoseconds = _option(_TSRESOL, b"\x09") + _option(0, b"")
        self._file.write(_block(_INTERFACE, struct.pack("=HHI", _ETHERNET, 0, 0) + nanoseconds))
        self.written = 0

    def write(self, sample: Sample, offset_ns: int = 0) -> None:
        """offset_ns: from the sample's clock to the Unix epoch."""
        time = sample.time + offset_ns
        said = f"{sample.rule}: {'dropped' if sample.dropped else 'passed'}"
        body = struct.pack(
            "=IIIII", 0, time >> 32, time & 0xFFFFFFFF, len(sample.data), sample.length
        )
        body += _padded(sample.data) + _option(_COMMENT, said.encode()) + _option(0, b"")
        self._file.write(_block(_PACKET, body))
        self.written += 1

    def close(self) -> None:
        """What was written is in the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


def _block(kind: int, body: bytes) -> bytes:
    total = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + total + body + total
