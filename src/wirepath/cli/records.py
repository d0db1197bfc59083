"""Writing records and rows to files as they come: NumPy's .npy, or CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..dtypes import RECORD
from ..errors import ConfigError
from ..settings import problem
from ..tables import Layout, Partitions


class RecordFile:
    """``*.npy`` gets one array of dtype wirepath.RECORD, ``*.csv`` a line each."""

    def __init__(self, path: Path) -> None:
        if path.suffix not in (".npy", ".csv"):
            raise ConfigError(problem("--out", str(path), "a file that ends in .npy or .csv"))
        self.path = path
        self.records = 0
        try:
            self._file: IO[Any] = path.open("wb" if path.suffix == ".npy" else "w")
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
        if path.suffix == ".npy":
            self._header()
        else:
            self._rows = csv.writer(self._file, lineterminator="\n")
            self._rows.writerow(RECORD.names or ())

    def _header(self) -> None:
        # NumPy leaves room in the header for the first axis to grow to any length.
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(RECORD),
                "fortran_order": False,
                "shape": (self.records,),
            },
        )

    def write(self, records: NDArray[np.void]) -> None:
        """Append an array of records."""
        self.records += len(records)
        if self.path.suffix == ".npy":
            self._file.write(records.tobytes())
        else:
            self._rows.writerows(records.tolist())

    def close(self) -> None:
        if self._file.closed:
            return
        if self.path.suffix == ".npy":
            self._file.seek(0)
            self._header()
        self._file.close()

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class RowFiles:
    """Rows of declared messages: ``FOLDER/CHANNEL/type=NAME/NAME.npy``, there when complete."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            must = f"a folder that can be written ({error.strerror})"
            raise ConfigError(problem("--rows", str(folder), must)) from None
        self._files = Partitions(folder, kind="npy", period="none", max_open=1024)

    def write(self, channel: str, rows: dict[str, NDArray[np.void]]) -> None:
        """Append a channel's rows, by name of the message type."""
        for name, some in rows.items():
            self._files.write(f"{channel}/type={name}", Layout(some.dtype, ()), some, None)

    def __enter__(self) -> RowFiles:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._files.finish()
