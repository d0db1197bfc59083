"""Stages in Python, compiled Python, or any language that exports a C function.

One function over a batch, at two speeds::

    @wp.stage
    def count(batch, state):
        for i in range(batch.count):
            frame = batch.data[i]                       # array of uint8, in place
            if len(frame) >= 38:
                state[frame[36] << 8 | frame[37]] += 1
            batch.verdict[i] = wp.DROP

    counts = np.zeros(65536, np.int64)
    worker.add_stage(count.bind(counts))

With numba installed the worker calls machine code without the GIL; without it, or with
``compile="never"``, it takes the GIL once a batch and calls the function as it stands.
"""

from __future__ import annotations

import ctypes
import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from . import _core, items
from .errors import CompileError, ConfigError

Compile = Literal["auto", "require", "never"]
StageBody = Callable[[Any, Any], int | None]


class StageWarning(UserWarning):
    """A stage runs slower than was hoped; the message says why."""


class Stage:
    """A function with its state, ready for :meth:`wirepath.Worker.add_stage`."""

    def __init__(
        self,
        native: _core.Stage,
        state: NDArray[Any] | None,
        mode: str,
        reason: str = "",
    ) -> None:
        self.native = native
        self.state = state
        self._mode = mode
        self._reason = reason

    @property
    def name(self) -> str:
        return self.native.name

    def info(self) -> dict[str, Any]:
        """``name``, ``mode`` (``"compiled (numba …)"``, ``"python"`` or ``"shared object PATH"``),
        ``reason`` why it is not compiled, ``abi`` of the batch, and dtype and shape of the state.
        """
        state = self.state
        return {
            "name": self.name,
            "mode": self._mode,
            "reason": self._reason,
            "abi": _core.BATCH_ABI,
            "state": None if state is None else f"{state.dtype} {state.shape}",
        }

    def __repr__(self) -> str:
        return f"<wirepath.Stage {self.name}, {self._mode}>"


class StageFunction:
    """What :func:`stage` makes of a function. Calling it runs the Python body, for tests."""

    def __init__(self, body: StageBody, *, compile: Compile, boundscheck: bool) -> None:
        if compile not in ("auto", "require", "never"):
            raise ConfigError(
                f'compile = {compile!r} is not usable: it must be "auto", "require" or "never"'
            )
        if not isinstance(body, FunctionType):
            raise ConfigError(f"a stage must be a plain function, and {body!r} is not")
        parameters = list(inspect.signature(body).parameters.values())
        plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if len(parameters) != 2 or any(p.kind not in plain for p in parameters):
            code = body.__code__
            raise ConfigError(
                f"{code.co_filename}:{code.co_firstlineno}: a stage takes (batch, state), and "
                f"{body.__name__}{inspect.signature(body)} does not"
            )
        self.body = body
        self._compile: Compile = compile
        self._boundscheck = boundscheck
        self.__name__ = body.__name__
        self.__doc__ = body.__doc__
        self.__wrapped__ = body

    def __call__(self, batch: Any, state: NDArray[Any] | None = None) -> int | None:  # noqa: ANN401
        code: int | None = self.body(batch, items.of_state(state))
        return code

    def bind(
        self,
        state: NDArray[Any] | None = None,
        *,
        name: str | None = None,
        compile: Compile | None = None,
    ) -> Stage:
        """The stage with ``state``, an array that this function and you both see while it runs.

        Give each worker a stage and a state of its own. compile: instead of the decorator's.

        Raises :class:`CompileError` at the line that cannot be compiled, where that was required,
        and :class:`ConfigError` for a state that native code cannot share.
        """
        checked_state(state)
        how = self._compile if compile is None else compile
        name = name or self.__name__
        reason = 'compile = "never"'
        if how != "never":
            try:
                return self._compiled(name, state)
            except CompileError as error:
                if how == "require":
                    raise
                reason = str(error)
                if not isinstance(error.__cause__, ImportError):
                    warnings.warn(
                        f"stage {name} runs as Python: {reason}", StageWarning, stacklevel=2
                    )
        return Stage(_core.PyStage(name, self.body, items.of_state(state)), state, "python", reason)

    def _compiled(self, name: str, state: NDArray[Any] | None) -> Stage:
        try:
            from . import _numba  # noqa: PLC0415 -- an optional extra, and slow to import
        except ImportError as error:
            raise CompileError(
                f"numba is not installed, or not usable here: {error} (pip install "
                "'wirepath[numba]')"
            ) from error
        native, version = _numba.compile_stage(
            self.body, name, state, boundscheck=self._boundscheck
        )
        return Stage(native, state, f"compiled (numba {version})")

    def __repr__(self) -> str:
        return f"<wirepath.stage {self.__name__}>"


