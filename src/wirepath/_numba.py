"""Compiling a stage with numba: ``struct wp_batch`` as a type of its, and the C function around.

Imported only when a stage is compiled. The batch is a struct of views; each view is an array
without an owner, so that nothing on the data path counts references. The C function calls the
compiled body and, where that raised, takes the GIL once to hand the exception over.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import operator
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import NumbaError
from numba.extending import (
    intrinsic,
    make_attribute_wrapper,
    models,
    overload,
    register_model,
)
from numba.np.arrayobj import make_array, populate_array
from numba.np.numpy_support import from_dtype
from numpy.typing import NDArray

from . import _core, stages
from .errors import CompileError

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


class View(types.Array):
    """An array over memory that somebody else owns."""

    def __init__(
        self, dtype: types.Type, ndim: int = 1, layout: str = "C", *, readonly: bool = False
    ) -> None:
        name = f"wirepath.View({dtype}, {ndim}, {layout}, {'ro' if readonly else 'rw'})"
        super().__init__(dtype, ndim, layout, readonly=readonly, name=name)


@register_model(View)
class _ViewModel(models.ArrayModel):
    """That of an array, but without a reference count: the owner outlives the stage."""

    def traverse(self, builder: ir.IRBuilder) -> list[Any]:
        return []

    def has_nrt_meminfo(self) -> bool:
        return False

    def contains_nrt_meminfo(self) -> bool:
        return False


class FramesType(types.Type):
    """``batch.data``."""

    def __init__(self) -> None:
        super().__init__(name="wirepath.Frames")


class BatchType(types.Type):
    """The batch, as a stage sees it."""

    def __init__(self) -> None:
        super().__init__(name="wirepath.Batch")


FRAMES, BATCH = FramesType(), BatchType()
FRAME = View(types.uint8)
COLUMNS = {
    "length": View(types.uint32, readonly=True),
    "timestamp": View(types.int64, readonly=True),
    "hash": View(types.uint32, readonly=True),
    "verdict": View(types.uint8),
    "target": View(types.uint16),
}
_NUMBERS = {"count": _I32, "port": _I16, "queue": _I16}
_FRAMES_MEMBERS = [
    ("count", types.int64),
    ("data", types.CPointer(types.CPointer(types.uint8))),
    ("length", types.CPointer(types.uint32)),
]
_BATCH_MEMBERS = [
    *((name, types.int64) for name in _NUMBERS),
    ("data", FRAMES),
    *COLUMNS.items(),
]


@register_model(FramesType)
class _FramesModel(models.StructModel):
    def __init__(self, manager: Any, of: Any) -> None:  # noqa: ANN401 -- numba's
        super().__init__(manager, of, _FRAMES_MEMBERS)


@register_model(BatchType)
class _BatchModel(models.StructModel):
    def __init__(self, manager: Any, of: Any) -> None:  # noqa: ANN401 -- numba's
        super().__init__(manager, of, _BATCH_MEMBERS)


for _name, _ in _BATCH_MEMBERS:
    make_attribute_wrapper(BatchType, _name, _name)


def _view(
    context: Any,  # noqa: ANN401 -- numba's
    builder: ir.IRBuilder,
    of: View,
    pointer: ir.Value,
    shape: list[ir.Value],
) -> ir.Value:
    array = make_array(of)(context, builder)
    size = ir.Constant(_I64, context.get_abi_sizeof(context.get_data_type(of.dtype)))
    strides: list[ir.Value] = []
    step: ir.Value = size
    for extent in reversed(shape):
        strides.insert(0, step)
        step = builder.mul(step, extent)
    populate_array(
        array,
        data=builder.bitcast(pointer, array.data.type),
        shape=shape,
        strides=strides,
        itemsize=size,
        meminfo=None,
    )
    return array._getvalue()


@intrinsic
def _frame_at(typing: Any, frames: types.Type, index: types.Type) -> Any:  # noqa: ANN401
    def generate(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> ir.Value:  # noqa: ANN401
        view = cgutils.create_struct_proxy(FRAMES)(context, builder, value=args[0])
        pointer = builder.load(builder.gep(view.data, [args[1]]))
        length = builder.load(builder.gep(view.length, [args[1]]))
        return _view(context, builder, FRAME, pointer, [builder.zext(length, _I64)])

    return FRAME(FRAMES, types.int64), generate


@intrinsic
def _frames_count(typing: Any, frames: types.Type) -> Any:  # noqa: ANN401
    def generate(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> ir.Value:  # noqa: ANN401
        return cgutils.create_struct_proxy(FRAMES)(context, builder, value=args[0]).count

    return types.int64(FRAMES), generate


# numba wants an overload and what it returns to have the same signature, annotations included.
@overload(operator.getitem)
def _frames_getitem(frames: Any, index: Any) -> Any:  # noqa: ANN401
    if not isinstance(frames, FramesType) or not isinstance(index, types.Integer):
        return None

    def getitem(frames: Any, index: Any) -> Any:  # noqa: ANN401
        count = _frames_count(frames)
        at = np.int64(index)
        if at < 0:
            at += count
        if at < 0 or at >= count:
            raise IndexError("frame index out of range")
        return _frame_at(frames, at)

    return getitem


@overload(len)
def _len(of: Any) -> Any:  # noqa: ANN401
    def of_frames(of: Any) -> Any:  # noqa: ANN401
        return _frames_count(of)

    def of_batch(of: Any) -> Any:  # noqa: ANN401
        return of.count

    if isinstance(of, FramesType):
        return of_frames
    return of_batch if isinstance(of, BatchType) else None


@overload(stages.be16)
def _be16(frame: Any, at: Any) -> Any:  # noqa: ANN401
    def be16(frame: Any, at: Any) -> Any:  # noqa: ANN401
        return np.int64(frame[at]) << 8 | np.int64(frame[at + 1])

    return be16


@overload(stages.be32)
def _be32(frame: Any, at: Any) -> Any:  # noqa: ANN401
    def be32(frame: Any, at: Any) -> Any:  # noqa: ANN401
        return (
            np.int64(frame[at]) << 24
            | np.int64(frame[at + 1]) << 16
            | np.int64(frame[at + 2]) << 8
            | np.int64(frame[at + 3])
        )

    return be32


def compile_stage(
    body: Callable[[Any, Any], int | None],
    name: str,
    state: NDArray[Any] | None,
    *,
    boundscheck: bool,
) -> tuple[_core.CompiledStage, str]:
    """The native stage and numba's version. Raises CompileError at the line that is to blame."""
    state_type = types.none
    if state is not None:
        try:
            state_type = View(from_dtype(state.dtype), state.ndim)
        except NumbaError as error:
            raise CompileError(f"numba has no type for a state of dtype {state.dtype}") from error
    dispatcher = numba.njit(boundscheck=boundscheck)(body)
    signature = (BATCH, state_type)
    try:
        dispatcher.compile(signature)
    except NumbaError as error:
        raise _compile_error(body, error) from error
    compiled = dispatcher.overloads[signature]
    if not _is_code(compiled.signature.return_type):
        line = _last_return(body)
        raise CompileError(
            _at(
                body,
                line,
                f"a stage returns None or a whole number, and this is a "
                f"{compiled.signature.return_type}",
            ),
            body.__code__.co_filename,
            line,
        )
    kept = _core.KeptException()
    run = _entry(compiled, state_type, state, kept.address)

    @numba.cfunc(types.int32(types.voidptr, types.voidptr))
    def entry(batch: Any, state: Any) -> int:  # noqa: ANN401
        return run(batch, state)

    pointer = 0 if state is None else state.ctypes.data
    native = _core.CompiledStage(name, entry.address, pointer, (entry, dispatcher, state), kept)
    return native, numba.__version__


