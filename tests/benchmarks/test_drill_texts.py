"""The parser against the scanner."""

import drill_texts
import pytest

from lad_reasoner.answers import Response


def test_the_parser_and_the_scanner_agree() -> None:
    tally = drill_texts.drill_parser(3000, seed=2)
    assert tally.lost == []
    assert 100 < int(tally.note.split("(")[1].split()[0]) < 2000


def test_a_wrong_parser_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill_texts, "parse_response", lambda text: Response("a", "yes", True))
    tally = drill_texts.drill_parser(50)
    assert len(tally.lost) > 20
    assert str(tally).startswith(f"tried 50, survived {50 - len(tally.lost)}, lost {len(tally.lost)}")
