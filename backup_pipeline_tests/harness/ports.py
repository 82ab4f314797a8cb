"""Ports for servers that are told where to listen, and listen some seconds later."""

from __future__ import annotations

import socket


def free_port() -> int:
    """No other process is given it for a minute: the kernel remembers the connection that was closed on it
    (TIME_WAIT). Only a request by its number gets it, as servers ask (SO_REUSEADDR)."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        with socket.create_connection(server.getsockname()) as client:
            server.accept()[0].close()
            # The side that closes first remembers: the client goes when it has heard of it.
            assert client.recv(1) == b""
        return int(server.getsockname()[1])
