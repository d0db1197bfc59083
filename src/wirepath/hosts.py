"""The host's end of a port: a TAP device through which the kernel's own stack stands behind it."""

from __future__ import annotations

import fcntl
import re
import socket

from . import _core
from .errors import ConfigError
from .ports import Port
from .settings import problem

__all__ = ["HostPort", "mac_of"]

_SIOCGIFHWADDR = 0x8927
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


class HostPort(Port):
    """A TAP device as a port: what is sent to it the kernel receives there, and the other way.

    With :meth:`wirepath.Worker.add_host` it stands behind a port that the kernel does not have.
    A device that is made is up, and gone with the port; one that is there already (``ip tuntap add
    NAME mode tap``, with ``multi_queue`` for several queues) is taken, and stays; its addresses and
    routes are its own, MAC address and MTU are set where they are given and differ. Frames beyond
    9,279 bytes, of an MTU set later, are counted as ``drop.rx_too_long``.

    Args:
        name: of the device, at most 15 characters.
        mac: None = what it has; of a new one the kernel chooses.
        mtu: 68 to 9216 bytes; None = what it has, of a new one 1500.
        queues: one for each worker, 1 to 256.
        batch_size: largest burst.

    Raises:
        ConfigError: a value out of range, or an interface of that name that is no such device.
        DeviceBusy: another process has it. PermissionDenied: CAP_NET_ADMIN is missing.
        BackendUnavailable: there is no /dev/net/tun.
    """

    def __init__(
        self,
        name: str,
        *,
        mac: str | None = None,
        mtu: int | None = None,
        queues: int = 1,
        batch_size: int = 64,
    ) -> None:
        if mac is not None and not _MAC.fullmatch(mac):
            raise ConfigError(problem("mac", mac, "six bytes such as 02:00:00:00:00:01"))
        given = bytes.fromhex(mac.replace(":", "")) if mac else bytes(6)
        if given[0] & 1:
            raise ConfigError(problem("mac", mac, "that of one station: its first byte is even"))
        if mtu == 0:
            raise ConfigError(problem("mtu", mtu, "from 68 to 9216"))
        wanted = mtu or 0
        for field, value in (("mtu", wanted), ("queues", queues), ("batch_size", batch_size)):
            if not 0 <= value < 2**32:
                raise ConfigError(problem(field, value, "a number of this device's range"))
        super().__init__(_core.open_host_port(name, given, wanted, queues, batch_size))
        self.name = name

    @property
    def ifindex(self) -> int:
        """The kernel's number of the device."""
        return int(_core.host_interface(self.native))

    def set_carrier(self, up: bool) -> None:
        """Whether the kernel sees a link there, as it does at first."""
        _core.set_host_carrier(self.native, up)


def mac_of(interface: str) -> str | None:
    """MAC address of an interface of this network namespace; None = there is no such one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            answer = fcntl.ioctl(asked, _SIOCGIFHWADDR, interface.encode()[:15].ljust(40, b"\0"))
        except OSError:
            return None
    return answer[18:24].hex(":")
