"""The public names of `lad_reasoner`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lad_reasoner


def test_every_public_name_is_there_and_listed() -> None:
    for name in lad_reasoner.__all__:
        assert getattr(lad_reasoner, name) is not None, name
    assert set(lad_reasoner.__all__) <= set(dir(lad_reasoner))
    assert not {"os", "Any", "TYPE_CHECKING"} & set(dir(lad_reasoner))
    assert {"Box", "Inspector", "Judge", "Judgement", "PicturePair", "Verdict", "compare"} <= set(dir(lad_reasoner))


FIRST_VERDICT = """
from PIL import Image
from lad_reasoner import Inspector

good = Image.effect_noise((64, 64), 40).convert("RGB")
assert Inspector(references=[good]).inspect(good).answer == "no"
"""


@pytest.mark.skipif(sys.platform == "win32", reason="HOME is not where a library of Windows looks")
def test_a_verdict_reports_to_nobody(tmp_path: Path) -> None:
    # ONNX Runtime keeps what it will send, and a number of the machine, in the home folder; under CI it sends nothing.
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment = {**kept, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", FIRST_VERDICT], env=environment, check=True)
    assert not list(tmp_path.rglob("*"))
