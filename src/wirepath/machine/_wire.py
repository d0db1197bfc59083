# SPDX-License-Identifier: Apache-2.0
"""Generic netlink at the level of messages: a request out, the kernel's answers as they came.

Tests put recorded answers in the place of `KernelWire`; what decodes them stays the same.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from types import TracebackType
from typing import Any, Final, Protocol, Self

_NETLINK_GENERIC: Final = 16
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP, _NLM_F_MULTI = 1, 4, 0x300, 2
_HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_GENL_ID_CTRL: Final = 16
_PATIENCE_SECONDS: Final = 5.0


class Wire(Protocol):
    """Asks one generic netlink family."""

    def ask(self, family: str, message: Any, *, dump: bool = False) -> list[bytes]:  # noqa: ANN401
        """The answers to a pyroute2 message, whole, with their headers.

        Raises OSError as the kernel answered; ENOENT where it has no such family.
        """


class KernelWire:
    """The kernel of the calling thread's network namespace; a context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC)
        self._socket.settimeout(_PATIENCE_SECONDS)
        self._socket.bind((0, 0))
        self._families: dict[str, int] = {}
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, family: str, message: Any, *, dump: bool = False) -> list[bytes]:  # noqa: ANN401
        return self._exchange(self._family(family), message, dump=dump)

    def _family(self, name: str) -> int:
        from pyroute2.netlink import CTRL_CMD_GETFAMILY, ctrlmsg  # noqa: PLC0415 -- slow to import

        if name not in self._families:
            query = ctrlmsg()
            query["cmd"], query["version"] = CTRL_CMD_GETFAMILY, 1
            query["attrs"] = [["CTRL_ATTR_FAMILY_NAME", name]]
            answer = ctrlmsg(self._exchange(_GENL_ID_CTRL, query)[0])
            answer.decode()
            self._families[name] = answer.get_attr("CTRL_ATTR_FAMILY_ID")
        return self._families[name]

    def _exchange(self, kind: int, message: Any, *, dump: bool = False) -> list[bytes]:  # noqa: ANN401
        self._sequence += 1
        message["header"]["type"] = kind
        message["header"]["flags"] = _NLM_F_REQUEST | (_NLM_F_DUMP if dump else _NLM_F_ACK)
        message["header"]["sequence_number"] = self._sequence
        message.encode()
        self._socket.send(bytes(message.data))
        answers: list[bytes] = []
        while True:
            for number, part in _split(self._socket.recv(1 << 18)):
                if number == _NLMSG_DONE:
                    return answers
                if number == _NLMSG_ERROR:  # with code 0 it is the end of what was asked
                    code = -struct.unpack_from("=i", part, _HEADER.size)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return answers
                answers.append(part)


def _split(data: bytes) -> list[tuple[int, bytes]]:
    out = []
    while len(data) >= _HEADER.size:
        length, number, *_ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            raise OSError(errno.EBADMSG, "a netlink message contradicts its length")
        out.append((number, data[:length]))
        data = data[(length + 3) & ~3 :]
    return out
