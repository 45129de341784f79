"""A TCP relay on loopback that counts what passes, both ways."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Listens on a port of its own and passes everything on to another one, until the block ends."""

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lines: list[socket.socket] = []
        self._counted = threading.Lock()
        self.port: int = self._listener.getsockname()[1]
        self.bytes = 0
        self.sever_after: int | None = None
        """Cut every connection once so many bytes have passed, one time."""

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for line in (self._listener, *self._lines):
            _end(line)

    def sever(self) -> None:
        """Cut what is open now; new connections are taken."""
        for line in self._lines:
            _end(line)
        self._lines.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                for line in (client, server):
                    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._lines += (client, server)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while found := source.recv(65536):
                with self._counted:
                    self.bytes += len(found)
                    cut = self.sever_after is not None and self.bytes > self.sever_after
                if cut:
                    self.sever_after = None
                    self.sever()
                    return
                target.sendall(found)
        for line in (source, target):
            _end(line)


def _end(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()
