"""Results at a broker, and what other subscribers see of the connection."""

import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from helpers.plant import NOWHERE, Mqtt5Broker, certificate, free_port, mqtt_broker, part_result, wait_for
from lad_reasoner.errors import InputError
from lad_reasoner.service import delivery
from lad_reasoner.service.delivery import Delivery
from lad_reasoner.service.journal import Journal
from lad_reasoner.service.parts import PartResult
from lad_reasoner.service.sinks import mqtt, open_sink
from lad_reasoner.service.sinks.sink import RejectedResultError, UndeliveredError


class Subscriber:
    """What another program of the plant receives of all topics."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, str]] = []
        self._port, self._ready = port, threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda client, data, message: self.messages.append(
            (message.topic, message.payload.decode())
        )
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()

    def __enter__(self) -> "Subscriber":
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    with mqtt_broker(port):
        yield port


def test_a_result_is_published_and_the_status_told(port: int) -> None:
    sink, result = open_sink(f"mqtt://127.0.0.1:{port}/plant/line1"), part_result(3, part="Teil ü")
    with Subscriber(port) as subscriber:
        sink.open()
        sink.deliver(result, NOWHERE)
        wait_for(lambda: len(subscriber.messages) == 2)
        assert subscriber.messages[0] == ("plant/line1/status", "online")
        topic, payload = subscriber.messages[1]
        assert topic == "plant/line1"
        assert PartResult.model_validate_json(payload) == result
        sink.close()
        wait_for(lambda: subscriber.messages[-1] == ("plant/line1/status", "offline"))


def test_the_connection_outlives_a_pause(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "KEEPALIVE", 1)
    sink = open_sink(f"mqtt://127.0.0.1:{port}/line")
    with Subscriber(port) as subscriber:
        sink.open()
        threading.Event().wait(2.5)  # a broker drops a client that is silent for 1.5 s
        sink.deliver(part_result(), NOWHERE)
        wait_for(lambda: len(subscriber.messages) == 2)
        topics = [topic for topic, _ in subscriber.messages]
        sink.close()
    assert topics == ["line/status", "line"]


def test_a_broker_that_is_away_and_comes_back() -> None:
    port = free_port()
    sink = open_sink(f"mqtt://127.0.0.1:{port}/line")
    with pytest.raises(UndeliveredError):
        sink.open()
    with mqtt_broker(port):
        sink.open()
        sink.deliver(part_result(1), NOWHERE)
    with pytest.raises(UndeliveredError):
        sink.deliver(part_result(2), NOWHERE)
    with mqtt_broker(port), Subscriber(port) as subscriber:
        sink.open()
        sink.deliver(part_result(2), NOWHERE)
        wait_for(lambda: any(topic == "line" for topic, _ in subscriber.messages))
        sink.close()


@pytest.mark.parametrize("address", ["mqtt://broker", "mqtt://broker/line/%23", "mqtt://broker/+/line"])
def test_a_topic_is_needed(address: str) -> None:
    with pytest.raises(InputError, match="give the topic"):
        open_sink(address)


def test_a_part_of_an_address_is_not_dropped() -> None:
    with pytest.raises(InputError, match="%23"):
        open_sink("mqtt://broker/line/#")


def test_a_password_belongs_in_the_environment() -> None:
    with pytest.raises(InputError, match="environment") as problem:
        open_sink("mqtt://user:geheim@broker/line")
    assert "geheim" not in str(problem.value)


def test_a_broker_that_restarts_while_no_part_comes_gets_the_status_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "CHECKED", 0.1)
    monkeypatch.setattr(delivery, "FIRST_WAIT", 0.1)
    port = free_port()
    with Journal(tmp_path / "journal.sqlite", tmp_path) as journal:
        thread = Delivery(open_sink(f"mqtt://127.0.0.1:{port}/line"), journal)
        with mqtt_broker(port):
            thread.start()
            wait_for(lambda: thread._open)
        wait_for(lambda: "the broker closed the connection" in caplog.text)
        with mqtt_broker(port), Subscriber(port) as subscriber:
            wait_for(lambda: ("line/status", "online") in subscriber.messages, 10)
            thread.request_stop()
            thread.join(10)
            wait_for(lambda: ("line/status", "offline") in subscriber.messages)
    first, last = (record.getMessage() for record in caplog.records if record.name == delivery.__name__)
    assert first.endswith("the broker closed the connection; results are kept and sent when it is back")
    assert last.endswith("delivers again")


def test_a_topic_that_the_broker_refuses_is_no_delivery(caplog: pytest.LogCaptureFixture) -> None:
    with Mqtt5Broker(refusals={"line": 135}) as broker:
        sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/line")
        sink.open()
        with pytest.raises(UndeliveredError, match="does not let clients without a user publish to line; allow it"):
            sink.deliver(part_result(), NOWHERE)
        broker.refusals = {"line": 151}
        with pytest.raises(UndeliveredError, match="refuses what is published to line: Quota exceeded"):
            sink.deliver(part_result(), NOWHERE)
        sink.close()
    assert not caplog.records
    assert [topic for topic, _ in broker.published] == ["line/status", "line/status"]


def test_a_result_that_is_larger_than_the_broker_takes_does_not_block_the_next() -> None:
    large, small = part_result(1, part="x" * 5000), part_result(2)
    with Mqtt5Broker(largest=4000) as broker:
        sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/line")
        sink.open()
        with pytest.raises(
            RejectedResultError, match=r"for line has \d{4} bytes, the broker takes 4000; raise its limit"
        ):
            sink.deliver(large, NOWHERE)
        sink.check()  # still connected
        sink.deliver(small, NOWHERE)
        sink.close()
    assert [PartResult.model_validate_json(payload) for topic, payload in broker.published if topic == "line"] == [
        small
    ]


def test_results_go_where_the_status_may_not(caplog: pytest.LogCaptureFixture) -> None:
    with Mqtt5Broker(refusals={"line/status": 135}) as broker:
        sink = open_sink(f"mqtt://line1@127.0.0.1:{broker.port}/line")
        for number in (1, 2):
            sink.open()
            sink.deliver(part_result(number), NOWHERE)
        sink.close()
    assert [topic for topic, _ in broker.published] == ["line", "line"]
    assert caplog.text.count("does not let the user line1 publish to line/status; allow it") == 1


@pytest.mark.parametrize(
    ("address", "mend"),
    [("mqtt://line1@127.0.0.1", "check LAD_MQTT_PASSWORD and the user line1"), ("mqtt://127.0.0.1", "give a user")],
)
@pytest.mark.parametrize("reason", [134, 135])
def test_a_login_that_is_refused(address: str, mend: str, reason: int) -> None:
    with Mqtt5Broker(login=reason) as broker:
        sink = open_sink(f"{address}:{broker.port}/line")
        with pytest.raises(UndeliveredError, match=f"refuses the login .*; {mend}"):
            sink.open()
        sink.close()


@pytest.mark.filterwarnings("ignore:unclosed")  # paho leaves a socket whose handshake fails to the collector
def test_ports_with_and_without_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crt, context = certificate(tmp_path)
    with Mqtt5Broker() as broker, pytest.raises(UndeliveredError, match=f"; if port {broker.port} has no TLS, write"):
        open_sink(f"mqtts://localhost:{broker.port}/line").open()
    with Mqtt5Broker(tls=context) as broker:
        with pytest.raises(UndeliveredError, match=f"; if port {broker.port} wants TLS, write mqtts://"):
            open_sink(f"mqtt://localhost:{broker.port}/line").open()
        with pytest.raises(UndeliveredError, match=r"not trusted .*SSL_CERT_FILE"):
            open_sink(f"mqtts://localhost:{broker.port}/line").open()
        monkeypatch.setenv("SSL_CERT_FILE", str(crt))
        with pytest.raises(UndeliveredError, match=r"not trusted .*; give the host as the certificate names it"):
            open_sink(f"mqtts://127.0.0.1:{broker.port}/line").open()
        sink = open_sink(f"mqtts://localhost:{broker.port}/line")
        sink.open()
        sink.deliver(part_result(), NOWHERE)
        sink.close()
    assert [topic for topic, _ in broker.published] == ["line/status", "line", "line/status"]
