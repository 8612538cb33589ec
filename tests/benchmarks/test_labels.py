"""The table of labels.py, with a reader that needs no network and no model."""

from pathlib import Path

import labels
from PIL import Image

from lad_reasoner.files.pictures import Picture
from lad_reasoner.judges.evidence.labels import LabelReader, Text


class WidthReader(LabelReader):
    """Reads a wide picture as one text, a narrow one as none."""

    def __init__(self) -> None:
        pass

    def read(self, picture: Picture) -> tuple[Text, ...]:
        return (Text("100% Juice", 0.95, 0, 0, 1, 1),) if picture.width > 60 else ()


def test_counts_by_kind(tmp_path: Path) -> None:
    for name, width in (("train/good/0", 64), ("train/good/1", 64), ("test/good/0", 64), ("test/bad/0", 32)):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.radial_gradient("L").resize((width, 32)).save(path)
    assert [line.split() for line in labels.measure(tmp_path, WidthReader())] == [
        *[["references", "pictures", "2", "text", "read", "in", "2", "text", "missing", "or", "added", "in", "0"]],
        *[["bad", "pictures", "1", "text", "read", "in", "0", "text", "missing", "or", "added", "in", "1"]],
        *[["good", "pictures", "1", "text", "read", "in", "1", "text", "missing", "or", "added", "in", "0"]],
    ]
