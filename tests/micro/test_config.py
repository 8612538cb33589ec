"""Configs of the pretraining: those that are none, and those of before the stage joint."""

from __future__ import annotations

from pathlib import Path

import pytest

from lad_reasoner.errors import InputError
from lad_reasoner.micro.training import read_config

BASE = Path(__file__).parents[2] / "configs/micro/base.yaml"


def test_a_config_without_the_stage_joint_leaves_it_out(tmp_path: Path) -> None:
    lines = BASE.read_text(encoding="utf-8").splitlines()
    (tmp_path / "base.yaml").write_text("\n".join(line for line in lines if not line.startswith("joint:")))
    assert read_config(tmp_path / "base.yaml").joint.minutes == 0


@pytest.mark.parametrize("content", [b"[" * 100_000, b"out: \xff\xfe", b"out: [x"])
def test_what_is_not_yaml_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "base.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"base\.yaml: not valid YAML") as raised:
        read_config(tmp_path / "base.yaml")
    assert "\n" not in str(raised.value)
