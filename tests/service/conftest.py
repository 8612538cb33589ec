"""An archive that is empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lad_reasoner.service.archive import Archive


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(tmp_path, "bottle")
    yield archive
    archive.close()
