"""How often labels are read, and what their comparison says.

    python benchmarks/labels.py FOLDER

The folder of one product in MVTec's layout: the pictures of train/good are the references, those of test/* the queries.
A line for each kind of query: in how many some text was read, in how many a text is missing or added.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lad_reasoner.files.pictures import read_picture
from lad_reasoner.files.walk import find_pictures
from lad_reasoner.judges.evidence.labels import LabelReader, Text, compare_texts


def measure(folder: Path, reader: LabelReader) -> list[str]:
    """The lines of the table, the references' first."""
    references = [reader.read(read_picture(path)) for path in find_pictures([str(folder / "train/good")])]
    lines = [_describe("references", references, 0)]
    for kind in sorted(path for path in (folder / "test").iterdir() if path.is_dir()):
        texts = [reader.read(read_picture(path)) for path in find_pictures([str(kind)])]
        changed = sum(bool(compare_texts(references, text)) for text in texts)
        lines.append(_describe(kind.name, texts, changed))
    return lines


def _describe(name: str, texts: list[tuple[Text, ...]], changed: int) -> str:
    read = sum(map(bool, texts))
    return f"{name:22s} pictures {len(texts):3d}  text read in {read:3d}  text missing or added in {changed:3d}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Labels that are read, and what their comparison says.")
    parser.add_argument("folder", type=Path)
    for line in measure(parser.parse_args().folder, LabelReader()):
        print(line)


if __name__ == "__main__":
    main()
