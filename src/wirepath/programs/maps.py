"""The maps of a packet program, alike for programs in the kernel and native ones."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, WirepathError
from . import values


class MapOwner(Protocol):
    """What ``_core.ProgramInstance`` and ``_programs.KernelProgram`` have alike."""

    @property
    def maps(self) -> list[dict[str, Any]]: ...
    def get(self, map: str, key: bytes) -> bytes | None: ...
    def put(self, map: str, key: bytes, value: bytes, how: int = 0) -> int: ...
    def remove(self, map: str, key: bytes) -> int: ...
    def load(self, map: str, keys: Any, values: Any, how: int = 0) -> tuple[int, int]: ...  # noqa: ANN401
    def dump(self, map: str) -> tuple[bytes, bytes]: ...
    def size(self, map: str) -> int: ...
    def clear(self, map: str) -> None: ...
    def read_ring(self, map: str, most: int = 1024) -> list[bytes]: ...


class MapFull(WirepathError):
    """A map has no room for another entry; the message says how many it takes."""


class Map(MutableMapping[Any, Any]):
    """One map: ``map[key]``, ``map[key] = value``, ``del``, ``in``, ``len``, ``items()``; in bulk
    :meth:`load` and :meth:`arrays`.

    ``key_dtype`` and ``value_dtype`` are the C types. Keys and values are numbers, or for structs
    mappings of fields, sequences, NumPy scalars or bytes. An entry of a per-CPU map has ``slots``
    values: reading gives an array of them, writing takes one value for all or such an array;
    :meth:`sum` adds them up.
    """

    def __init__(
        self,
        owner: MapOwner,
        shape: Mapping[str, Any],
        key: np.dtype[Any] | None,
        value: np.dtype[Any] | None,
    ) -> None:
        self._owner = owner
        self.name: str = shape["name"]
        self.kind: str = shape["kind"]
        self.max_entries: int = shape["max_entries"]
        self.slots: int = shape["slots"]
        self._stride: int = shape["value_stride"] if self.slots > 1 else shape["value_size"]
        self.key_dtype = _fitting(key, shape["key_size"])
        self.value_dtype = _fitting(value, shape["value_size"])

    def __getitem__(self, key: object) -> Any:  # noqa: ANN401
        found = self._owner.get(self.name, self._key(key))
        if found is None:
            raise KeyError(key)
        seen = self._values(found)[0]
        return values.plain(seen) if self.slots == 1 else seen

    def __setitem__(self, key: object, value: object) -> None:
        self._check(self._owner.put(self.name, self._key(key), self._value(value)), key)

    def add(self, key: object, value: object) -> bool:
        """A new entry; False where the key is there already, whose value stays."""
        failed = self._owner.put(self.name, self._key(key), self._value(value), 1)
        if failed == -errno.EEXIST:
            return False
        self._check(failed, key)
        return True

    def __delitem__(self, key: object) -> None:
        failed = self._owner.remove(self.name, self._key(key))
        if failed == -errno.ENOENT:
            raise KeyError(key)
        self._check(failed, key)

    def __contains__(self, key: object) -> bool:
        return self._owner.get(self.name, self._key(key)) is not None

    def __len__(self) -> int:
        return self._owner.size(self.name)

    def __iter__(self) -> Iterator[Any]:
        return (values.plain(k) for k in self.arrays()[0])

    def clear(self) -> None:
        """No entries any more; of an array: zeros."""
        self._owner.clear(self.name)

    def arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Every entry at once: keys ``(n,)``, values ``(n,)``, of a per-CPU map ``(n, slots)``."""
        keys, found = self._owner.dump(self.name)
        return np.frombuffer(keys, self.key_dtype), self._values(found)

    def load(self, keys: object, new: object) -> None:
        """Many entries at once, from arrays of :attr:`key_dtype` and :attr:`value_dtype`; the
        values of a per-CPU map as ``(n, slots)``, or ``(n,)`` for the same in every slot.

        Raises :class:`MapFull`, with what was loaded before left in place.
        """
        k = values.array_of(keys, self.key_dtype, f"keys of map {self.name}")
        v = values.array_of(new, self.value_dtype, f"values of map {self.name}")
        if v.ndim == 0:
            v = np.broadcast_to(v, k.shape).copy()
        if len(k) != len(v):
            raise ConfigError(f"map {self.name}: {len(k)} keys and {len(v)} values do not match")
        raw: Any = v
        if self.slots > 1:
            spread = np.zeros((len(k), self.slots, self._stride), np.uint8)
            each = v[:, None] if v.ndim == 1 else v
            width = self.value_dtype.itemsize
            spread[:, :, :width] = each.view(np.uint8).reshape(len(k), -1, width)
            raw = spread
        done, failed = self._owner.load(self.name, k.view(np.uint8), raw.view(np.uint8))
        if failed:
            self._check(failed, k[done])

    def sum(self, key: object) -> Any:  # noqa: ANN401
        """The values of all slots added up: a number, or for a struct a dict of its fields."""
        found = np.atleast_1d(self[key])
        return add_up(found)

    def read(self, most: int = 1024) -> list[bytes]:
        """Of a ring: the records written since, oldest first."""
        return self._owner.read_ring(self.name, most)

    def _key(self, key: object) -> bytes:
        return values.pack(key, self.key_dtype, f"key of map {self.name}")

    def _value(self, value: object) -> bytes:
        field = f"value of map {self.name}"
        if self.slots == 1:
            return values.pack(value, self.value_dtype, field)
        each: list[Any] = [value] * self.slots
        if isinstance(value, (list, np.ndarray)) and len(value) == self.slots:
            each = list(value)
        pad = b"\0" * (self._stride - self.value_dtype.itemsize)
        return b"".join(values.pack(v, self.value_dtype, field) + pad for v in each)

    def _values(self, raw: bytes) -> NDArray[Any]:
        if self.slots == 1:
            return np.frombuffer(raw, self.value_dtype)
        width = self.value_dtype.itemsize
        wide = np.frombuffer(raw, np.uint8).reshape(-1, self.slots, self._stride)
        each = np.ascontiguousarray(wide[:, :, :width])
        return each.view(self.value_dtype).reshape(-1, self.slots)

    def _check(self, failed: int, key: object) -> None:
        if failed == 0:
            return
        if failed in (-errno.E2BIG, -errno.ENOSPC) and not self.kind.endswith("ARRAY"):
            raise MapFull(
                f"map {self.name} is full: it takes {self.max_entries} entries (load the program "
                f'with entries={{"{self.name}": …}})'
            )
        if failed in (-errno.E2BIG, -errno.ENOENT):
            raise ConfigError(
                f"map {self.name} has no entry {key}: they are 0 to {self.max_entries - 1}"
            )
        raise WirepathError(f"map {self.name} refuses {key}: {os.strerror(-failed)}")

    def __repr__(self) -> str:
        return f"<map {self.name}: {self.kind} of {self.max_entries}>"

    __hash__ = None  # type: ignore[assignment]


def _fitting(dtype: np.dtype[Any] | None, size: int) -> np.dtype[Any]:
    return dtype if dtype is not None and dtype.itemsize == size else np.dtype(f"V{size}")


def add_up(found: NDArray[Any]) -> Any:  # noqa: ANN401
    """The sum over the slots: of numbers a number, of structs a dict of their fields."""
    if found.dtype.names is None:
        total = found.sum(axis=0, dtype=object if found.dtype.kind in "iu" else None)
        return total if not isinstance(total, np.ndarray) else total.tolist()
    return {name: add_up(np.atleast_1d(found[name])) for name in found.dtype.names}
