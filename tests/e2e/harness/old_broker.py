"""A broker from before MQTT 5: mosquitto behind a TLS front that turns MQTT 5 away.

mosquitto 2.0.11 has no option for it (accept_protocol_versions came with 2.1)."""

import asyncio
import ssl
import threading

from .ports import free_port
from .process import Daemon
from .waiting import wait_until

CONNACK_BAD_VERSION = bytes.fromhex("20020001")  # MQTT 3.1.1 section 3.2.2.3, code 1


class OldBroker:
    """answer: whether it says why before it closes, as mosquitto 1.5 does, or just closes."""

    def __init__(self, folder, identity, answer=True):
        self.answer = answer
        self.turned_away = 0
        self.let_in = 0
        self.plain_port = free_port()
        config = folder / "old-broker.conf"
        config.write_text(f"listener {self.plain_port} 127.0.0.1\nallow_anonymous true\nlog_dest stderr\nuser root\n")
        self.daemon = Daemon("old-broker", ["/usr/sbin/mosquitto", "-c", config], folder, ready="running").start()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*map(str, identity))
        self.port = 0
        self._loop = self._ended = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        wait_until(lambda: self.port, "the TLS front to listen")

    def close(self):
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self.daemon.stop()

    async def _run(self):
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        await self._ended.wait()
        server.close()

    async def _serve(self, reader, writer):
        try:
            first = await reader.read(4096)
            name = first.find(b"\0\4MQTT")
            if name < 0 or first[name + 6] > 4:
                self.turned_away += 1
                if self.answer:
                    writer.write(CONNACK_BAD_VERSION)
                    await writer.drain()
                writer.close()
                return
            self.let_in += 1
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.plain_port)
            inner_writer.write(first)
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))
        except (OSError, asyncio.CancelledError):
            writer.close()


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