def _is_code(returned: types.Type) -> bool:
    if isinstance(returned, types.Optional):
        returned = returned.type
    return returned == types.none or isinstance(returned, types.Integer)


def _entry(
    compiled: Any,  # noqa: ANN401 -- numba's
    state_type: types.Type,
    state: NDArray[Any] | None,
    kept: int,
) -> Any:  # noqa: ANN401
    """The intrinsic ``run(batch, state)``: struct in, return code out."""
    returned = compiled.signature.return_type

    def generate(context: Any, builder: ir.IRBuilder, _: Any, args: Any) -> ir.Value:  # noqa: ANN401
        struct, state_pointer = args

        def member(name: str, of: ir.Type) -> ir.Value:
            at = builder.gep(struct, [ir.Constant(_I64, _core.BATCH_LAYOUT[name])])
            return builder.load(builder.bitcast(at, of.as_pointer()))

        batch = cgutils.create_struct_proxy(BATCH)(context, builder)
        for name, of in _NUMBERS.items():
            setattr(batch, name, builder.zext(member(name, of), _I64))
        frames = cgutils.create_struct_proxy(FRAMES)(context, builder)
        frames.count = batch.count
        frames.data = member("data", _I8.as_pointer().as_pointer())
        frames.length = member("length", _I32.as_pointer())
        batch.data = frames._getvalue()
        for name, column in COLUMNS.items():
            pointer = member(name, _I8.as_pointer())
            setattr(batch, name, _view(context, builder, column, pointer, [batch.count]))
        if state is None:
            state_value = context.get_dummy_value()
        else:
            shape = [ir.Constant(_I64, extent) for extent in state.shape]
            state_value = _view(context, builder, state_type, state_pointer, shape)

        context.active_code_library.add_linking_library(compiled.library)
        status, result = context.call_internal_no_propagate(
            builder,
            compiled.fndesc,
            compiled.signature,
            [batch._getvalue(), state_value],
        )
        out = cgutils.alloca_once(builder, _I32)
        with builder.if_else(status.is_error, likely=False) as (raised, fine):
            with raised:
                api = context.get_python_api(builder)
                gil = api.gil_ensure()
                context.call_conv.raise_error(builder, api, status)
                keep = ir.FunctionType(ir.VoidType(), [_I64]).as_pointer()
                address = ir.Constant(_I64, _core.KEEP_EXCEPTION)
                builder.call(builder.inttoptr(address, keep), [ir.Constant(_I64, kept)])
                api.gil_release(gil)
                builder.store(ir.Constant(_I32, _core.RAISED), out)
            with fine:
                builder.store(_code(context, builder, result, returned), out)
        return builder.load(out)

    @intrinsic
    def run(typing: Any, batch: types.Type, state: types.Type) -> Any:  # noqa: ANN401
        return types.int32(types.voidptr, types.voidptr), generate

    return run


