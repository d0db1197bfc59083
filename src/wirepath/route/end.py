"""The end of a router, asked for by another process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from .. import programs
from ..errors import ConfigError, DeviceBusy
from . import claims
from .driver import SLOT, is_left

__all__ = ["end"]


def end(interfaces: Iterable[str]) -> Iterator[str]:
    """End the routers that have one of ``interfaces``, with all that they have and have pinned, and
    take those that processes left pinned off ``interfaces``. Gives a line for each, as it is done.

    Raises:
        ConfigError: an interface has none; nothing was done then. DeviceBusy: one does not end.
        PermissionDenied: it is another user's. PortError: its files cannot be written.
    """
    names = list(dict.fromkeys(interfaces))
    running = {name: claims.holder(name) for name in names}
    for name, who in running.items():
        if who is None and not is_left(name):
            raise ConfigError(f"there is no router on {name} (wirepath route run {name})")
    left = [name for name, who in running.items() if who is None]
    for who in dict.fromkeys(each for each in running.values() if each is not None):
        claims.end(who)
        yield f"process {who.pid} has ended its router on {', '.join(who.interfaces)}"
        if who.plane != "user":  # what it has pinned on another one, nobody would follow
            left += [*who.interfaces, *(name for name in names if running[name] == who)]
    for name in dict.fromkeys(left):
        try:
            taken_off = _take_off(name)
        except DeviceBusy as error:
            yield f"left alone: {error}"
        else:
            if taken_off:
                yield f"no router on {name} any more"


def _take_off(name: str) -> bool:
    """Whether a router was left on an interface, which it is no more. Nobody begins meanwhile: of
    one that runs with --pin the program looks no different.

    Raises:
        DeviceBusy: somebody has begun there.
    """
    claim = claims.Claim((name,), "xdp", ending=True)
    try:
        with contextlib.suppress(ConfigError):  # the interface is gone, and its program with it
            if is_left(name):
                programs.detach(name, SLOT)
                return True
        return False
    finally:
        claim.release()
