"""Opening an ``auto`` port."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from .. import _core
from .._core import Steering
from ..errors import ConfigError
from ..ports import Port
from ..settings import problem
from . import control
from .config import SwitchConfig
from .paths import Opener
from .switch import Switch, file_config

# Options of the port that are fields of the configuration.
_FIELDS = ("policy", "share", "flows")
_OWN = (*_FIELDS, "config", "queues")

_open: weakref.WeakSet[SwitchedPort] = weakref.WeakSet()
_lock = threading.Lock()


class SwitchedPort(Port):
    """A :class:`wirepath.Port` whose frames come by several paths. switch: what decides about
    them."""

    def __init__(self, handle: _core.PortHandle, switch: Switch) -> None:
        super().__init__(handle)
        self.switch = switch

    def info(self) -> dict[str, Any]:
        """As of any port, of the path that most flows take; ``queues`` are of this port, and
        ``switch`` says what is in force and why (:meth:`wirepath.switching.Switch.info`)."""
        own = super().info()
        return {
            **self.switch.port_info(),
            "queues": own["queues"],
            "steering": own["steering"],
            "switch": self.switch.info(),
        }

    def close(self) -> None:
        """As :meth:`wirepath.Port.close`; its paths are closed with it."""
        if self.closed:
            return
        self.switch.end()
        with _lock:
            _open.discard(self)
            if not _open:
                control.stop()
        super().close()
        self.switch.close_paths()


def ports() -> list[SwitchedPort]:
    """The ``auto`` ports of this process that are open."""
    with _lock:
        return sorted((port for port in _open if not port.closed), key=lambda port: port.spec)


def open_auto(
    spec: str,
    steer: Steering,
    batch_size: int,
    idle: Literal["sleep", "spin"],
    options: Mapping[str, str],
) -> SwitchedPort:
    """What :func:`wirepath.open` does with ``auto:…``. Raises as that."""
    backend, device, _ = _core.parse_port_spec(spec)
    given: dict[str, Any] = {name: options[name] for name in _FIELDS if name in options}
    if "share" in given:
        try:
            given["share"] = float(given["share"].removesuffix("%"))
        except ValueError:
            must = SwitchConfig.must("share")
            raise ConfigError(problem("share", given["share"], must)) from None
    file = Path(options["config"]) if options.get("config") else None
    config = SwitchConfig(**given) if file is None else file_config(file, given)
    rest = {name: value for name, value in options.items() if name not in _OWN}
    opener = Opener(device, steer, batch_size, idle, rest)
    opener.check(config.ways)
    own = {"queues": options["queues"]} if "queues" in options else {}
    handle = _core.PortHandle.open(f"{backend}:{device}", steer, own, batch_size, idle == "spin")
    switch = Switch(f"{backend}:{device}", config, opener, file, given)
    try:
        switch.begin(handle)
    except BaseException:
        handle.close()
        switch.close_paths()
        raise
    port = SwitchedPort(handle, switch)
    with _lock:
        _open.add(port)
        control.start(ports)
    return port
