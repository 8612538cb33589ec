"""`make bench`: an engine in a process of its own."""

import sys

import bench_micro
import pytest

from lad_reasoner.answers import parse_response


def test_an_engine_takes_its_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench_micro.Engine(sys.executable, "transformers", 5) as engine:
        first, second = engine.turn(), engine.turn()
    assert engine.process.returncode == 0
    assert len(first["answers"]) == 5 and first["answers"] == second["answers"]
    assert all(parse_response(text).structured for text in first["answers"])
    monkeypatch.delenv("LAD_VLLM_PYTHON", raising=False)
    assert bench_micro.engines(quick=True) == "No Python with vLLM was at hand (LAD_VLLM_PYTHON)."
