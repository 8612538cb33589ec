"""`make bench`: its page, and that a short form of it runs."""

from pathlib import Path

import bench
import pytest


def test_a_section_is_replaced_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "performance.md"
    for round_ in ("first", "second"):
        sections = {name: lambda quick, name=name, round_=round_: f"{name}, {round_}" for name in ("a", "b", "c")}
        monkeypatch.setattr(bench, "SECTIONS", sections)
        bench.main(["--out", str(page), *(["--only", "b"] if round_ == "second" else [])])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Performance\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## a", "## b", "## c"]
    assert [line for line in text.splitlines() if ", " in line and len(line) < 12] == [
        "a, first",
        "b, second",
        "c, first",
    ]


def test_what_a_gpu_gave_stays_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "performance.md"
    for told in ("fast", bench.NO_GPU):
        monkeypatch.setattr(bench, "SECTIONS", {"card": lambda quick, told=told: told, "rest": lambda quick: "all"})
        bench.main(["--out", str(page)])
    assert "fast" in page.read_text(encoding="utf-8")
    page.unlink()
    bench.main(["--out", str(page)])
    assert bench.NO_GPU in page.read_text(encoding="utf-8")


def test_each_line_of_a_section_is_a_paragraph(monkeypatch: pytest.MonkeyPatch) -> None:
    body = "one\ntwo\n| a |\n|---|\n| b |\nthree"
    monkeypatch.setattr(bench, "SECTIONS", {"a": lambda quick: body})
    assert bench._section("a", quick=True).endswith("\n\none\n\ntwo\n\n| a |\n|---|\n| b |\n\nthree\n")


@pytest.mark.slow  # judges with evidence
def test_a_short_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "performance.md"
    sections = ["machine", "queries", "parts", "card"]
    bench.main(["--quick", "--out", str(page), "--only", *sections])
    printed = capsys.readouterr().out
    assert [line.removeprefix("## ") for line in printed.splitlines() if line.startswith("## ")] == sections
    assert "of this machine's rate" in printed
    assert "`judges/evidence/" in printed
    assert not page.exists()
    assert set(bench.SECTIONS) > set(sections) >= {"machine"}
