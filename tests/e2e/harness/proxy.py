"""A TCP proxy that can go dark: connections stay open and nothing passes, in either direction, as behind a NAT box that
lost its table."""

import socket
import struct
import threading

CHUNK = 65536


class Proxy:
    def __init__(self, target_port):
        self.target = ("127.0.0.1", target_port)
        self.dark = False
        self.carried = 0  # bytes from clients to the server, over all connections
        self._connections = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def accepted(self):
        """How many connections were ever made to it."""
        return len(self._connections)

    def black_out(self):
        """From now on bytes are swallowed; new connections are accepted and hear nothing."""
        with self._lock:
            self.dark = True
            for connection in self._connections:
                connection.dark = True

    def mute(self):
        """The server still hears everything on the connections of now; its answers are lost."""
        with self._lock:
            for connection in self._connections:
                connection.mute = True

    def light_up(self):
        """New connections work again. The old ones have lost bytes: they stay dark for ever."""
        with self._lock:
            self.dark = False

    def cut(self):
        """Resets every connection."""
        with self._lock:
            for connection in self._connections:
                connection.reset()

    def close(self):
        self._listener.close()
        self.cut()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.append(self.make_connection(client))

    def make_connection(self, client):
        return Connection(client, self.target, self.dark, self._count)

    def _count(self, size):
        with self._lock:
            self.carried += size


class Connection:
    def __init__(self, client, target, dark, count):
        self.dark = dark
        self._count = count
        self.mute = False
        self.client = client
        self.server = None
        if dark:
            return  # never read from, never answered
        try:
            self.server = socket.create_connection(target, timeout=5)
        except OSError:
            client.close()
            return
        self.server.settimeout(None)
        for source, sink in ((client, self.server), (self.server, client)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source, sink):
        while True:
            try:
                data = source.recv(CHUNK)
                silent = self.dark or (self.mute and source is self.server)
                if silent and data:
                    continue
                if silent:
                    return  # the other side must not hear that this one has gone
                if data:
                    self.pass_on(data, source, sink)
                else:
                    sink.shutdown(socket.SHUT_WR)
                    return
            except OSError:
                if not self.dark:
                    self.reset()
                return

    def pass_on(self, data, source, sink):
        if source is self.client:
            self._count(len(data))
        sink.sendall(data)

    def reset(self):
        for end in (self.client, self.server):
            if end is not None and end.fileno() >= 0:
                try:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                end.close()