def _code(context: Any, builder: ir.IRBuilder, result: Any, of: types.Type) -> ir.Value:  # noqa: ANN401
    if of == types.none:
        return ir.Constant(_I32, 0)
    if isinstance(of, types.Optional):
        optional = context.make_helper(builder, of, result)
        value = _clamped(context, builder, optional.data, of.type)
        return builder.select(
            cgutils.as_bool_bit(builder, optional.valid), value, ir.Constant(_I32, 0)
        )
    return _clamped(context, builder, result, of)


def _clamped(context: Any, builder: ir.IRBuilder, value: Any, of: types.Type) -> ir.Value:  # noqa: ANN401
    # What does not fit must not turn into 0, "go on", nor into RAISED.
    wide = context.cast(builder, value, of, types.int64)
    for sign, bound in (("<", -_core.MAX_CODE), (">", _core.MAX_CODE)):
        limit = ir.Constant(_I64, bound)
        wide = builder.select(builder.icmp_signed(sign, wide, limit), limit, wide)
    return builder.trunc(wide, _I32)


def _compile_error(body: Callable[..., Any], error: NumbaError) -> CompileError:
    """What numba says, at the user's line."""
    file = body.__code__.co_filename
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    found = re.findall(r'File "([^"]+)", line (\d+)', text)
    lines = [int(n) for name, n in found if Path(name).resolve() == Path(file).resolve()]
    location = getattr(error, "loc", None)
    if not lines and location is not None and location.line:
        lines = [location.line]
    line = lines[-1] if lines else body.__code__.co_firstlineno
    said = [part.strip() for part in text.splitlines() if part.strip()]
    noise = ("Failed in nopython", "During: ", "File ", "<source elided>", "^", "def ")
    reason = next((part for part in said if not part.startswith(noise)), "it cannot be compiled")
    if reason.endswith("signature:"):
        reason += next((f" {part[3:].strip()}" for part in said if part.startswith(">>>")), "")
    return CompileError(_at(body, line, reason), file, line)


def _at(body: Callable[..., Any], line: int, reason: str) -> str:
    file = body.__code__.co_filename
    source = linecache.getline(file, line).strip()
    shown = f"\n    {source}" if source else ""
    return (
        f'stage {body.__name__} cannot be compiled: {reason}\n  File "{file}", line {line}{shown}'
    )


def _last_return(body: Callable[..., Any]) -> int:
    first = body.__code__.co_firstlineno
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(body)))
    except (OSError, SyntaxError):
        return first
    found = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value]
    return first + max(found) - 1 if found else first
