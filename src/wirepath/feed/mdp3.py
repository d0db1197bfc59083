"""CME MDP 3.0: packets to normalised records, or to raw columns per template."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..dtypes import RECORD
from ..errors import ConfigError
from . import sbe_model as model
from .sbe import Buffer, SbeDecoder, lengths_of
from .sbe_schema import SbeSchema

if TYPE_CHECKING:
    from .._core import Batch

_MAGIC = 0x31454D43
_NONE = 0xFFFFFFFF
_ADMIN, _ENTRIES, _SNAPSHOT, _CLEAR, _STATUS = range(5)

ENTRY_AUX = np.dtype(
    [
        ("rpt_seq", "<u4"),
        ("level", "u1"),
        ("update_action", "u1"),
        ("entry_type", "S1"),
        ("reserved", "u1"),
    ]
)
"""What ``aux`` holds of a price level or statistic: RptSeq (tag 83), MDPriceLevel (1023),
MDUpdateAction (279) and MDEntryType (269)."""

# Members of the native map, in its order (src/native/feed/cme_map.h): names of the fields that
# feed it, the first that a template has.
_ROOT: tuple[tuple[str, ...], ...] = (
    ("TransactTime", "LastUpdateTime"),
    ("MatchEventIndicator",),
    ("SecurityID",),
    ("RptSeq",),
    ("LastMsgSeqNumProcessed",),
    ("TotNumReports",),
    ("CurrentChunk",),
    ("NoChunks",),
    ("SecurityTradingStatus", "MDSecurityTradingStatus"),
)
_ROOT_PRICE = ("MinPriceIncrement", "MDEntryPx")
_ROOT_AUX: tuple[tuple[tuple[str, ...], int], ...] = (  # with how many bytes may count
    (("Symbol", "SecurityGroup"), 8),
    (("HaltReason",), 1),
    (("SecurityTradingEvent",), 1),
)
_ENTRY_GROUPS = ("NoMDEntries", "NoRelatedSym")
_ENTRY_PRICE = ("MDEntryPx",)
_ENTRY: tuple[tuple[str, ...], ...] = (
    ("MDEntrySize", "MDDisplayQty", "OrderQty"),
    ("SecurityID",),
    ("RptSeq",),
    ("MDPriceLevel",),
    ("MDUpdateAction",),
    ("MDEntryType",),
    ("AggressorSide",),
    ("OrderID",),
    ("MDOrderPriority",),
    ("MDTradeEntryID",),
)
_ORDER_GROUPS = ("NoOrderIDEntries",)
_ORDER: tuple[tuple[str, ...], ...] = (
    ("OrderID",),
    ("MDOrderPriority",),
    ("MDDisplayQty",),
    ("ReferenceID",),
    ("OrderUpdateAction",),
)


def _field(block: model.Block | None, names: tuple[str, ...]) -> model.Field | None:
    fields = {f.name: f for f in block.fields} if block is not None else {}
    return next((fields[name] for name in names if name in fields), None)


def _wide(value: int) -> tuple[int, int]:
    value &= (1 << 64) - 1
    return value & 0xFFFFFFFF, value >> 32


def _reference(field: model.Field | None, most: int = 8) -> list[int]:
    """A field as the words of the native map; one that is not a number of up to 8 bytes, or the
    beginning of a text, is left out."""
    nothing = [0, 0, 0, 0, 0, 0, 0]
    if field is None:
        return nothing
    kind, at = field.type, field.offset
    if isinstance(kind, model.Composite):
        encoded = [(offset, k) for _, offset, k in kind.members if k.size != 0]
        if len(encoded) != 1 or not isinstance(encoded[0][1], model.Encoded):
            return nothing
        at, kind = at + encoded[0][0], encoded[0][1]
    if kind.constant is not None:
        value = kind.constant
        number = value[0] if isinstance(value, bytes) else int(value)
        return [0, 0, 1, 0, 0, *_wide(number)]
    name = kind.primitive.name
    if name in ("float", "double") or (name != "char" and kind.length != 1):
        return nothing
    signed = name.startswith("int")
    null = _wide(int(kind.null)) if kind.optional else (0, 0)
    return [min(kind.size, most), signed, kind.optional, field.since, at, *null]


def _scale(field: model.Field | None) -> tuple[int, int]:
    """What a decimal's mantissa is multiplied with to be in units of 1e-9."""
    exponent = 0
    if field is not None and isinstance(field.type, model.Composite):
        member = field.type.member("exponent")
        constant = member[1].constant if member and isinstance(member[1], model.Encoded) else None
        if not isinstance(constant, int) or not -9 <= constant <= 9:
            raise ConfigError(
                f"{field.name}: its exponent is {constant!r}; records hold prices of a constant "
                "exponent from -9 to 9: use the raw columns of this schema (SbeDecoder)"
            )
        exponent = constant
    return _wide(10 ** (9 + exponent))


def _kind(message: model.MessageType, entries: model.Group | None) -> int:
    meaning = message.attributes.get("semanticType", "")  # FIX MsgType
    if message.name.startswith("ChannelReset"):
        return _CLEAR
    if meaning in ("f", "d"):
        return _STATUS
    if entries is None:
        return _ADMIN
    if meaning == "W":
        return _SNAPSHOT
    return _ENTRIES if _field(entries.block, ("SecurityID",)) else _ADMIN


