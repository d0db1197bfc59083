"""Messages whose layout the user declares: ``[[channel.message]]``, and their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from . import _core
from .errors import ConfigError
from .settings import Must, Settings, problem
from .wire_dtype import dtype_of

#: In front of the declared fields of every row. seq: number of the message in its sequence, 0 where
#: it has none. recv_time: when its packet came, send_time: when the venue sent that, ns since the
#: Unix epoch. flags: :class:`wirepath.RecordFlag`.
ROW_FIELDS = (("seq", "<u8"), ("recv_time", "<i8"), ("send_time", "<i8"), ("flags", "u1"))
_MOST = 1400  # bytes of the longest packet


class MessageConfig(Settings):
    """``[[channel.message]]``: the layout of a message type, behind the venue's size and type."""

    table: ClassVar[str] = "message"

    type: Annotated[
        int,
        Field(ge=0, le=65_535, description="number of the message type"),
        Must("a whole number from 0 to 65535"),
    ]
    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_.-]{0,64}$",
            description="what its rows are called; empty: the number",
        ),
        Must("at most 64 letters, digits, dots, dashes or underscores"),
    ] = ""
    dtype: Annotated[
        str,
        Field(
            min_length=1,
            description="its fields, NAME:TYPE,… such as symbol:<u4,price:<u4, those that a newer "
            "version has behind them may be left out",
        ),
        Must("NAME:TYPE fields separated by commas, such as symbol:<u4,price:<u4"),
    ]
    instrument: Annotated[
        str,
        Field(
            max_length=64, description="field of type <u4 that numbers the instrument; empty: none"
        ),
        Must("the name of a field of dtype, of type <u4"),
    ] = ""

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> list[str]:
        text = values.get("dtype")
        if not text:
            return []
        try:
            fields = dtype_of("dtype", text)
        except ConfigError as error:
            return [str(error)]
        must = cls.must("dtype")
        if fields.names is None:
            return [problem("dtype", text, must)]
        out = []
        if fields.itemsize > _MOST:
            out.append(problem("dtype", text, f"of at most {_MOST} bytes, not {fields.itemsize}"))
        out += [
            problem("dtype", text, f"without a field {name}, which every row has already")
            for name, _ in ROW_FIELDS
            if name in fields.names
        ]
        named = values.get("instrument")
        if named and (named not in fields.names or fields[named] != np.dtype("<u4")):
            have = ", ".join(n for n in fields.names if fields[n] == np.dtype("<u4"))
            out.append(
                problem("instrument", named, f"one of the fields of type <u4: {have or 'none'}")
            )
        return out

    @property
    def label(self) -> str:
        """What its rows are called."""
        return self.name or str(self.type)

    @property
    def fields(self) -> np.dtype[Any]:
        """The declared part of a row."""
        return dtype_of("dtype", self.dtype)

    @property
    def row(self) -> np.dtype[np.void]:
        """A whole row: ``ROW_FIELDS``, then the declared fields."""
        fields = self.fields
        names = fields.names or ()
        return np.dtype([*ROW_FIELDS, *((name, fields[name]) for name in names)])

    @property
    def native(self) -> tuple[int, int, int]:
        """Type, bytes, and offset of the instrument or -1."""
        fields = self.fields
        at = fields.fields[self.instrument][1] if self.instrument and fields.fields else -1
        return self.type, fields.itemsize, int(at)


def declared_problems(messages: Sequence[MessageConfig]) -> list[str]:
    """What is wrong between the messages of a channel."""
    out = []
    for field in ("type", "label"):
        values = [getattr(each, field) for each in messages]
        shown = "type" if field == "type" else "name"
        out += [
            problem(f"message[{i}].{shown}", value, "another one than the other messages'")
            for i, value in enumerate(values)
            if value in values[:i]
        ]
    return out


class Rows:
    """The rows of one channel's declared messages, taken from its native channel."""

    def __init__(self, messages: Sequence[MessageConfig], channel: _core.FeedChannel) -> None:
        self._kinds = {each.type: (each.label, each.row) for each in messages}
        self._channel = channel

    def take(self) -> dict[str, NDArray[np.void]]:
        """What came since the last call, by name; types of which nothing came are left out."""
        out = {}
        for number, packed in self._channel.take_rows().items():
            name, row = self._kinds[number]
            out[name] = np.frombuffer(packed, row)
        return out


__all__ = ["ROW_FIELDS", "MessageConfig", "Rows", "declared_problems"]
