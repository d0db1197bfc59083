"""Python values to and from the bytes of a C type, named by its dtype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..settings import nearest, problem


def pack(value: object, dtype: np.dtype[Any], field: str) -> bytes:
    """The bytes of ``value``: a number, bytes, a NumPy scalar, or for a struct a mapping of its
    fields (those left out are zero) or a sequence of all. Raises :class:`ConfigError` naming
    ``field`` for what does not fit."""
    if isinstance(value, (bytes, bytearray, memoryview)) and dtype.kind != "S":
        if len(value) != dtype.itemsize:
            raise ConfigError(problem(field, f"{len(value)} bytes", f"{dtype.itemsize} bytes"))
        return bytes(value)
    array = np.zeros((), dtype)
    _set(array, value, dtype, field)
    return array.tobytes()


def _set(into: NDArray[Any], value: object, dtype: np.dtype[Any], field: str) -> None:
    if isinstance(value, (np.void, np.ndarray)) and value.dtype == dtype:
        into[...] = value
    elif dtype.names is not None:
        if isinstance(value, Mapping):
            for name in value:
                if name not in dtype.names:
                    raise ConfigError(
                        f"{field} has no field {name}{nearest(str(name), dtype.names)}: its fields "
                        f"are {', '.join(dtype.names)}"
                    )
            items = {str(k): v for k, v in value.items()}
        elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            if len(value) != len(dtype.names):
                raise ConfigError(problem(field, value, f"of {len(dtype.names)} fields"))
            items = dict(zip(dtype.names, value, strict=True))
        else:
            raise ConfigError(problem(field, value, f"a mapping of {', '.join(dtype.names)}"))
        for name, item in items.items():
            _set(into[name], item, _inner(dtype, name), f"{field}.{name}")
    else:
        _set_plain(into, value, dtype, field)


def _inner(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    assert dtype.fields is not None
    return dtype.fields[name][0]


def _set_plain(into: NDArray[Any], value: object, dtype: np.dtype[Any], field: str) -> None:
    base = dtype.base
    if base.kind in "iu" and isinstance(value, (int, np.integer)) and not dtype.shape:
        limits = np.iinfo(base)
        if not limits.min <= int(value) <= limits.max:
            raise ConfigError(
                problem(field, int(value), f"a whole number from {limits.min} to {limits.max}")
            )
    if dtype.kind == "S" and isinstance(value, str):
        value = value.encode()
    if dtype.kind == "S" and isinstance(value, bytes) and len(value) > dtype.itemsize:
        raise ConfigError(problem(field, value, f"at most {dtype.itemsize} bytes"))
    if isinstance(value, (bytes, bytearray)) and dtype.kind != "S":
        if len(value) != dtype.itemsize:
            raise ConfigError(problem(field, f"{len(value)} bytes", f"{dtype.itemsize} bytes"))
        value = np.frombuffer(value, dtype).reshape(dtype.shape or ())
    try:
        into[...] = value
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigError(problem(field, value, f"a value of type {dtype} ({error})")) from None


def array_of(values: object, dtype: np.dtype[Any], field: str) -> NDArray[Any]:
    """A contiguous one-dimensional array of ``dtype``. Raises :class:`ConfigError`."""
    try:
        made = np.ascontiguousarray(np.asarray(values, dtype.base if dtype.shape else dtype))
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigError(
            f"{field} is not usable: it must be an array of {dtype} ({error})"
        ) from None
    return made


def plain(value: Any) -> Any:  # noqa: ANN401 -- what a map holds
    """A NumPy scalar as a Python value; structs and arrays stay as they are."""
    if isinstance(value, np.generic) and not isinstance(value, np.void):
        return value.item()
    return value
