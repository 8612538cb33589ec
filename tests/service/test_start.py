"""What the start of a station must not import: it would add to the time before the first verdict."""

import subprocess
import sys


def test_opening_a_station_imports_no_statistics() -> None:
    names = "[name for name in ('scipy.stats', 'pandas') if name in sys.modules]"
    code = f"import sys, lad_reasoner.service.inspection; print({names})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
