"""Results in a PLC's registers, read back over its own connection."""

import socket
import threading
from collections.abc import Iterator

import pytest
from pymodbus.client import ModbusTcpClient

from helpers.plant import NOWHERE, free_port, modbus_plc, part_result, wait_for
from lad_reasoner.errors import InputError
from lad_reasoner.service.sinks import modbus, open_sink
from lad_reasoner.service.sinks.sink import UndeliveredError


class Plc:
    """The PLC's own view of its registers."""

    def __init__(self, port: int, start: int = 0) -> None:
        self.client, self.start = ModbusTcpClient("127.0.0.1", port=port), start
        assert self.client.connect()

    def read(self, register: int, count: int = 1) -> list[int]:
        words: list[int] = self.client.read_holding_registers(self.start + register, count=count).registers
        return words

    def state(self) -> int:
        return self.read(modbus.STATE)[0]

    def number(self) -> int:
        high, low = self.read(modbus.NUMBER, 2)
        return high << 16 | low

    def acknowledge(self, number: int) -> None:
        self.client.write_register(self.start + modbus.ACKNOWLEDGED, number)


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    with modbus_plc(port):
        yield port


def test_a_result_fills_the_registers(port: int) -> None:
    sink = open_sink(f"modbus://127.0.0.1:{port}/?start=100")
    plc = Plc(port, 100)
    wait_for(lambda: plc.read(modbus.HEARTBEAT) != [0])
    assert plc.state() == 0, "nobody has said that the line is ready"
    sink.announce("ready")
    sink.deliver(part_result(70000, part="4711"), NOWHERE)
    assert plc.state() == modbus.READY | modbus.DONE
    assert plc.read(modbus.RESULT) == [2]
    assert plc.number() == 70000
    assert plc.read(modbus.SCORE, 3) == [7500, 100, 1]
    text = b"".join(word.to_bytes(2, "big") for word in plc.read(modbus.PART, modbus.PART_WORDS))
    assert text.rstrip(b"\0") == b"4711"
    assert plc.read(modbus.ACKNOWLEDGED) == [0], "the PLC's own register"
    assert plc.read(-1) == [0]
    assert plc.read(modbus.LENGTH) == [0]
    sink.deliver(part_result(70001, outcome="invalid", verdict=None, p_value=None, error="no file"), NOWHERE)
    assert plc.read(modbus.RESULT) == [4]
    assert plc.read(modbus.SCORE, 3) == [modbus.NO_VALUE, modbus.NO_VALUE, 0]
    sink.close()
    assert plc.state() == modbus.DONE, "neither ready nor busy: nobody is there"
    plc.client.close()


def test_the_heart_beats_and_the_state_follows(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus, "BEAT", 0.02)
    sink, plc = open_sink(f"modbus://127.0.0.1:{port}"), Plc(port)
    wait_for(lambda: plc.read(modbus.HEARTBEAT)[0] > 3)
    for state, bit in (("busy", modbus.BUSY), ("fault", modbus.FAULT), ("ready", modbus.READY)):
        sink.announce(state)  # type: ignore[arg-type]
        wait_for(lambda bit=bit: plc.state() == bit)  # type: ignore[misc]
    assert plc.state() == modbus.READY
    sink.close()
    plc.client.close()


def test_a_result_waits_for_its_acknowledgement(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, plc = open_sink(f"modbus://127.0.0.1:{port}/?acknowledge=1"), Plc(port)
    delivered = threading.Thread(target=sink.deliver, args=(part_result(5), NOWHERE))
    delivered.start()
    wait_for(lambda: plc.state() & modbus.DONE > 0)
    assert plc.number() == 5
    delivered.join(0.1)
    assert delivered.is_alive()
    plc.acknowledge(5)
    delivered.join(2)
    assert not delivered.is_alive()
    monkeypatch.setattr(modbus, "PATIENCE", 0.1)
    with pytest.raises(UndeliveredError, match="has not acknowledged the result 6"):
        sink.deliver(part_result(6), NOWHERE)
    sink.close()
    plc.client.close()


def test_a_plc_that_restarts_gets_its_last_result_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus, "BEAT", 0.05)
    port = free_port()
    sink = open_sink(f"modbus://127.0.0.1:{port}")
    sink.announce("ready")
    with pytest.raises(UndeliveredError):
        sink.deliver(part_result(7), NOWHERE)
    with pytest.raises(UndeliveredError, match="cannot be reached"):
        sink.check()
    with modbus_plc(port):
        sink.check()
        sink.deliver(part_result(7), NOWHERE)
    with modbus_plc(port):
        plc = Plc(port)
        wait_for(lambda: plc.number() == 7 and plc.state() == modbus.READY | modbus.DONE)
        plc.client.close()
    sink.close()


def test_registers_that_the_plc_lacks_are_named() -> None:
    port = free_port()
    with modbus_plc(port, registers=10):
        sink = open_sink(f"modbus://127.0.0.1:{port}")
        with pytest.raises(UndeliveredError, match="exception 2; it needs the holding registers 0 to 24 in unit 1"):
            sink.deliver(part_result(), NOWHERE)
        sink.close()


def test_a_device_that_does_not_answer_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = open_sink(f"modbus://127.0.0.1:{silent.getsockname()[1]}/?unit=3")
        with pytest.raises(
            UndeliveredError, match=r"^the PLC does not answer as unit 3; check host, port and \?unit=$"
        ):
            sink.deliver(part_result(), NOWHERE)
        sink.close()


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("modbus://", "no host"),
        ("modbus://plc:70000", "not an address"),
        ("modbus://plc/?unit=256", "unit=256: give a whole number from 0 to 255"),
        ("modbus://plc/?start=x", "start=x"),
        ("modbus://plc/?registers=3", "takes no option registers; there is unit, start, acknowledge"),
        ("modbus://plc/line1", "no paths"),
    ],
)
def test_addresses_that_cannot_be_used(address: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        open_sink(address)


def test_part_ids_in_registers() -> None:
    assert modbus.part_words("ab") == [0x6162] + [0] * 15
    long = "a-very-long-name-of-a-part/" + "0" * 28 + "4711"
    assert bytes(modbus.part_words(long)[-1].to_bytes(2, "big")) == b"11", "the end tells parts apart"
    assert modbus.part_words("ü")[0] == ord("?") << 8


def test_the_map_has_no_gap() -> None:
    following = 0
    for register, length, *_ in modbus.REGISTERS:
        assert register == following
        following += length
    assert following == modbus.LENGTH
