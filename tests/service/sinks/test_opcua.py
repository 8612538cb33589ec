"""Results in the variables of an OPC UA server, read back by another client."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import ua
from asyncua.sync import Client

from helpers.plant import NOWHERE, free_port, opcua_server, part_result
from lad_reasoner.errors import InputError
from lad_reasoner.service import sinks
from lad_reasoner.service.sinks import opcua
from lad_reasoner.service.sinks.sink import Sink, UndeliveredError

VARIABLES: dict[str, Any] = {
    "Result": 0,
    "Part": "",
    "Score": 0.0,
    "PValue": 0.0,
    "Headline": "",
    "Time": "",
    "Number": 0,
}


OpenSink = Callable[[str], Sink]


@pytest.fixture
def open_sink() -> Iterator[OpenSink]:
    """Sinks that are closed though a test fails: a thread of their library would keep all tests from ending."""
    with ExitStack() as stack:
        yield lambda address: stack.enter_context(closing(sinks.open_sink(address)))


def read_all(address: str) -> dict[str, Any]:
    url, _, node = address.partition("?node=")
    with Client(url) as client:
        children = client.get_node(node).get_children()
        return {child.read_browse_name().Name: child.read_value() for child in children}


def test_a_result_fills_the_variables(open_sink: OpenSink) -> None:
    # asyncua's server takes two seconds for each start, and its end is part of the test.
    port = free_port()
    with opcua_server(port, VARIABLES) as address:
        sink = open_sink(address)
        sink.open()
        sink.deliver(part_result(9, part="4711"), NOWHERE)
        assert read_all(address) == {
            "Result": 2,
            "Part": "4711",
            "Score": 0.75,
            "PValue": 0.01,
            "Headline": "a hole",
            "Time": "2026-05-04T03:02:01+00:00",
            "Number": 9,
        }
        sink.deliver(part_result(10, outcome="invalid", verdict=None, p_value=None, error="no file"), NOWHERE)
        values = read_all(address)
        assert (values["Result"], values["Score"], values["PValue"]) == (4, opcua.NO_VALUE, opcua.NO_VALUE)
        assert values["Headline"] == "no file"
    with pytest.raises(UndeliveredError):
        sink.deliver(part_result(11), NOWHERE)
    with opcua_server(port, VARIABLES) as address:
        sink.open()
        sink.deliver(part_result(11), NOWHERE)
        assert read_all(address)["Number"] == 11
        sink.close()


def test_missing_variables_are_named(open_sink: OpenSink) -> None:
    with opcua_server(free_port(), {"Result": 0, "Part": ""}) as address:
        sink = open_sink(address)
        with pytest.raises(UndeliveredError, match="has no variable Score, PValue, Headline, Time, Number; check"):
            sink.open()
        sink.close()
        other = open_sink(address.replace("s=Inspection", "s=Nothing"))
        with pytest.raises(UndeliveredError):
            other.open()
        other.close()


def test_a_type_that_does_not_hold_the_values_is_named(open_sink: OpenSink) -> None:
    counter = ua.Variant(0, ua.VariantType.Byte)  # full after 255 parts
    with opcua_server(free_port(), VARIABLES | {"Number": counter}) as address:
        sink = open_sink(address)
        with pytest.raises(UndeliveredError, match=r"variable Number has the type Byte, .* give it UInt32"):
            sink.open()
        sink.close()


def test_users_and_rights(open_sink: OpenSink) -> None:
    port = free_port()
    with opcua_server(port, VARIABLES, user="line") as address:
        for user, problem in (("", "refuses a client without a user"), ("other@", "refuses the user other")):
            sink = open_sink(address.replace("://", f"://{user}"))
            with pytest.raises(UndeliveredError, match=f"{problem}; check the user in the address and LAD_OPCUA"):
                sink.open()
        sink = open_sink(address.replace("://", "://line@"))
        sink.open()
        with pytest.raises(UndeliveredError, match="does not let the user line write the variables of ns=2;s=Insp"):
            sink.deliver(part_result(), NOWHERE)
        sink.check()
    with pytest.raises(UndeliveredError):
        sink.check()
    sink.close()


def test_a_server_that_says_nothing(open_sink: OpenSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opcua, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = open_sink(f"opc.tcp://127.0.0.1:{silent.getsockname()[1]}/?node=ns=2;s=Inspection")
        with pytest.raises(UndeliveredError, match=r"^the server does not answer; check host and port$"):
            sink.open()
        sink.close()


@pytest.mark.parametrize("address", ["opc.tcp://server", "opc.tcp://server/?node=somewhere"])
def test_a_node_is_needed(open_sink: OpenSink, address: str) -> None:
    with pytest.raises(InputError, match="ns=2;s=Inspection"):
        open_sink(address)


def test_a_time_and_a_text_of_their_own_types(open_sink: OpenSink) -> None:
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    variables = VARIABLES | {"Time": moment, "Headline": ua.LocalizedText("")}
    with opcua_server(free_port(), variables) as address:
        sink = open_sink(address)
        sink.open()
        sink.deliver(part_result(9), NOWHERE)
        values = read_all(address)
        sink.close()
    assert values["Time"].replace(tzinfo=UTC) == part_result(9).time
    assert values["Headline"].Text == "a hole"