@overload
def stage(body: StageBody, /) -> StageFunction: ...
@overload
def stage(
    *, compile: Compile = "auto", boundscheck: bool = True
) -> Callable[[StageBody], StageFunction]: ...
def stage(
    body: StageBody | None = None,
    /,
    *,
    compile: Compile = "auto",
    boundscheck: bool = True,
) -> StageFunction | Callable[[StageBody], StageFunction]:
    """Decorator: ``f(batch, state)`` becomes a stage.

    The batch has ``count``, ``port``, ``queue``; ``data[i]``, frame i as a writable array of
    uint8; and the columns ``length``, ``timestamp``, ``hash`` (to read), ``verdict`` and
    ``target`` (to write), as ``struct wp_batch`` has them. It returns None, or a whole number
    that is not 0 to stop the worker. An exception stops the worker and is raised by its join().

    compile: ``"auto"`` compiles where numba is installed and the function allows it, and else says
    in ``info()`` why not; ``"require"`` raises instead; ``"never"`` leaves it Python, where it may
    use all of Python and NumPy, ``batch.headers()`` and ``batch.column()`` included.
    boundscheck: of compiled code: an index past a frame's end raises IndexError, as in Python.
    Without it, such an index reads and writes memory that is not the frame's.
    """
    if body is not None:
        return StageFunction(body, compile=compile, boundscheck=boundscheck)
    return lambda function: StageFunction(function, compile=compile, boundscheck=boundscheck)


def checked_state(state: NDArray[Any] | None) -> None:
    """Raises ConfigError unless native code can share ``state``."""
    if state is None:
        return
    if not isinstance(state, np.ndarray):
        raise ConfigError(
            f"state = {type(state).__name__} is not usable: it must be a NumPy array or None"
        )
    what = ""
    if state.dtype.hasobject:
        what = f"dtype {state.dtype} holds Python objects"
    elif not state.flags.c_contiguous:
        what = "it is not C-contiguous (numpy.ascontiguousarray)"
    elif not state.flags.writeable:
        what = "it is read-only"
    elif not state.flags.aligned:
        what = "it is not aligned (numpy.require(state, requirements='A'))"
    elif not state.dtype.isnative:
        what = f"dtype {state.dtype} is of the other byte order"
    if what:
        raise ConfigError(f"state is not usable: {what}")


def load_stage(
    path: str | Path,
    symbol: str,
    *,
    state: NDArray[Any] | None = None,
    name: str | None = None,
) -> Stage:
    """A stage from a shared object, in any language: ``int symbol(struct wp_batch*, void* state)``.

    The object must also export ``wp_stage_abi`` (uint32), the WP_BATCH_ABI that it was built for:
    ``WP_STAGE_ABI;`` in C. Where it exports ``SYMBOL_state_bytes`` (uint64), the state must have
    at least that many bytes. Object and state live as long as the stage.

    Raises :class:`ConfigError` where the object, a symbol or the state is wrong.
    """
    checked_state(state)
    text = str(path)
    # dlopen(3) searches for a name without a slash where the system keeps libraries.
    found = str(Path(text).resolve()) if Path(text).exists() else text
    try:
        library = ctypes.CDLL(found)
    except OSError as error:
        raise ConfigError(f"path = {text!r} is not usable: {error}") from None
    abi = _exported(library, "wp_stage_abi", ctypes.c_uint32)
    if abi is None:
        raise ConfigError(
            f"{text} does not say which ABI it was built for: it must export wp_stage_abi "
            "(in C: WP_STAGE_ABI; once, outside functions)"
        )
    if abi != _core.BATCH_ABI:
        raise ConfigError(
            f"{text} was built for batch ABI {abi}, and this wirepath has {_core.BATCH_ABI} "
            "(build it again with this wirepath's batch.h)"
        )
    try:
        address = ctypes.cast(library[symbol], ctypes.c_void_p).value
    except AttributeError:
        raise ConfigError(f"symbol = {symbol!r} is not usable: {text} does not export it") from None
    needed = _exported(library, f"{symbol}_state_bytes", ctypes.c_uint64)
    have = 0 if state is None else state.nbytes
    if needed is not None and have < needed:
        raise ConfigError(
            f"state of {have} bytes is not usable: {symbol} of {text} needs at least {needed}"
        )
    pointer = 0 if state is None else state.ctypes.data
    native = _core.CStage(name or symbol, address or 0, pointer, (library, state))
    return Stage(native, state, f"shared object {found}")


def include() -> Path:
    """The folder for a C compiler's ``-I``, where ``wirepath/batch.h`` is."""
    return Path(_core.__file__).parent / "include"


def _exported(library: ctypes.CDLL, name: str, kind: type[Any]) -> int | None:
    try:
        value: int = kind.in_dll(library, name).value
    except ValueError:
        return None
    return value


def be16(frame: NDArray[np.uint8], at: int) -> int:
    """Two bytes in network order. For stages; compiled too."""
    return int(frame[at]) << 8 | int(frame[at + 1])


def be32(frame: NDArray[np.uint8], at: int) -> int:
    """Four bytes in network order. For stages; compiled too."""
    return (
        int(frame[at]) << 24
        | int(frame[at + 1]) << 16
        | int(frame[at + 2]) << 8
        | int(frame[at + 3])
    )
