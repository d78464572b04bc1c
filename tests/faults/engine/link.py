"""A TCP proxy that resets connections at chosen bytes."""

from harness.proxy import Connection, Proxy


class FaultyLink(Proxy):
    """next_reset() gives, for each new connection, after how many bytes from the client it is reset, or None."""

    def __init__(self, target_port, next_reset=lambda: None):
        self.next_reset = next_reset
        self.resets = 0
        super().__init__(target_port)

    def make_connection(self, client):
        return ShortLived(self, client)


class ShortLived(Connection):
    def __init__(self, link, client):
        self.link = link
        self.left = link.next_reset()
        super().__init__(client, link.target, link.dark, link._count)

    def pass_on(self, data, source, sink):
        ends = source is self.client and self.left is not None and len(data) >= self.left
        if source is self.client and self.left is not None:
            data = data[:self.left]
            self.left -= len(data)
        super().pass_on(data, source, sink)
        if ends:
            self.link.resets += 1
            self.reset()
            raise ConnectionResetError("as chosen")
