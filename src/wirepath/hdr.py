"""Histograms in the formats of HdrHistogram: interval logs and percentile tables.

:class:`wirepath.Histogram` has the very bucket layout of an HdrHistogram with two significant
digits from 1 ns to 2^34 - 1 ns, so counts go over one to one. Source of the formats: the
HdrHistogram project's V2 encoding (ZigZag LEB128 counts) and log format 1.3.
"""

from __future__ import annotations

import base64
import os
import struct
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ._core import Histogram
from .errors import ConfigError

_COOKIE = 0x1C849303 | 0x10  # V2, ZigZag words
_COMPRESSED_COOKIE = 0x1C849304 | 0x10
_DIGITS = 2
_LOWEST, _HIGHEST = 1, (1 << 34) - 1
_NS_PER_MS = 1e6


def _zigzag(value: int) -> bytes:
    """LEB128 of the ZigZag value; a ninth byte holds eight bits, so 64 bits fit in nine."""
    word = (value << 1) ^ (value >> 63)
    word &= (1 << 64) - 1
    out = bytearray()
    for _ in range(8):
        if word < 0x80:
            out.append(word)
            return bytes(out)
        out.append(word & 0x7F | 0x80)
        word >>= 7
    out.append(word)
    return bytes(out)


def encode(histogram: Histogram) -> bytes:
    """The V2 encoding, uncompressed."""
    payload = bytearray()
    zeros = 0
    counts = histogram.counts()
    filled = counts.nonzero()[0]
    end = int(filled[-1]) + 1 if len(filled) else 0
    for count in counts[:end].tolist():
        if count == 0:
            zeros += 1
            continue
        if zeros:
            payload += _zigzag(-zeros)
            zeros = 0
        payload += _zigzag(count)
    head = struct.pack(">iiiiqqd", _COOKIE, len(payload), 0, _DIGITS, _LOWEST, _HIGHEST, 1.0)
    return head + bytes(payload)


def decode(data: bytes) -> Histogram:
    """The inverse of :func:`encode`: the same counts in the same buckets, each value as the lowest
    of its bucket. Raises :class:`ConfigError` for what is no such encoding."""
    try:
        cookie, length, offset, digits, lowest, highest, _ = struct.unpack_from(">iiiiqqd", data)
    except struct.error:
        raise ConfigError("the histogram is cut short") from None
    fits = (cookie, offset, digits, lowest) == (_COOKIE, 0, _DIGITS, _LOWEST)
    if not fits or highest > _HIGHEST:
        raise ConfigError(
            "the histogram is none of wirepath's: not V2 with two digits from 1 ns to 17 s"
        )
    payload = data[40 : 40 + length]
    if len(payload) != length:
        raise ConfigError("the histogram is cut short")
    out, lows = Histogram(), Histogram.bucket_lows()
    at = index = 0
    while at < length:
        value, at = _unzigzag(payload, at)
        if value < 0:
            index -= value
            continue
        if index >= len(lows):
            raise ConfigError("the histogram has more buckets than there are")
        if value:
            out.record(int(lows[index]), value)
        index += 1
    return out


def _unzigzag(data: bytes, at: int) -> tuple[int, int]:
    """A value of :func:`_zigzag`, and where the next one begins."""
    word = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        if shift == 56:  # the ninth byte holds eight bits
            word |= byte << shift
        else:
            word |= (byte & 0x7F) << shift
        if byte < 0x80 or shift == 56:
            return (word >> 1) ^ -(word & 1), at
        shift += 7
    raise ConfigError("the histogram is cut short")


def decode_compressed(data: bytes) -> Histogram:
    """The inverse of :func:`encode_compressed`."""
    try:
        cookie, length = struct.unpack_from(">ii", data)
        inner = zlib.decompress(data[8 : 8 + length])
    except (struct.error, zlib.error):
        raise ConfigError("the histogram cannot be unpacked") from None
    if cookie != _COMPRESSED_COOKIE:
        raise ConfigError("the histogram is none of wirepath's: not compressed V2")
    return decode(inner)


def encode_compressed(histogram: Histogram) -> bytes:
    """The V2 encoding, compressed by zlib: what a log's lines hold in base64."""
    packed = zlib.compress(encode(histogram), 9)
    return struct.pack(">ii", _COMPRESSED_COOKIE, len(packed)) + packed


def log_text(histograms: Mapping[str, Histogram], start: float, seconds: float) -> str:
    """An interval log with one tagged line per histogram; values are ns, maxima in the log ms.

    start: seconds since the Unix epoch. Readers: HdrHistogram's log processor and plotter.
    """
    when = datetime.fromtimestamp(start, UTC).isoformat()
    lines = [
        "#[Histogram log format version 1.3]",
        f"#[StartTime: {start:.3f} (seconds since epoch), {when}]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    for tag, histogram in histograms.items():
        data = base64.b64encode(encode_compressed(histogram)).decode()
        top = histogram.max / _NS_PER_MS
        lines.append(f"Tag={tag},0.000,{seconds:.3f},{top:.3f},{data}")
    return "\n".join(lines) + "\n"


def percentile_text(histogram: Histogram, ticks_per_half: int = 5) -> str:
    """A percentile table (``.hgrm``): values in microseconds."""
    out = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    total = histogram.total
    if total:
        counts, lows = histogram.counts(), Histogram.bucket_lows()
        target, seen = 0.0, 0
        for i in counts.nonzero()[0].tolist():
            seen += int(counts[i])
            reached = seen / total
            if reached < target:
                continue
            # Highest value of the bucket, as HdrHistogram reports it.
            top = int(lows[i + 1]) - 1 if i + 1 < len(lows) else _HIGHEST
            value = min(top, histogram.max) / 1e3
            if seen == total:
                out.append(f"{value:12.3f} {1:14.12f} {seen:10d}")
                break
            out.append(f"{value:12.3f} {reached:14.12f} {seen:10d} {1 / (1 - reached):14.2f}")
            # Steps halve with each half of the remaining distance to 100 %.
            left = 1 - reached
            step = 1.0
            while step > left:
                step /= 2
            target = reached + step / ticks_per_half / 2
    out.append(
        f"#[Mean    = {histogram.mean / 1e3:12.3f}, Max     = {histogram.max / 1e3:12.3f}]\n"
        f"#[Total count    = {total:12d}, Buckets = {27:12d}, SubBuckets = {256:12d}]"
    )
    return "\n".join(out) + "\n"


def check_path(path: Path) -> None:
    """Raises :class:`ConfigError` where :func:`write` could not: before a run, not after it."""
    if not path.parent.is_dir():
        raise ConfigError(f"{path} cannot be written: there is no directory {path.parent}")
    if path.is_dir():
        raise ConfigError(f"{path} cannot be written: it is a directory")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f"{path} cannot be written: permission denied")


def write(
    path: str | Path, histograms: Mapping[str, Histogram], *, start: float, seconds: float
) -> list[Path]:
    """Write histograms: ``*.hgrm`` a percentile table each (``x.hgrm`` becomes ``x.NAME.hgrm``),
    else one interval log. Returns the files written."""
    path = Path(path)
    check_path(path)
    if path.suffix != ".hgrm":
        path.write_text(log_text(histograms, start, seconds), encoding="utf-8")
        return [path]
    out = []
    for name, histogram in histograms.items():
        each = path.with_name(f"{path.stem}.{name}.hgrm")
        each.write_text(percentile_text(histogram), encoding="utf-8")
        out.append(each)
    return out
