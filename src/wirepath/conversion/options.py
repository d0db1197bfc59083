"""What is converted into what."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from ..errors import ConfigError
from ..feed.iex import message_types as iex_types
from ..feed.itch50 import message_types as itch_types
from ..feed.pitch import message_types as pitch_types
from ..flows import flow_of
from ..settings import Must, Settings, missing, problem
from ..tables import PERIODS
from ..wire_dtype import dtype_of

_SUFFIXES = (".gz", ".pcap", ".pcapng", ".cap", ".itch", ".bin", ".txt")


def _flows(flows: tuple[str, ...]) -> tuple[str, ...]:
    for flow in flows:
        flow_of(flow)
    return flows


class ConvertConfig(Settings):
    """Options of :func:`wirepath.convert`.

    Raises :class:`~wirepath.errors.ConfigError` naming every unusable field, a line each.
    """

    table: ClassVar[str] = "convert"

    out: Annotated[
        str,
        Field(min_length=1, description="folder for the results, one folder a capture in it"),
        Must("the path of a folder"),
    ]
    to: Annotated[
        Literal["parquet", "arrow", "csv", "npy"],
        Field(description="parquet, arrow (IPC files), csv or npy"),
        Must("parquet, arrow, csv or npy"),
    ] = "parquet"
    protocol: Annotated[
        Literal["itch", "iex", "pitch", "cme", "raw"],
        Field(
            description="itch (ITCH 5.0, over MoldUDP64 or in a day file), iex (TOPS, DEEP, DEEP+),"
            " pitch (Cboe), cme (MDP 3.0) or raw (rows of your dtype)"
        ),
        Must("itch, iex, pitch, cme or raw"),
    ] = "itch"
    flows: Annotated[
        tuple[str, ...],
        Field(description="GROUP:PORT of the channel's lines; all UDP when none is given"),
        AfterValidator(_flows),
        Must("GROUP:PORT each, such as 239.1.1.1:9001 or [ff15::1]:9001"),
    ] = ()
    session_date: Annotated[
        date | None,
        Field(
            strict=False,
            ge=date(1970, 1, 1),
            le=date(2261, 12, 31),
            description="trading day, which makes times of ITCH and PITCH Unix time",
        ),
        Must("a date such as 2024-01-31, from 1970-01-01 to 2261-12-31"),
    ] = None
    schema_file: Annotated[
        str | None,
        Field(min_length=1, description="CME's template file (cme)"),
        Must("the path of an SBE template file (XML), with cme only"),
    ] = None
    raw: Annotated[
        bool,
        Field(description="every field of each message type as it is on the wire, not records"),
        Must("true or false"),
    ] = False
    types: Annotated[
        tuple[str, ...],
        Field(description="message types to keep: letters (itch, iex), numbers (pitch, cme)"),
        Must("message types of the protocol"),
    ] = ()
    instruments: Annotated[
        tuple[str, ...],
        Field(description="instruments to keep: numbers of the venue, or symbols"),
        Must("numbers or symbols"),
    ] = ()
    by_type: Annotated[
        bool,
        Field(description="a folder type=… for each message type; records may also be together"),
        Must("true; or false, without raw"),
    ] = True
    period: Annotated[
        str,
        Field(
            pattern=f"^({'|'.join(PERIODS)})$",
            description="of event time that a file holds, UTC: minute, hour, day or none",
        ),
        Must(f"one of {', '.join(PERIODS)}"),
    ] = "hour"
    compression: Annotated[
        Literal["zstd", "snappy", "lz4", "gzip", "none"],
        Field(description="of Parquet files"),
        Must("zstd, snappy, lz4, gzip or none"),
    ] = "zstd"
    group_rows: Annotated[
        int,
        Field(ge=1, le=1 << 24, description="most rows of a row group"),
        Must("a whole number from 1 to 16777216"),
    ] = 131_072
    dtype: Annotated[
        str | None,
        Field(description="of a row, NAME:TYPE,… such as price:<u4,size:<u2 (raw)"),
        Must("NAME:TYPE fields separated by commas, types as NumPy's, with protocol raw only"),
    ] = None
    header: Annotated[
        str,
        Field(description="before the rows of a datagram: fields as in dtype, or a length (raw)"),
        Must("a number of bytes, or NAME:TYPE fields separated by commas"),
    ] = "0"
    sequence: Annotated[
        str | None,
        Field(description="field that numbers the rows (raw)"),
        Must("the name of an unsigned field of header or dtype"),
    ] = None
    partial: Annotated[
        bool,
        Field(description="keep what could be read of a broken capture"),
        Must("true or false"),
    ] = False
    force: Annotated[
        bool,
        Field(description="replace results that are there"),
        Must("true or false"),
    ] = False

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        protocol = values.get("protocol")
        if protocol == "cme" and values.get("schema_file", "") is None:
            must = f"{cls.must('schema_file')}: cme needs it (--schema XML)"
            out.append(missing("schema_file", must))
        if protocol not in (None, "cme") and values.get("schema_file") is not None:
            out.append(problem("schema_file", values["schema_file"], cls.must("schema_file")))
        if protocol == "raw" and values.get("dtype", "") is None:
            out.append(missing("dtype", f"{cls.must('dtype')}: raw needs it"))
        for name in ("dtype", "sequence"):
            if protocol not in (None, "raw") and values.get(name) is not None:
                out.append(problem(name, values[name], "left out: it is for protocol raw"))
        if values.get("raw") and not values.get("by_type", True):
            out.append(problem("by_type", False, "true with raw: each type has its own columns"))
        if values.get("raw") and values.get("instruments") and protocol in ("pitch", "cme"):
            must = f"left out with raw rows of {protocol}, which do not all name their instrument"
            out.append(problem("instruments", ",".join(values["instruments"]), must))
        return out + (_raw_problems(values) if protocol == "raw" else _type_problems(values))


def _type_problems(values: Mapping[str, Any]) -> list[str]:
    out = []
    for each in values.get("types") or ():
        try:
            type_number(str(values.get("protocol")), each)
        except ConfigError as error:
            out.append(str(error))
    return out


def _raw_problems(values: Mapping[str, Any]) -> list[str]:
    out = [
        problem(name, values[name], "left out with protocol raw, whose rows are yours")
        for name in ("raw", "types", "instruments")
        if values.get(name)
    ]
    for name in ("dtype", "header"):
        if values.get(name) is None:
            continue
        try:
            dtype_of(name, values[name])
        except ConfigError as error:
            out.append(str(error))
    return out


def type_number(protocol: str, text: str) -> int:
    """The number of a message type as users write it. Raises ConfigError."""
    letters = {"itch": itch_types, "iex": iex_types}.get(protocol)
    if letters is not None:
        if text not in letters():
            raise ConfigError(problem("types", text, f"one of {', '.join(letters())}"))
        return ord(text)
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if protocol == "pitch" and number not in pitch_types():
        known = ", ".join(f"0x{t:02X}" for t in pitch_types())
        raise ConfigError(problem("types", text, f"one of {known}"))
    if not 0 <= number <= 0xFFFF:
        raise ConfigError(problem("types", text, "the id of a template, 0 to 65535"))
    return number


def name_of(capture: str) -> str:
    """Name of a capture's results: its file's, without what says which kind of file it is.

    Raises ConfigError for a path that names no file, such as ``..``.
    """
    name = Path(capture).name
    if not name.strip("."):
        raise ConfigError(problem("capture", capture, "the path of a file"))
    # A name of dots alone is that of a folder: "...pcap" stays whole.
    while (suffix := Path(name).suffix) in _SUFFIXES and Path(name).stem.strip("."):
        name = name[: -len(suffix)]
    return name
