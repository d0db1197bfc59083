"""The end of a router, asked for by another process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .. import programs
from ..errors import ConfigError
from . import claims
from .driver import SLOT, is_left

__all__ = ["end"]


def end(interfaces: Iterable[str]) -> Iterator[str]:
    """End the routers that have one of ``interfaces``, with all that they have, and take those that
    processes left pinned off ``interfaces``. Gives a line for each, as it is done.

    Raises:
        ConfigError: an interface has none; nothing was done then. DeviceBusy: one does not end.
        PermissionDenied: it is another user's.
    """
    names = list(dict.fromkeys(interfaces))
    running = {name: claims.holder(name) for name in names}
    for name, who in running.items():
        if who is None and not is_left(name):
            raise ConfigError(f"there is no router on {name} (wirepath route run {name})")
    for who in dict.fromkeys(each for each in running.values() if each is not None):
        claims.end(who)
        yield f"process {who.pid} has ended its router on {', '.join(who.interfaces)}"
    for name in names:
        who = running[name]
        if (who is None or who.plane != "user") and is_left(name):
            programs.detach(name, SLOT)
            yield f"no router on {name} any more"
