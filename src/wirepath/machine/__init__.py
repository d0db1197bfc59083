# SPDX-License-Identifier: Apache-2.0
"""What this machine is and how it is set, read and never changed.

`Machine` reads /proc and /sys, under any folder; `KernelLinks` asks netlink about interfaces, in
the calling thread's network namespace. Nothing here needs a privilege.
"""

from __future__ import annotations

from ._files import Files, Unseen
from ._interrupts import Interrupt
from ._links import KernelLinks, Links
from ._machine import Machine
from ._nic import (
    Channels,
    Features,
    Link,
    Nic,
    QueueVector,
    Rings,
    Rss,
    Timestamping,
    XdpFeatures,
)
from ._wire import KernelWire, Wire
from ._wired import Pause, Wired, wired

__all__ = [
    "Channels",
    "Features",
    "Files",
    "Interrupt",
    "KernelLinks",
    "KernelWire",
    "Link",
    "Links",
    "Machine",
    "Nic",
    "Pause",
    "QueueVector",
    "Rings",
    "Rss",
    "Timestamping",
    "Unseen",
    "Wire",
    "Wired",
    "XdpFeatures",
    "wired",
]
