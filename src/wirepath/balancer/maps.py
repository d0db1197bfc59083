"""A program's maps as the plane wants them: rows in and out, per-CPU counters added up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..programs import NativeProgram, Program

Rows = NDArray[Any]


class ProgramMaps:
    """Of a program in the kernel, or of a native one."""

    def __init__(self, program: Program | NativeProgram) -> None:
        self.program = program

    def write(self, name: str, keys: Rows, values: Rows) -> None:
        """Enter rows, over what is there."""
        target = self.program.maps[name]
        target.load(keys.view(target.key_dtype), values.view(target.value_dtype))

    def delete(self, name: str, keys: Rows) -> None:
        """Take rows out; those that are not there are no matter."""
        for key in keys:
            self.program.maps[name].pop(key.tobytes(), None)

    def read(self, name: str) -> tuple[Rows, Rows]:
        """Every row."""
        return self.program.maps[name].arrays()

    def sums(self, name: str) -> Rows:
        """Of a per-CPU array: a row for each index, fields added up over the CPUs."""
        _, values = self.program.maps[name].arrays()
        out = np.zeros(len(values), values.dtype)
        for field in values.dtype.names or ():
            out[field] = values[field].sum(axis=1)
        return out
