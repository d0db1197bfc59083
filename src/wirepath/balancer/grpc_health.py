"""The one call of gRPC that a health check makes, without I/O: grpc.health.v1.Health/Check.

HTTP/2 without TLS and with prior knowledge (RFC 9113 §3.3). Bytes to send come out, bytes received
go in, until :attr:`HealthCall.serving` is known.
"""

from __future__ import annotations

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK, _PADDED = 0x1, 0x4, 0x1, 0x8
_SERVING = 1
_LARGEST = 1 << 20


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def _text(value: str) -> bytes:
    """A string literal (RFC 7541 §5.2), its length as an integer of 7 bits prefix."""
    raw = value.encode()
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest, out = len(raw) - 127, [127]
    while rest >= 128:
        out.append(rest % 128 | 128)
        rest //= 128
    return bytes([*out, rest]) + raw


def _varint(value: int) -> bytes:
    out = []
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


class HealthCall:
    """One call. ``to_send`` is what has to go out; :meth:`received` takes what came.

    Attributes:
        serving: True or False once the answer is there, else None.
        reason: why it is False.
    """

    def __init__(self, authority: str, service: str = "") -> None:
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/grpc.health.v1.Health/Check",
            ":authority": authority,
            "content-type": "application/grpc",
            "te": "trailers",
        }
        # Literal fields without indexing and with names in full (RFC 7541 §6.2.2).
        block = b"".join(b"\0" + _text(n) + _text(v) for n, v in fields.items())
        name = service.encode()
        message = b"\x0a" + _varint(len(name)) + name if name else b""
        body = b"\0" + len(message).to_bytes(4, "big") + message
        self.to_send = (
            _PREFACE
            + _frame(_SETTINGS, 0, 0, b"")
            + _frame(_HEADERS, _END_HEADERS, 1, block)
            + _frame(_DATA, _END_STREAM, 1, body)
        )
        self.serving: bool | None = None
        self.reason = ""
        self._bytes = b""
        self._message = b""

    def received(self, data: bytes) -> None:
        """Bytes from the server; ``to_send`` may have grown."""
        self._bytes += data
        while self.serving is None and len(self._bytes) >= 9:
            length = int.from_bytes(self._bytes[:3], "big")
            if length > _LARGEST:
                self._end("what answers is not HTTP/2")
                return
            if len(self._bytes) < 9 + length:
                return
            kind, flags = self._bytes[3], self._bytes[4]
            payload, self._bytes = self._bytes[9 : 9 + length], self._bytes[9 + length :]
            self._take(kind, flags, payload)

    def closed(self) -> None:
        """The server has ended the connection."""
        if self.serving is None:
            self._end("the connection ended without an answer")

    def _end(self, reason: str) -> None:
        self.serving, self.reason = False, reason

    def _take(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            self.to_send += _frame(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING and not flags & _ACK:
            self.to_send += _frame(_PING, _ACK, 0, payload)
        elif kind == _DATA:
            if flags & _PADDED and payload:
                payload = payload[1 : max(1, len(payload) - payload[0])]
            self._message += payload
            self._read_message()
        elif kind in (_RST_STREAM, _GOAWAY):
            self._end("the server refused the call")
        if self.serving is None and kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            self._end("the server does not know the health service, or the service asked for")

    def _read_message(self) -> None:
        if len(self._message) < 5:
            return
        length = int.from_bytes(self._message[1:5], "big")
        if len(self._message) < 5 + length:
            return
        body = self._message[5 : 5 + length]
        # HealthCheckResponse: one enum in field 1, left out where it is 0 (UNKNOWN).
        status = body[1] if len(body) >= 2 and body[0] == 0x08 else 0
        if status == _SERVING:
            self.serving = True
        else:
            # Of a service that they do not know, servers send an empty answer, then the error.
            also = "" if status else " (the server may not know the service asked for)"
            self._end(f"status {status}, not SERVING{also}")
