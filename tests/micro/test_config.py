"""Configs of the pretraining that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from lad_reasoner.errors import InputError
from lad_reasoner.micro.training import read_config


@pytest.mark.parametrize("content", [b"[" * 100_000, b"out: \xff\xfe", b"out: [x"])
def test_what_is_not_yaml_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "base.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"base\.yaml: not valid YAML") as raised:
        read_config(tmp_path / "base.yaml")
    assert "\n" not in str(raised.value)
