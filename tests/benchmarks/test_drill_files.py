"""Values are replaced, and what that raises is lost."""

from pathlib import Path

import drill_files
import pytest

from lad_reasoner.errors import InputError


def test_a_value_is_replaced_and_what_that_raises_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lines.jsonl").write_text('{"a": {"b": 1}, "c": [2]}\n' * 3)
    seen: list[str] = []

    def read(folder: Path) -> None:
        text = (folder / "lines.jsonl").read_text(encoding="utf-8", errors="surrogatepass")
        seen.append(text)
        if len(seen) % 2:
            raise InputError("lines.jsonl: not valid")
        raise KeyError("b")

    taken, refused, lost = drill_files.try_files([drill_files.Victim("lines.jsonl", tmp_path, read)], 40, 3)
    assert (taken, refused, len(lost)) == (0, 20, 20)
    assert "KeyError: 'b' (test_drill_files.py:" in lost[0]
    assert len(set(seen)) > 30
    victims = drill_files.victims(tmp_path / "stock")
    assert len(victims) > 15
    for victim in victims:
        assert (victim.folder / victim.name).is_file()
