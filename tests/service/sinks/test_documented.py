"""docs/watch.md says what the sinks do."""

import re
from pathlib import Path

from lad_reasoner.service.sinks import SINKS, mqtt, opcua, webhook
from lad_reasoner.service.sinks.modbus import REGISTERS

PAGE = (Path(__file__).parents[3] / "docs/watch.md").read_text(encoding="utf-8")


def test_the_register_map_is_the_one_of_the_code() -> None:
    rows = re.findall(r"^\| ([\d–]+) \| ([^|:]+): ([^|]+) \|$", PAGE, re.MULTILINE)
    expected = []
    for register, length, name, content in REGISTERS:
        numbers = str(register) if length == 1 else f"{register}–{register + length - 1}"
        expected.append((numbers, name, content))
    assert rows == expected


def test_schemes_variables_and_secrets_are_named() -> None:
    for scheme in SINKS.keys() - {"http"}:
        assert f"{scheme}://" in PAGE
    for name in opcua.VARIABLES:
        assert f"`{name}`" in PAGE
    for secret in (webhook.SECRET, mqtt.PASSWORD, opcua.PASSWORD):
        assert f"`{secret}`" in PAGE
    assert " ".join(map(str, sorted(webhook.REJECTED)[:3])).replace(" ", ", ") in PAGE
