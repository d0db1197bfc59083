"""One source of frames, as one interface of the file."""

from __future__ import annotations

from collections.abc import Callable

from .. import _core

#: (frames received, frames lost, the losses in words) of the device; None: not known.
DeviceCounts = Callable[[], tuple[int | None, int | None, str]]


class Source:
    """native: where the frames come from. name, description: of its interface. refresh: called
    now and then, from the thread of the capture."""

    def __init__(
        self,
        native: _core.FrameSource,
        name: str,
        description: str,
        device_counts: DeviceCounts,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        self.native = native
        self.name = name
        self.description = description
        self.device_counts = device_counts
        self.refresh = refresh

    @property
    def queues(self) -> int:
        """Queues that it comes from; 0: any."""
        return self.native.queues if isinstance(self.native, _core.TapSource) else 0

    @property
    def ready(self) -> bool:
        """Its frames are copied by now."""
        native = self.native
        return not isinstance(native, _core.TapSource) or native.followers == native.queues

    @property
    def refused(self) -> bool:
        """The process could not do it."""
        return isinstance(self.native, _core.TapSource) and self.native.refused
