"""Where results go: folders, JSON lines, a webhook, MQTT, Modbus TCP, OPC UA; one module for each.

sink = open_sink("mqtt://broker/line1")
"""

from __future__ import annotations

from importlib import import_module

from lad_reasoner.errors import InputError
from lad_reasoner.service.sinks.sink import Sink

# Scheme -> its class. Imported when it is asked for, since each needs a package of an extra.
SINKS = {
    "http": "webhook:Webhook",
    "https": "webhook:Webhook",
    "modbus": "modbus:ModbusRegisters",
    "mqtt": "mqtt:MqttTopic",
    "mqtts": "mqtt:MqttTopic",
    "opc.tcp": "opcua:OpcUaNodes",
}


def open_sink(address: str, *, move: bool = False) -> Sink:
    """The sink of an address: a URL with one of the schemes of `SINKS`, FILE.jsonl, or a folder.

    With `move` a folder takes the pictures instead of copies of them. Raises InputError for an address that cannot be
    used, MissingExtraError if its package is not installed.
    """
    from lad_reasoner.service.sinks.files import JsonLines, SortedFolders

    scheme, separator, _ = address.partition("://")
    if separator:
        if scheme not in SINKS:
            schemes = ", ".join(f"{name}://" for name in SINKS)
            raise InputError(f"--to {address}: no sink for {scheme}://; there is {schemes}, FILE.jsonl and a folder")
        module, _, name = SINKS[scheme].partition(":")
        sink: Sink = getattr(import_module(f"{__name__}.{module}"), name)(address)
        return sink
    if address.endswith(".jsonl"):
        return JsonLines(address)
    if address.endswith((".json", ".csv", ".txt", ".sqlite")):
        raise InputError(f"--to {address}: results are written as JSON lines; name the file FILE.jsonl, or a folder")
    return SortedFolders(address, move=move)


__all__ = ["SINKS", "Sink", "open_sink"]
