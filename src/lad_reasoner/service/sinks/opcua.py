"""Results in the variables of an OPC UA server, as PLCs and plant software have one.

    opc.tcp://user@server:4840/?node=ns=2;s=Inspection

The node has one variable for each name of `VARIABLES`, of any type that holds the value. NUMBER is written last, after
all others: who waits for it to change never reads half a result. The password is read from LAD_OPCUA_PASSWORD.
Security is that of the server's policy None: keep such a server inside the plant's network.
"""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime
from typing import Any

from lad_reasoner.errors import InputError, require
from lad_reasoner.service.parts import RESULT_CODES, PartResult, PictureFile
from lad_reasoner.service.sinks.sink import Sink, UndeliveredError, parse_sink_address, read_secret
from lad_reasoner.text import listed

PASSWORD = "LAD_OPCUA_PASSWORD"
TIMEOUT = 5.0  # seconds for one answer of the server
NO_VALUE = -1.0  # in Score and PValue
NUMBER = "Number"
VARIABLES = ("Result", "Part", "Score", "PValue", "Headline", "Time", NUMBER)


class OpcUaNodes(Sink):
    """Writes each result to the variables below a node."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        # asyncua is LGPL: used as a library, through its public interface.
        self._library = require("asyncua.sync", "plant", "asyncua")
        self._ua = require("asyncua.ua", "plant", "asyncua")
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # it logs each try; Delivery says it once
        address = parse_sink_address(name, port=4840, options=("node",))
        if "node" not in address.options:
            raise InputError(f"--to {name}: give the node that holds the variables, as in ?node=ns=2;s=Inspection")
        try:
            self._node = self._ua.NodeId.from_string(address.options["node"])
        except self._ua.UaStringParsingError:
            raise InputError(
                f"--to {name}: {address.options['node']} is not a node; write it as in ns=2;s=Inspection"
            ) from None
        path = f"/{address.path}" if address.path else ""
        self._url = f"opc.tcp://{address.host}:{address.port}{path}"
        self._user, self._password = address.user, read_secret(PASSWORD)
        self._client: Any = None
        self._nodes: dict[str, tuple[Any, Any]] = {}  # variable -> (node, type)

    def open(self) -> None:
        self.close()
        client = self._library.Client(self._url, timeout=TIMEOUT)
        if self._user:
            client.set_user(self._user)
            client.set_password(self._password)
        try:
            self._guard(client.connect)
        except UndeliveredError:
            client.tloop.stop()
            raise
        self._client = client
        self._nodes = self._guard(self._find_variables)

    def deliver(self, result: PartResult, file: PictureFile) -> None:
        self._guard(self._write, result)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(UndeliveredError):
                self._guard(client.disconnect)

    def _find_variables(self) -> dict[str, tuple[Any, Any]]:
        nodes = {}
        for node in self._client.get_node(self._node).get_children():
            name = node.read_browse_name().Name
            if name in VARIABLES:
                nodes[name] = node, node.read_data_type_as_variant_type()
        missing = [name for name in VARIABLES if name not in nodes]
        if missing:
            raise UndeliveredError(f"the node {self._node.to_string()} has no variable {listed(missing, 9)}")
        return nodes

    def _write(self, result: PartResult) -> None:
        values = result_values(result)
        number = values.pop(NUMBER)
        self._client.write_values(
            [self._nodes[name][0] for name in values], list(map(self._typed, values, values.values()))
        )
        self._nodes[NUMBER][0].write_value(self._typed(NUMBER, number))

    def _typed(self, name: str, value: Any) -> Any:
        kind = self._nodes[name][1]
        if kind.name == "String":
            value = str(value)
        elif kind.name in ("Float", "Double"):
            value = float(value)
        elif kind.name == "DateTime":
            value = datetime.fromisoformat(value)
        elif kind.name == "LocalizedText":
            value = self._ua.LocalizedText(value)
        return self._ua.DataValue(self._ua.Variant(value, kind))

    def _guard(self, work: Any, *arguments: Any) -> Any:
        """Run a call of the library; its failures become UndeliveredError."""
        try:
            return work(*arguments)
        except UndeliveredError:
            raise
        except Exception as error:  # the library raises anything, down to struct.error for a value that does not fit
            raise UndeliveredError(" ".join(str(error).split()) or type(error).__name__) from None


def result_values(result: PartResult) -> dict[str, Any]:
    """The value of each of `VARIABLES`."""
    verdict = result.verdict
    has_score = verdict is not None and verdict.answer != "invalid"
    return {
        "Result": RESULT_CODES[result.outcome],
        "Part": result.part,
        "Score": verdict.score if verdict and has_score else NO_VALUE,
        "PValue": NO_VALUE if result.p_value is None else result.p_value,
        "Headline": result.error or (verdict.headline or verdict.reasoning if verdict else ""),
        "Time": result.time.isoformat(),
        NUMBER: result.number,
    }
