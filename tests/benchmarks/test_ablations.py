"""The ablations: every row is a setting that TRL takes, the table is of what is finished, the test is about pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

trl = pytest.importorskip("trl")
import ablations  # noqa: E402

from helpers.runs import prediction, write_run  # noqa: E402
from lad_reasoner.records import Prediction  # noqa: E402
from lad_reasoner.train.grpo import UNREAD, GrpoSettings, make_arguments  # noqa: E402
from lad_reasoner.train.settings import read_recipe  # noqa: E402


@pytest.mark.parametrize("name", ablations.ROWS)
@pytest.mark.parametrize("size", [ablations.FULL, ablations.SHORT])
def test_every_row_is_a_setting(name: str, size: ablations.Size) -> None:
    row = ablations.ROWS[name]
    recipe = read_recipe(
        ablations.CONFIG,
        [*size.words, *row.words, "--bf16", "false"],
        ours=GrpoSettings,
        theirs=trl.GRPOConfig,
        unread=UNREAD,
    )
    arguments = make_arguments(recipe)
    assert arguments.generation_batch_size % arguments.num_generations == 0
    assert sum(arguments.reward_weights) == pytest.approx(1)
    assert row == ablations.Row() or row.words or row.pairs != "plain"
    if row.pairs == "easy-first":
        assert not arguments.shuffle_dataset  # it would undo the order


def lines(right: int) -> list[Prediction]:
    """20 good, 20 logical and 20 structural queries, so many of each judged right."""
    made = []
    for kind in ("good", "logical", "structural"):
        for at in range(20):
            answer = "yes" if (kind != "good") == (at < right) else "no"
            made.append(prediction(f"{kind}/{at}.png", kind != "good", answer, float(answer == "yes"), kind=kind))
    return made


def finish(out: Path, name: str, seed: int, right: int) -> None:
    folder = out / "runs" / f"{ablations.slug(name)}-{seed}"
    write_run(folder / "eval", lines(right))
    (folder / "seconds.json").write_text("60\n")


def test_the_table_has_the_rows_that_are_finished(tmp_path: Path) -> None:
    for seed in (1, 2):
        finish(tmp_path, ablations.FIRST, seed, 10)
    finish(tmp_path, "Dr. GRPO", 1, 18)
    rows = [line.split(" | ") for line in ablations.table(tmp_path, list(ablations.ROWS))]
    assert [row[0].strip("| ") for row in rows[2:]] == [ablations.FIRST, "Dr. GRPO"]
    assert rows[2][1:4] == ["2", "50.0 (50.0–50.0)", "–"]
    assert rows[3][1:3] == ["1", "90.0"]
    assert float(rows[3][3]) < 0.01
    assert {len(row) for row in rows[2:]} == {len(rows[0])}


def test_the_test_is_paired() -> None:
    queries = [f"{at}.png" for at in range(40)]
    base = [dict.fromkeys(queries, False)] * 3
    same = ablations.p_value(base, base)
    better = ablations.p_value(base, [{query: at < 12 for at, query in enumerate(queries)}] * 3)
    one = ablations.p_value(base, [{query: at < 1 for at, query in enumerate(queries)}] * 3)
    assert (same, one) == (1, pytest.approx(1, abs=0.05))
    assert better < 0.01
