"""`make bench`: what its helpers compute, that it looks at the right thread, and that a short form of it runs."""

import sys
import time
from pathlib import Path

import bench
import pytest
import torch

from lad_reasoner.answers import parse_response
from lad_reasoner.quality import _look


def test_medians_with_their_spread() -> None:
    assert bench.spread([3, 1, 2]) == (2, 1, 3)
    assert bench.words((4.5, 4.2, 4.81)) == "4.5 (4.2 to 4.8)"
    order: list[str] = []
    seconds = bench.time_in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b", "a", "b"]
    assert [len(times) for times in seconds.values()] == [2, 2]
    assert bench.table(("a", "b"), [(1, 2)]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_operations_are_counted() -> None:
    matrix = torch.ones(100, 100)
    assert bench.count_operations(lambda: matrix @ matrix) == pytest.approx(2e-3)
    inspector = bench._inspector(1)
    bench._judge(inspector, 1)
    pytest.importorskip("onnx", reason="onnx, which reads the graph of the network, is not installed")
    assert bench.count_evidence(inspector) > 0.5  # the network alone takes more


def test_looks_find_the_module_that_works() -> None:
    pair = bench._inspector(1).read_pair(bench._drawn("test", 1)[0])
    with bench.Sampler() as sampler:
        end = time.monotonic() + 30
        while sampler.counts["quality.py"] < 3 and time.monotonic() < end:
            _look(pair.query)
    assert sampler.counts.most_common(1)[0][0] == "quality.py"


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


def test_launches_are_named_where_they_bound() -> None:
    class Config:
        num_hidden_layers = 4

        def get_text_config(self) -> "Config":
            return self

    told = bench._launches(Config(), [8.0, 9.0], (1, 32))
    assert "8.0 ms for 1 and 9.0 ms for 32 responses" in told
    assert "2000 µs a layer" in told
    assert bench._launches(Config(), [8.0, 20.0], (1, 32)) == ""


def test_each_line_of_a_section_is_a_paragraph(monkeypatch: pytest.MonkeyPatch) -> None:
    body = "one\ntwo\n| a |\n|---|\n| b |\nthree"
    monkeypatch.setattr(bench, "SECTIONS", {"a": lambda quick: body})
    assert bench._section("a", quick=True).endswith("\n\none\n\ntwo\n\n| a |\n|---|\n| b |\n\nthree\n")


def test_an_engine_takes_its_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench.Engine(sys.executable, "transformers", 5) as engine:
        first, second = engine.turn(), engine.turn()
    assert engine.process.returncode == 0
    assert len(first["answers"]) == 5 and first["answers"] == second["answers"]
    assert all(parse_response(text).structured for text in first["answers"])
    monkeypatch.delenv("LAD_VLLM_PYTHON", raising=False)
    assert bench.engines(quick=True) == "No Python with vLLM was at hand (LAD_VLLM_PYTHON)."


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


@pytest.mark.slow
def test_the_large_model_in_small(tmp_path: Path) -> None:
    bench.make_3b(tmp_path, layers=1)
    told = bench.measure_3b(tmp_path, "cpu", 1, (1, 2))
    rows = [line.split(" | ") for line in told.splitlines() if line.startswith("| ")][2:]
    assert [(row[0], row[1]) for row in rows] == [
        ("| 1", "reading"),
        ("| 1", "writing"),
        ("| 2", "reading"),
        ("| 2", "writing"),
    ]
    assert all(
        "TFLOP/s" in row[3] if row[1] == "reading" else "tokens/s" in row[2] and "GB/s" in row[3] for row in rows
    )
    assert all(int(row[4].split()[0]) >= 0 for row in rows)
