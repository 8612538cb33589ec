"""Results at a broker, and what other subscribers see of the connection."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest

from helpers.plant import NOWHERE, free_port, mqtt_broker, part_result, wait_for
from lad_reasoner.errors import InputError
from lad_reasoner.service import delivery
from lad_reasoner.service.delivery import Delivery
from lad_reasoner.service.journal import Journal
from lad_reasoner.service.parts import PartResult
from lad_reasoner.service.sinks import mqtt, open_sink
from lad_reasoner.service.sinks.sink import UndeliveredError


class Subscriber:
    """What another program of the plant receives of all topics."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, str]] = []
        self._port, self._loop, self._ready = port, asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._receive(),))

    async def _receive(self) -> None:
        self._task = asyncio.current_task()
        try:
            async with aiomqtt.Client("127.0.0.1", self._port) as client:
                await client.subscribe("#", qos=1)
                self._ready.set()
                async for message in client.messages:
                    self.messages.append((str(message.topic), bytes(message.payload).decode()))  # type: ignore[arg-type]
        except (asyncio.CancelledError, aiomqtt.MqttError):
            pass

    def __enter__(self) -> "Subscriber":
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._task is not None
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
        self._loop.close()


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
