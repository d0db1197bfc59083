"""How a capture is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le
from pydantic import Field

from ..settings import Must, Settings, missing, problem

#: Longest frame that is kept, bytes (libpcap's limit).
MAX_SNAPLEN = 262_144


class CaptureConfig(Settings):
    """What of each frame is kept, where it goes, and when the capture ends."""

    table: ClassVar[str] = "capture"

    file: Annotated[
        str,
        Must("the name of a file, or - for standard output"),
        Field(min_length=1, description="file to write; - is standard output"),
    ]
    filter: str = Field("", description="frames to keep, in tcpdump's syntax (pcap-filter(7))")
    snaplen: Annotated[
        int, Ge(0), Le(MAX_SNAPLEN), Field(description="bytes of each frame to keep; 0 is all")
    ] = 0
    count: Annotated[
        int, Ge(0), Le(2**62), Field(description="end after this many frames; 0 is never")
    ] = 0
    duration: Annotated[
        float | None,
        Must("a number of seconds above 0, at most 1e9"),
        Field(gt=0, le=1e9, description="end after this long, seconds"),
    ] = None
    ring_files: Annotated[
        int, Ge(0), Le(1_000_000), Field(description="files to keep, the oldest go; 0 is all")
    ] = 0
    file_size: Annotated[
        float | None,
        Must("a number of megabytes from 0.001 to 1e6"),
        Field(ge=0.001, le=1e6, description="begin a new file after so many megabytes (10^6)"),
    ] = None
    file_duration: Annotated[
        float | None,
        Must("a number of seconds from 0.1 to 1e9"),
        Field(ge=0.1, le=1e9, description="begin a new file after so long, seconds"),
    ] = None
    buffer_size: Annotated[
        int,
        Must("a power of two from 1 to 1024, MiB"),
        Field(ge=1, le=1024, description="room for frames on the way here, MiB a queue"),
    ] = 8
    comment: str = Field("", description="what the file says of itself")

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        out = []
        size, duration = values.get("file_size"), values.get("file_duration")
        if values.get("ring_files") and size is None and duration is None:
            out.append(missing("file_size", "given with ring_files, or file_duration"))
        if values.get("file") == "-" and (size is not None or duration is not None):
            out.append(problem("file", "-", "a file where file_size or file_duration is given"))
        if (buffer := values.get("buffer_size", 8)) & (buffer - 1):
            out.append(problem("buffer_size", buffer, cls.must("buffer_size")))
        return out
