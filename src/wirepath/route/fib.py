"""A forwarding table: prefixes to numbers of next-hop groups."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..errors import ConfigError
from ..settings import problem

__all__ = ["Fib"]


class Fib:
    """Longest-prefix match for one family; look-ups never wait for changes.

    A trie with a root of 24 bits and groups of 8 bits below it: for IPv4 that is DIR-24-8 (Gupta,
    Lin, McKeown 1998), one or two memory accesses a look-up. The bytes are those that a packet
    program reads (``src/programs/route_fib.h``).

    Args:
        family: 4 or 6.
        entry_bytes: 4, or 2 where next hops and groups of entries are at most 32,767 each: half
            the memory.
        max_prefixes: bound; 0 = 2,000,000 (IPv4) or 500,000 (IPv6).
        max_groups: bound of groups of 256 entries; 0 = 32,768 (IPv4) or 131,072 (IPv6; 32,768 with
            2-byte entries). Memory comes as it is used, up to the bounds: see :meth:`memory`.
        huge_pages: ask the kernel for huge pages for what look-ups read.
        memory: zeroed writable buffers that look-ups will read, of root, groups and state, such as
            those of a packet program's maps; None = memory of its own.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(
        self,
        family: int = 4,
        *,
        entry_bytes: int = 4,
        max_prefixes: int = 0,
        max_groups: int = 0,
        huge_pages: bool = True,
        memory: tuple[object, ...] | None = None,
    ) -> None:
        for name, value in (("max_prefixes", max_prefixes), ("max_groups", max_groups)):
            if value < 0:
                raise ConfigError(problem(name, value, "at least 1, or 0 for the default"))
        self.native = _core.Fib(family, entry_bytes, max_prefixes, max_groups, huge_pages, memory)
        self._bytes = 4 if family == 4 else 16

    def __len__(self) -> int:
        return len(self.native)

    @property
    def family(self) -> int:
        """4 or 6."""
        return int(self.native.family)

    @property
    def max_next_hop(self) -> int:
        """The largest number that an entry can hold."""
        return int(self.native.max_next_hop)

    def add(self, prefix: str, next_hop: int) -> bool:
        """Adds a prefix such as ``"10.0.0.0/8"``, or gives it another next hop.

        Returns:
            Whether it is new.

        Raises:
            ConfigError: not a prefix of this family, a next hop out of range, a bound reached.
        """
        packed, length = self._prefix(prefix)
        return bool(self.add_many(packed, [length], [next_hop]))

    def remove(self, prefix: str) -> bool:
        """Takes a prefix out; whether it was there."""
        packed, length = self._prefix(prefix)
        return bool(self.remove_many(packed, [length]))

    def add_many(self, prefixes: object, lengths: ArrayLike, next_hops: ArrayLike) -> int:
        """Adds or replaces many, in order.

        Args:
            prefixes: addresses as :meth:`lookup` takes them, with zeros beyond their lengths.
            lengths: shape (n,).
            next_hops: shape (n,), from 1 to :attr:`max_next_hop`; 0 stands for "none".

        Returns:
            How many were new.

        Raises:
            ConfigError: names the first row that is not usable; the rows before it are in.
        """
        return int(
            self.native.add(
                self.addresses(prefixes),
                _column("lengths", lengths, np.uint8),
                _column("next_hops", next_hops, np.uint32),
            )
        )

    def remove_many(self, prefixes: object, lengths: ArrayLike) -> int:
        """Takes many out; how many were there."""
        packed = self.addresses(prefixes)
        return int(self.native.remove(packed, _column("lengths", lengths, np.uint8)))

    def lookup(self, addresses: object) -> NDArray[np.uint32]:
        """Next hop of each address, shape (n,); 0 = none.

        Args:
            addresses: IPv4 as integers of any shape (n,); either family as bytes in network order,
                an array of shape (n, 4) or (n, 16), or a list of texts or ipaddress objects.
        """
        found: NDArray[np.uint32] = self.native.lookup(self.addresses(addresses))
        return found

    def match(self, address: str) -> tuple[str, int] | None:
        """The longest prefix that holds an address, and its next hop; None = none does."""
        packed = self.addresses([address]).tobytes()
        found = self.native.match(packed)
        if found is None:
            return None
        net = ip_network((packed, found[0]), strict=False)
        return str(net), int(found[1])

    def find(self, prefix: str) -> int:
        """Next hop of this very prefix; 0 = not there."""
        packed, length = self._prefix(prefix)
        return int(self.native.find(packed.tobytes(), length))

    def items(self) -> dict[str, int]:
        """All prefixes as texts, with their next hops."""
        prefixes, lengths, hops = self.native.dump()
        rows = zip(prefixes, lengths.tolist(), hops.tolist(), strict=True)
        return {str(ip_network((p.tobytes(), length))): hop for p, length, hop in rows}

    def memory(self) -> dict[str, int]:
        """Bytes in use by part and in all, with the bounds (``…_bound``) that they stay below.

        ``root`` and ``groups`` are what look-ups read (``lookup_bytes``); ``depths`` and
        ``prefix_set`` belong to whoever makes changes.
        """
        return dict(self.native.memory())

    def addresses(self, value: object) -> NDArray[np.uint8]:
        """Addresses in one of the forms of :meth:`lookup`, as bytes of shape (n, 4) or (n, 16)."""
        if isinstance(value, (list, tuple)) and value and not isinstance(value[0], int):
            return self._texts(value)
        array: NDArray[Any] = np.asarray(value)
        if self._bytes == 4 and array.ndim == 1 and array.dtype.kind in "iu":
            if array.size and (array.min() < 0 or array.max() > 0xFFFFFFFF):
                raise ConfigError(problem("addresses", "an integer", "from 0 to 2^32-1"))
            return array.astype(">u4").view(np.uint8).reshape(-1, 4)
        if array.size == 0:
            return np.empty((0, self._bytes), np.uint8)
        if array.dtype == np.uint8 and array.ndim == 2 and array.shape[1] == self._bytes:
            return np.ascontiguousarray(array)
        form = f"{array.dtype} of shape {array.shape}"
        raise ConfigError(problem("addresses", form, f"u1 of shape (n, {self._bytes})"))

    def _texts(self, values: Iterable[object]) -> NDArray[np.uint8]:
        packed = bytearray()
        for value in values:
            try:
                address: IPv4Address | IPv6Address = ip_address(value)  # type: ignore[arg-type]
            except ValueError:
                raise ConfigError(
                    problem("address", value, f"an IPv{self.family} address")
                ) from None
            if len(address.packed) != self._bytes:
                raise ConfigError(problem("address", value, f"an IPv{self.family} address"))
            packed += address.packed
        return np.frombuffer(bytes(packed), np.uint8).reshape(-1, self._bytes)

    def _prefix(self, text: str) -> tuple[NDArray[np.uint8], int]:
        must = f"an IPv{self.family} prefix without bits beyond its length"
        try:
            net = ip_network(text)
        except ValueError as error:
            raise ConfigError(problem("prefix", text, f"{must} ({error})")) from None
        if len(net.network_address.packed) != self._bytes:
            raise ConfigError(problem("prefix", text, must))
        return self._texts([net.network_address]), net.prefixlen


def _column(name: str, values: ArrayLike, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        form = f"{array.dtype} of shape {array.shape}"
        raise ConfigError(problem(name, form, "integers of shape (n,)"))
    most = np.iinfo(dtype).max
    if array.size and (array.min() < 0 or array.max() > most):
        bad = int(array.min()) if array.min() < 0 else int(array.max())
        raise ConfigError(problem(name, bad, f"from 0 to {most}"))
    return np.ascontiguousarray(array, dtype)
