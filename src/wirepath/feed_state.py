"""The file from which a feed goes on after a restart: session and next number of every unit."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ConfigError

_VERSION = 1


@dataclass(frozen=True)
class UnitState:
    """Where a sequence stands: the next number as counted here and as on the wire."""

    unit: int
    session: bytes
    next_sequence: int
    next_on_wire: int


@dataclass(frozen=True)
class ChannelState:
    """All units of a channel."""

    protocol: str
    units: tuple[UnitState, ...] = ()
    time: int = 0  # when it was so, ns since the Unix epoch
    requests: Mapping[int, int] = field(default_factory=dict)
    """Requests by hour since the Unix epoch, where the venue allows so many a day."""

    @classmethod
    def of(cls, snapshot: Mapping[str, Any], time: int) -> ChannelState:
        """As a snapshot of the channel has it."""
        units = tuple(
            UnitState(u["unit"], u["session"], u["next_sequence"], u["next_on_wire"])
            for u in snapshot["state"]
            if u["next_sequence"]
        )
        return cls(snapshot["protocol"], units, time, snapshot["recovery"]["requests_by_hour"])


States = dict[str, ChannelState]


def write(path: str | Path, states: Mapping[str, ChannelState]) -> None:
    """Replace the file, at once and whole: a crash leaves the old one or the new one.

    Raises OSError. The file is its owner's alone (0600).
    """
    path = Path(path)
    document = {
        "wirepath_feed_state": _VERSION,
        "channels": {
            name: {
                "protocol": state.protocol,
                "time": state.time,
                "units": [
                    {
                        "unit": u.unit,
                        "session": u.session.hex(),
                        "next_sequence": u.next_sequence,
                        "next_on_wire": u.next_on_wire,
                    }
                    for u in state.units
                ],
                "requests_by_hour": {str(hour): n for hour, n in state.requests.items()},
            }
            for name, state in states.items()
        },
    }
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(document, out, indent=1)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def _whole(value: int | str, bits: int) -> int:
    number = int(value)
    if not 0 <= number < 1 << bits:
        raise ValueError(f"{number} is not a whole number of {bits} bits")
    return number


def read(path: str | Path) -> States:
    """What the file says; nothing when there is none yet.

    Raises :class:`ConfigError`: it cannot be read, or is no such file.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"state file {path} cannot be read: {error}") from None
    try:
        document = json.loads(text)
        if document["wirepath_feed_state"] != _VERSION:
            raise ValueError(f"version {document['wirepath_feed_state']}")
        return {
            str(name): ChannelState(
                str(state["protocol"]),
                tuple(
                    UnitState(
                        _whole(u["unit"], 32),
                        bytes.fromhex(u["session"]),
                        _whole(u["next_sequence"], 64),
                        _whole(u["next_on_wire"], 64),
                    )
                    for u in state["units"]
                ),
                int(state["time"]),
                {
                    _whole(hour, 32): _whole(n, 32)
                    for hour, n in state.get("requests_by_hour", {}).items()
                },
            )
            for name, state in document["channels"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is no state file of a feed ({error!r}): name another file, or remove it to "
            "begin with the first packet"
        ) from None


def check_writable(path: str | Path) -> None:
    """Raises :class:`ConfigError` where the file cannot be replaced later."""
    folder = Path(path).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(
            f'state = "{path}" is not usable: it must be a file in a folder that can be written to'
        )
