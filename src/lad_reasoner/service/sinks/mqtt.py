"""Results as MQTT messages.

    mqtt://user@broker:1883/plant/line1

Each result is published to the topic, quality of service 1. `TOPIC/status` holds `online` while the watcher is
connected; the broker itself sets it to `offline` when the connection ends. The password is read from LAD_MQTT_PASSWORD.

MQTT 5, since a broker of MQTT 3.1.1 confirms a message also where it drops it, as for a topic that the user may not
write; 3.1.1 where the broker does not speak 5.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import ssl
import time
from typing import Any

from lad_reasoner.errors import InputError, require
from lad_reasoner.remote.certificates import explain_certificate
from lad_reasoner.service.parts import PartResult, PictureFile
from lad_reasoner.service.sinks.sink import (
    RejectedResultError,
    Sink,
    SinkAddress,
    UndeliveredError,
    parse_sink_address,
    read_secret,
)

logger = logging.getLogger(__name__)

PASSWORD = "LAD_MQTT_PASSWORD"
TIMEOUT = 10.0  # seconds for the broker to answer
KEEPALIVE = 15  # seconds; a broker that hears nothing for half as long again publishes `offline`

OTHER_VERSION, BAD_USER, NOT_AUTHORISED = 132, 134, 135  # reasons of MQTT 5; paho gives them for 3.1.1, too
FRAME = 10  # bytes of a message beside topic and payload, at most: kind, lengths, number, no properties
CONNECTED, ENDED = -1, -2  # events of a connection, beside the numbers of messages


class MqttTopic(Sink):
    """Publishes each result to a topic; the broker has it when `deliver` returns."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._library = require("paho.mqtt.client", "plant", "paho-mqtt")
        encrypted = name.startswith("mqtts:")
        self._address = parse_sink_address(name, port=8883 if encrypted else 1883)
        self.topic = self._address.path
        if not self.topic or set(self.topic) & set("#+\0"):
            raise InputError(f"--to {name}: give the topic after the host, without # and +, as in mqtt://host/line1")
        self._password = read_secret(PASSWORD)
        self._tls = ssl.create_default_context() if encrypted else None
        self._connection: _Connection | None = None
        self._status_refused = False

    def open(self) -> None:
        self._disconnect()
        try:
            self._connection = self._connect(self._library.MQTTv5)
        except _RefusedVersionError:
            self._connection = self._connect(self._library.MQTTv311)
        reason = self._connection.publish(f"{self.topic}/status", "online", retain=True)
        if reason.is_failure and not self._status_refused:
            self._status_refused = True
            logger.warning("%s: %s", self.name, self._explain(f"{self.topic}/status", reason))

    def _connect(self, protocol: Any) -> _Connection:
        client = self._library.Client(
            self._library.CallbackAPIVersion.VERSION2, protocol=protocol, reconnect_on_failure=False
        )
        if self._address.user:
            client.username_pw_set(self._address.user, self._password or None)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.will_set(f"{self.topic}/status", "offline", qos=1, retain=True)
        return _Connection(client, self._address)

    def check(self) -> None:
        # Otherwise `offline` would stand there until the next part, which may be hours away.
        if self._connection is None or not self._connection.alive:
            raise UndeliveredError("the broker closed the connection")

    def deliver(self, result: PartResult, file: PictureFile) -> None:
        assert self._connection is not None
        reason = self._connection.publish(self.topic, result.model_dump_json())
        if reason.is_failure:
            raise UndeliveredError(self._explain(self.topic, reason))

    def close(self) -> None:
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # An orderly end does not trigger the will.
            connection.end(f"{self.topic}/status", "offline")

    def _explain(self, topic: str, reason: Any) -> str:
        if reason.value == NOT_AUTHORISED:
            user = f"the user {self._address.user}" if self._address.user else "clients without a user"
            return f"the broker does not let {user} publish to {topic}; allow it at the broker"
        return f"the broker refuses what is published to {topic}: {reason}"


class _ClosedError(UndeliveredError):
    """The connection has ended."""


class _RefusedVersionError(UndeliveredError):
    """The broker does not speak this version of MQTT: it says so, or closes the connection without a word."""


class _Connection:
    """A connection, whose thread also answers the broker's pings while there is nothing to deliver."""

    def __init__(self, client: Any, address: SinkAddress) -> None:
        self._client, self._address = client, address
        self._events: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._largest: int | None = None  # bytes of a message that the broker takes
        client.on_connect = self._connected
        client.on_publish = lambda client, data, number, reason, properties: self._events.put((number, reason))
        client.on_disconnect = lambda client, data, flags, reason, properties: self._events.put((ENDED, reason))
        client.connect_timeout = TIMEOUT
        try:
            client.connect(address.host, address.port, KEEPALIVE)
        except ssl.SSLCertVerificationError as error:
            raise UndeliveredError(explain_certificate(error)) from None
        except (ssl.SSLError, ConnectionResetError) as error:
            raise UndeliveredError(f"{error.strerror}{self._doubt_port()}") from None
        except OSError as error:
            raise UndeliveredError(error.strerror or str(error)) from None
        client.loop_start()
        try:
            self._greet()
        except UndeliveredError:
            client.loop_stop()
            raise

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._largest = getattr(properties, "MaximumPacketSize", None)  # of MQTT 5, where it is told
        self._events.put((CONNECTED, reason))

    def _greet(self) -> None:
        """Wait for the broker's yes."""
        try:
            reason = self._await(CONNECTED)
        except _ClosedError as error:
            raise _RefusedVersionError(f"{error}{self._doubt_port()}") from None
        if reason.value == OTHER_VERSION:
            raise _RefusedVersionError(f"the broker refuses the connection: {reason}")
        if reason.value in (BAD_USER, NOT_AUTHORISED):
            user = self._address.user
            mend = f"check {PASSWORD} and the user {user}" if user else "give a user, as in mqtt://user@host/topic"
            raise UndeliveredError(f"the broker refuses the login ({reason}); {mend}")
        if reason.is_failure:
            raise UndeliveredError(f"the broker refuses the connection: {reason}")

    def _doubt_port(self) -> str:
        """What may be wrong where nobody speaks MQTT."""
        other = "has no TLS, write mqtt://" if self._address.scheme == "mqtts" else "wants TLS, write mqtts://"
        return f"; if port {self._address.port} {other}"

    @property
    def alive(self) -> bool:
        return bool(self._client.is_connected())

    def publish(self, topic: str, payload: str, *, retain: bool = False) -> Any:
        """The broker's reason code, once it has the message; UndeliveredError if it does not say so.

        RejectedResultError if it is larger than the broker takes: that would close the connection, again and again.
        """
        size = len(topic.encode()) + len(payload.encode()) + FRAME
        if self._largest is not None and size > self._largest:
            raise RejectedResultError(
                f"the message for {topic} has {size} bytes, the broker takes {self._largest}; raise its limit"
            )
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        if sent.rc != 0:
            raise _ClosedError("the broker closed the connection")
        return self._await(sent.mid)

    def end(self, topic: str, payload: str) -> None:
        """Publish the last words and leave."""
        if self.alive:
            with contextlib.suppress(UndeliveredError):
                self.publish(topic, payload, retain=True)
        self._client.disconnect()
        self._client.loop_stop()

    def _await(self, event: int) -> Any:
        """The reason code that comes with an event."""
        end = time.monotonic() + TIMEOUT
        while True:
            try:
                happened, reason = self._events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise UndeliveredError("the broker does not answer") from None
            if happened == event:
                return reason
            if happened == ENDED:
                raise _ClosedError("the broker closed the connection")
