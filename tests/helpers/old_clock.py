"""`python -m helpers.old_clock …`: lad-reasoner, whose archives believe that it is earlier by the days in LAD_CLOCK."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lad_reasoner.cli.app import main
from lad_reasoner.service import archive


def _earlier() -> str:
    days = float(Path(os.environ["LAD_CLOCK"]).read_text())
    return (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="milliseconds")


if __name__ == "__main__":
    archive.utc_now = _earlier
    main()
