"""The guard against collapse and the samples of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lad_reasoner.errors import RecordError
from lad_reasoner.train.monitor import CollapseGuard, Samples


@pytest.mark.parametrize(("share", "said"), [(0.97, "97%"), (0.0, "0%")])
def test_a_policy_that_gives_one_answer_only(share: float, said: str) -> None:
    guard = CollapseGuard(3)
    logs = {"yes_rate": share, "label_yes_rate": 0.6, "zero_spread": 0.5}
    assert [bool(guard.look(logs)) for _ in range(6)] == [False, False, True, False, False, True]
    guard = CollapseGuard(1)
    warning = guard.look(logs)
    assert f"{said} of the answers were yes" in warning
    assert "60% of the labels" in warning
    assert "learning_rate" in warning


def test_groups_without_spread() -> None:
    guard = CollapseGuard(2)
    assert not guard.look({"yes_rate": 0.5, "zero_spread": 1.0})
    assert "temperature" in guard.look({"yes_rate": 0.5, "zero_spread": 1.0})


def test_a_good_step_begins_the_count_anew() -> None:
    guard = CollapseGuard(2)
    figures = [1.0, 0.95, 1.0, 0.05, 0.04]
    assert not any(guard.look({"yes_rate": share}) for share in figures)
    assert guard.look({"yes_rate": 0.04})
    assert not guard.look({"loss": 1.0})  # a line without the figures


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=30), st.integers(1, 4))
def test_it_warns_exactly_after_so_many_bad_steps(steps: list[tuple[float, float]], patience: int) -> None:
    guard, yes, same = CollapseGuard(patience), 0, 0
    for share, spread in steps:
        yes = 0 if 0.05 <= share <= 0.95 else yes + 1
        same = 0 if spread < 1 else same + 1
        expected = (yes > 0 and yes % patience == 0) or (same > 0 and same % patience == 0)
        assert bool(guard.look({"yes_rate": share, "zero_spread": spread})) == expected


def sample(name: str, response: str = "<think>a</think><answer>yes</answer>") -> dict[str, object]:
    rewards = {"structure_reward": 1.0, "accuracy_reward": 0.0}
    return {"id": name, "label": "no", "answer": "yes", "rewards": rewards, "advantage": -0.5, "response": response}


def test_samples_are_kept_and_shown(tmp_path: Path) -> None:
    shown: list[Any] = []
    samples = Samples(tmp_path / "samples.jsonl", 10, lambda *facts: shown.append(facts))
    assert [step for step in range(1, 31) if samples.due(step)] == [1, 10, 20, 30]
    rows = [sample("a"), sample("a", "again"), sample("b", "[red]no markup[/red]")]
    samples.add(1, rows)
    assert shown == [(1, rows)]
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [(line["step"], line["response"][:5]) for line in lines] == [(1, "<thin"), (1, "again"), (1, "[red]")]


def test_what_a_resumed_run_samples_again_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    samples = Samples(path, 1)
    samples.forget(0)
    assert not path.exists()
    for step in (1, 2, 3):
        samples.add(step, [sample(f"at {step}")])
    with path.open("a") as file:
        file.write('{"step": 4, "id"')  # a crash cut it off
    samples.forget(2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


@pytest.mark.parametrize("line", [b"junk", b"[1]", b"{}", b'{"step": "x"}', b"\xff"])
def test_a_line_that_is_no_sample_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "samples.jsonl"
    Samples(path, 1).add(1, [sample("a")])
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(RecordError, match=r"samples\.jsonl:2: not a sample of this run; remove the line"):
        Samples(path, 1).forget(2)
