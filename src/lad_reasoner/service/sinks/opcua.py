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
# Variable -> the types that hold its value.
VARIABLES = {
    "Result": ("Int32", "UInt32", "Int64", "UInt64", "Int16", "UInt16", "SByte", "Byte", "Double", "Float", "String"),
    "Part": ("String", "LocalizedText"),
    "Score": ("Double", "Float", "String"),
    "PValue": ("Double", "Float", "String"),
    "Headline": ("String", "LocalizedText"),
    "Time": ("DateTime", "String"),
    NUMBER: ("UInt32", "Int32", "UInt64", "Int64", "Double", "String"),
}


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
        faults = self._ua.uaerrors
        self._refusals = (faults.BadUserAccessDenied, faults.BadIdentityTokenRejected, faults.BadIdentityTokenInvalid)
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
        except UndeliveredError as error:
            client.tloop.stop()
            if isinstance(error.__cause__, self._refusals):
                user = f"the user {self._user}" if self._user else "a client without a user"
                mend = f"the server refuses {user}; check the user in the address and {PASSWORD}"
                raise UndeliveredError(mend) from None
            raise
        self._client = client
        self._nodes = self._guard(self._find_variables)

    def check(self) -> None:
        # Otherwise nobody would hear of a server that is away until the next part.
        self._guard(self._nodes[NUMBER][0].read_value)

    def deliver(self, result: PartResult, file: PictureFile) -> None:
        try:
            self._guard(self._write, result)
        except UndeliveredError as error:
            if isinstance(error.__cause__, (*self._refusals, self._ua.uaerrors.BadNotWritable)):
                user = f"the user {self._user}" if self._user else "clients without a user"
                node = self._node.to_string()
                raise UndeliveredError(f"the server does not let {user} write the variables of {node}") from None
            raise

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
            lacks = f"the node {self._node.to_string()} has no variable {listed(missing, 9)}"
            raise UndeliveredError(f"{lacks}; check ?node=, or add them there")
        for name, types in VARIABLES.items():
            kind = nodes[name][1].name
            if kind not in types:
                raise UndeliveredError(
                    f"the variable {name} has the type {kind}, which does not hold its values; give it {types[0]}"
                )
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
            reason = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, TimeoutError):
                reason = "the server does not answer; check host and port"
            raise UndeliveredError(reason) from error


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
