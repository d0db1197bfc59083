"""What starts with a ``with`` block and ends with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Running(ABC):
    """Starts on entry to a ``with`` block; stops, and is waited for, at its end."""

    @abstractmethod
    def start(self) -> None:
        """Begin; returns at once."""

    @abstractmethod
    def stop(self) -> None:
        """Ask for the end; returns at once."""

    @abstractmethod
    def join(self) -> object:
        """Wait for the end; raises what went wrong."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self.join()
