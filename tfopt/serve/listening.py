"""A socket that listens."""

from __future__ import annotations

import errno
import socket

from tfopt.errors import ServerUnavailable


def listen(host: str, port: int) -> socket.socket:
    """No host is every address: of IPv6 and IPv4 where there is IPv6. Raises ServerUnavailable."""
    if host:
        return _bind(host, port)
    try:
        return _bind("::", port)
    except ServerUnavailable as error:
        cause = error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
    return _bind("0.0.0.0", port)


def _bind(host: str, port: int) -> socket.socket:
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServerUnavailable(f"cannot listen: {error.strerror}", where=where) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # IPv4 as well
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        hint = "choose another port, or stop the server that has this one"
        raise ServerUnavailable(f"cannot listen: {error.strerror}", where=where, hint=hint) from error
    return listener