def _map_words(schema: SbeSchema) -> bytes:
    words = array("I", [_MAGIC, len(schema.messages)])

    def group(message: model.MessageType, names: tuple[str, ...]) -> model.Group | None:
        found = next((g for g in message.block.groups if g.name in names), None)
        plain = found is not None and not found.block.groups and not found.block.data
        return found if plain else None

    for name in schema.messages:
        message = schema.message_type(name)
        entries, orders = group(message, _ENTRY_GROUPS), group(message, _ORDER_GROUPS)
        if _field(orders.block if orders else None, ("ReferenceID",)) is None:
            orders = None  # who took part in a trade: no change of the book
        words.append(_kind(message, entries))
        root = message.block
        for names in _ROOT:
            words.extend(_reference(_field(root, names)))
        price = _field(root, _ROOT_PRICE)
        words.extend(_reference(price))
        words.extend(_scale(price))
        for names, most in _ROOT_AUX:
            words.extend(_reference(_field(root, names), most))
        block = entries.block if entries else None
        words.append(schema.block_index(name, entries.name) if entries else _NONE)
        price = _field(block, _ENTRY_PRICE)
        words.extend(_reference(price))
        for names in _ENTRY:
            words.extend(_reference(_field(block, names)))
        words.extend(_scale(price))
        words.append(schema.block_index(name, orders.name) if orders else _NONE)
        for names in _ORDER:
            words.extend(_reference(_field(orders.block if orders else None, names)))
    return words.tobytes()


def native_schema(schema: SbeSchema) -> tuple[_core.SbePlan, bytes]:
    """A schema as the native decoder of CME's messages takes it."""
    return schema.plan, _map_words(schema)


def _times(recv_times: ArrayLike | None) -> NDArray[np.int64]:
    if recv_times is None:
        return np.empty(0, "<i8")
    return np.ascontiguousarray(recv_times, dtype="<i8")


def _one(payload: Buffer) -> list[int]:
    return [payload.nbytes if isinstance(payload, memoryview | np.ndarray) else len(payload)]


class Mdp3:
    """Decoder of CME MDP 3.0 packets to normalised records (dtype :data:`wirepath.RECORD`).

    schema: CME's template file, any edition; fields are found by name. channel: goes into every
    record.

    One record for each entry of a message, see docs/sbe.md for what goes where. ``seq`` is the
    packet's number, the same for all records of a packet. The last record of a message that ends
    an event has the flag ``END_OF_EVENT``; publish a book there and not before.
    """

    def __init__(self, schema: SbeSchema, channel: int = 0) -> None:
        if not 0 <= channel <= 0xFFFF:
            raise ConfigError(f"channel = {channel} is not usable: it must be from 0 to 65535")
        self.schema = schema
        self._native = _core.CmeMdp3(*native_schema(schema), channel)

    def packet(self, payload: Buffer, recv_time: int = 0) -> NDArray[np.void]:
        """The records of one UDP payload."""
        return self.packets(payload, _one(payload), [recv_time])

    def packets(
        self, data: Buffer, lengths: ArrayLike, recv_times: ArrayLike | None = None
    ) -> NDArray[np.void]:
        """The records of UDP payloads that stand behind each other in ``data``; recv_times: ns
        since the Unix epoch, one each, or None. The GIL is released.

        Raises ConfigError when the lengths are more than there is of data.
        """
        out: NDArray[np.void] = self._native.packets(data, lengths_of(lengths), _times(recv_times))
        return out

    def decode_into(
        self,
        data: Buffer,
        lengths: ArrayLike,
        out: NDArray[np.void],
        recv_times: ArrayLike | None = None,
    ) -> tuple[int, int]:
        """As :meth:`packets`, into an array; returns (records written, packets taken in).

        Stops before a packet that might not fit, which is one with more bytes than ``out`` has
        room for records; nothing is allocated for them. Raises ConfigError too for an array of
        another dtype than RECORD.
        """
        if out.dtype != RECORD:
            raise ConfigError(f"out has dtype {out.dtype}; it must be wirepath.RECORD")
        return self._native.packets_into(data, lengths_of(lengths), _times(recv_times), out)

    def batch(self, batch: Batch) -> NDArray[np.void]:
        """The records of every UDP frame of a batch; receive times are the frames'."""
        out: NDArray[np.void] = self._native.batch(batch)
        return out

    def message(self, message: Buffer, seq: int = 0, recv_time: int = 0) -> NDArray[np.void]:
        """The records of one message, which begins with the SBE header."""
        out: NDArray[np.void] = self._native.message(message, seq, recv_time)
        return out

    @property
    def counters(self) -> dict[str, Any]:
        """Those of :class:`SbeDecoder`, and ``records``; ``packets``, ``malformed_packets`` (their
        messages do not add up, skipped whole) and ``not_udp`` frames; ``no_reference`` (orders of
        an entry that the message does not have, skipped)."""
        return self._native.counters


class Mdp3Columns(SbeDecoder):
    """Raw columns of CME packets: ``seq`` is the packet's number, ``send_time`` its sending
    time."""

    def __init__(self, schema: SbeSchema, templates: Iterable[str | int] = ()) -> None:
        super().__init__(schema, templates)

    def append_packet(self, payload: Buffer, recv_time: int = 0) -> None:
        """Add the messages of one UDP payload."""
        self.append_packets(payload, _one(payload), [recv_time])

    def append_packets(
        self, data: Buffer, lengths: ArrayLike, recv_times: ArrayLike | None = None
    ) -> None:
        """Add those of UDP payloads that stand behind each other; as :meth:`Mdp3.packets`."""
        self._native.append_packets(data, lengths_of(lengths), _times(recv_times))

    def append_batch(self, batch: Batch) -> None:
        """Add those of every UDP frame of a batch."""
        self._native.append_batch(batch)


def entry_aux(records: NDArray[np.void]) -> NDArray[np.void]:
    """``aux`` of records of price levels and statistics, taken apart (dtype :data:`ENTRY_AUX`)."""
    return np.ascontiguousarray(records["aux"]).view(ENTRY_AUX)
