"""One port over several ways to receive: the best that works, changed while it runs.

::

    with wp.open("auto:eth0", steer=wp.udp("239.1.1.1", 9001), share=10) as port:
        ...                                     # 10 % of the flows by AF_XDP, the rest by a socket
        port.switch.configure(share=100)        # all of them; the port stays open
        for event in port.switch.events():
            print(event.kind, event.path, event.reason)
"""

from __future__ import annotations

from .config import SwitchConfig, Way
from .health import Health, Judge, Reading
from .machine import Kind, Machine, Phase
from .port import SwitchedPort, open_auto, ports
from .switch import Switch, SwitchEvent

__all__ = [
    "Health",
    "Judge",
    "Kind",
    "Machine",
    "Phase",
    "Reading",
    "Switch",
    "SwitchConfig",
    "SwitchEvent",
    "SwitchedPort",
    "Way",
    "open_auto",
    "ports",
]
