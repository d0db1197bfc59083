"""Arrays whose items are Python's numbers, not NumPy's scalars.

A stage that reads ``p[36] << 8 | p[37]`` from an array of bytes means whole numbers. NumPy's
``uint8`` would wrap at 256 there, compiled code would not: these arrays give the same as compiled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def _plain(value: Any) -> Any:  # noqa: ANN401 -- whatever an array holds
    if isinstance(value, np.generic) and not isinstance(value, np.void):
        return value.item()
    return value


class Items(np.ndarray[Any, Any]):
    """An array whose single items are int, float or bool."""

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 -- as numpy.ndarray's
        return _plain(super().__getitem__(index))

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


class Row(np.record):  # type: ignore[misc]  # final in the stub, not in NumPy
    """A row of a structured array: ``row["field"]`` or ``row.field``."""

    def __getitem__(self, name: Any) -> Any:  # noqa: ANN401 -- as numpy.void's
        value = super().__getitem__(name)
        return value.view(Items) if isinstance(value, np.ndarray) else _plain(value)

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 -- as numpy.record's
        fields = np.record.__getattribute__(self, "dtype").fields
        return self[name] if fields and name in fields else np.record.__getattribute__(self, name)


def of_frame(view: memoryview) -> Items:
    """The bytes of a frame, in place."""
    return np.frombuffer(view, np.uint8).view(Items)


def of_state(state: NDArray[Any] | None) -> Items | None:
    """The state of a stage, in place."""
    if state is None:
        return None
    items = state.view(Items)
    if state.dtype.names is None:
        return items
    rows: Any = items.view(np.dtype((Row, state.dtype)))
    return rows  # type: ignore[no-any-return]
