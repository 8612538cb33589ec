"""What the start of a station must not import: it would add to the time before the first verdict."""

import subprocess
import sys

import pytest

IDLE = ("scipy.stats", "pandas", "lad_reasoner.miniloco", "lad_reasoner.data.sources", "lad_reasoner.evaluation.run")


@pytest.mark.parametrize("module", ["inspection", "page"])
def test_opening_a_station_imports_no_statistics(module: str) -> None:
    names = f"[name for name in {IDLE} if name in sys.modules]"
    code = f"import sys, lad_reasoner.service.{module}; print({names})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
