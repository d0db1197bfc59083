# SPDX-License-Identifier: Apache-2.0
"""Small text files of the kernel's, under a folder that is / or stands for it."""

from __future__ import annotations

import errno
from pathlib import Path

# What a kernel file says for "no value": the setting is not there for this device.
_NO_VALUE = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENODEV,
    errno.ENXIO,
    errno.EINVAL,
    errno.EOPNOTSUPP,
    errno.EIO,
    errno.ESRCH,
)


class Unseen(Exception):
    """Something is there and cannot be seen from here; the text says what, and why."""


class Files:
    """Reads text files below ``root``; paths are those that the kernel gives, without the slash.

    A file that is not there reads as None; one that may not be read raises `Unseen`.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def text(self, path: str | Path) -> str | None:
        """The file's text without blanks around it."""
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except PermissionError:
            raise Unseen(f"/{path} may not be read by this user") from None
        except OSError as error:
            if error.errno in _NO_VALUE:
                return None
            raise Unseen(f"/{path} cannot be read: {error.strerror}") from None

    def number(self, path: str | Path) -> int | None:
        """The file's first number; None where the file is missing or holds something else."""
        text = self.text(path)
        try:
            return int(text.split()[0], 0) if text else None
        except ValueError:
            return None

    def names(self, path: str | Path) -> list[str]:
        """What the folder holds, sorted; nothing where there is none."""
        try:
            return sorted(entry.name for entry in (self.root / path).iterdir())
        except PermissionError:
            raise Unseen(f"/{path} may not be read by this user") from None
        except OSError:
            return []

    def exists(self, path: str | Path) -> bool:
        """The file or folder is there."""
        try:
            return (self.root / path).exists()
        except PermissionError:
            raise Unseen(f"/{path} may not be looked at by this user") from None
