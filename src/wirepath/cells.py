"""Groups of counters that Python writes into this process's segment, for others to read."""

from __future__ import annotations

from collections.abc import Mapping

from ._core import CounterBlock

__all__ = ["CellGroups"]


class CellGroups:
    """Cells named ``<group>/<name>``; :meth:`write` says which groups there are."""

    def __init__(self) -> None:
        self._blocks: dict[str, tuple[tuple[str, ...], CounterBlock]] = {}

    def write(self, groups: Mapping[str, Mapping[str, int]]) -> None:
        """The values as they are now; a group that is not among them any more goes.

        Raises:
            PortError: the segment is full.
        """
        for group in [g for g in self._blocks if g not in groups]:
            self._blocks.pop(group)[1].release()
        for group, values in groups.items():
            names = tuple(values)
            have = self._blocks.get(group)
            if have is None or have[0] != names:
                if have is not None:
                    self._blocks.pop(group)[1].release()
                have = (names, CounterBlock(group, list(names)))
                self._blocks[group] = have
            have[1].set(list(values.values()))

    def close(self) -> None:
        """Take the cells out of the segment."""
        for _, block in self._blocks.values():
            block.release()
        self._blocks.clear()
