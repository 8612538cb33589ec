"""The history and the previews of a station as tables: CSV, and workbooks for Excel.

    content = csv_table(HISTORY_HEADS, map(history_row, archive.history()))
    content = excel_table("preview", CHANGE_HEADS, change_rows(change))

Texts of strangers become neither formulas nor control characters.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lad_reasoner.errors import require
from lad_reasoner.files.tables import defused, format_table_row
from lad_reasoner.service.archived import Change, Inspection
from lad_reasoner.service.rules import broken_rules
from lad_reasoner.text import printable, shown

HISTORY_HEADS = (
    "id",
    "time",
    "part",
    "outcome",
    "score",
    "p-value",
    "headline",
    "why",
    "who",
    "version",
    "judge",
    "opinion",
    "reason",
    "note",
    "reviewer",
    "reviewed at",
    "broken rules",
)
CHANGE_HEADS = ("id", "part", "before", "after", "score before", "score after", "a person said")


def history_row(inspection: Inspection) -> list[Any]:
    """Cells below `HISTORY_HEADS`; of several opinions the last one."""
    verdict = inspection.verdict
    said = inspection.feedback[-1] if inspection.feedback else None
    row = [inspection.id, inspection.at, inspection.part, inspection.outcome, inspection.score]
    row += [inspection.p_value, verdict and verdict.headline, inspection.why, inspection.who, inspection.version]
    row += [verdict and verdict.model]
    row += [said.opinion.value, said.reason, said.note, said.who, said.at] if said else [None] * 5
    broken = broken_rules(verdict.checks) if verdict else []
    return [*row, "; ".join(f"{checked.rule} ({checked.seen})" for checked in broken)]


def change_rows(change: Change) -> Iterator[list[Any]]:
    """Rows below `CHANGE_HEADS`: each part whose outcome a change changes."""
    for part in change.preview.get("changes", ()):
        before, after = part.get("scores", (None, None))
        yield [part["id"], part["part"], part["before"], part["after"], before, after, part["truth"]]


def csv_table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """UTF-8 with the mark by which Excel knows it."""
    table = "".join(format_table_row(row) for row in (heads, *rows))
    return printable(table).encode("utf-8-sig")


def excel_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A workbook of one sheet. MissingExtraError without the extra `serve`."""
    openpyxl = require("openpyxl", "serve")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet(title)
    sheet.freeze_panes = "A2"
    sheet.append(heads)
    for row in rows:
        sheet.append([_cell(value) for value in row])
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """A cell of a workbook, which holds no control characters, and no formula."""
    return defused(shown(value, lines=True)) if isinstance(value, str) else value
