"""Results as MQTT messages.

    mqtt://user@broker:1883/plant/line1

Each result is published to the topic, quality of service 1. `TOPIC/status` holds `online` while the watcher is
connected; the broker itself sets it to `offline` when the connection ends. The password is read from LAD_MQTT_PASSWORD.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Coroutine
from threading import Thread
from typing import Any

from lad_reasoner.errors import InputError, require
from lad_reasoner.service.parts import PartResult, PictureFile
from lad_reasoner.service.sinks.sink import Sink, UndeliveredError, parse_sink_address, read_secret

PASSWORD = "LAD_MQTT_PASSWORD"
TIMEOUT = 10.0  # seconds for the broker to answer
KEEPALIVE = 15  # seconds; a broker that hears nothing for half as long again publishes `offline`


class MqttTopic(Sink):
    """Publishes each result to a topic; the broker has it when `deliver` returns."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._library = require("aiomqtt", "plant")
        encrypted = name.startswith("mqtts:")
        self._address = parse_sink_address(name, port=8883 if encrypted else 1883)
        self.topic = self._address.path
        if not self.topic or set(self.topic) & set("#+\0"):
            raise InputError(f"--to {name}: give the topic after the host, without # and +, as in mqtt://host/line1")
        self._password = read_secret(PASSWORD)
        self._tls = ssl.create_default_context() if encrypted else None
        self._client: Any = None
        self._ended: asyncio.Task[None] | None = None  # done when the broker has closed the connection
        self._loop = asyncio.new_event_loop()
        # The loop answers the broker's pings also while there is nothing to deliver.
        self._thread = Thread(target=self._loop.run_forever, name="mqtt", daemon=True)
        self._thread.start()

    def open(self) -> None:
        self._disconnect()
        self._wait(self._connect())

    async def _connect(self) -> None:
        client = self._library.Client(
            self._address.host,
            self._address.port,
            username=self._address.user or None,
            password=self._password or None,
            tls_context=self._tls,
            keepalive=KEEPALIVE,
            timeout=TIMEOUT,
            will=self._library.Will(f"{self.topic}/status", "offline", qos=1, retain=True),
        )
        await client.__aenter__()
        self._client, self._ended = client, asyncio.create_task(self._wait_for_end(client))
        await client.publish(f"{self.topic}/status", "online", qos=1, retain=True)

    async def _wait_for_end(self, client: Any) -> None:
        with contextlib.suppress(self._library.MqttError):
            async for _ in client.messages:  # none comes: no topic is subscribed
                pass

    def check(self) -> None:
        # Otherwise `offline` would stand there until the next part, which may be hours away.
        if self._ended is None or self._ended.done():
            raise UndeliveredError("the broker closed the connection")

    def deliver(self, result: PartResult, file: PictureFile) -> None:
        self._wait(self._client.publish(self.topic, result.model_dump_json(), qos=1))

    def close(self) -> None:
        self._disconnect()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        with contextlib.suppress(UndeliveredError):
            # An orderly end does not trigger the will.
            self._wait(client.publish(f"{self.topic}/status", "offline", qos=1, retain=True))
        with contextlib.suppress(UndeliveredError):
            self._wait(client.__aexit__(None, None, None))
        if self._ended is not None:
            self._wait(_cancel(self._ended))

    def _wait(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * TIMEOUT)
        except (self._library.MqttError, TimeoutError, OSError) as error:
            raise UndeliveredError(str(error) or "the broker does not answer") from None


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
