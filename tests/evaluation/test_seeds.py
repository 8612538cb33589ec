"""Several seeds as one row: mean and deviation, what a row may hold, and the files of it."""

import csv
import io
import statistics
from pathlib import Path

import numpy as np
import pytest

import lad_reasoner
from helpers.command_line import call
from helpers.runs import answering, from_matrix, write_run
from lad_reasoner.data.masks import GroundTruth
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.comparison import POOLED, compare_runs, to_latex, to_narrow
from lad_reasoner.evaluation.localisation import count_pixels, save_counts
from lad_reasoner.evaluation.run import SETTINGS
from lad_reasoner.evaluation.seeds import compare_seeds, holds_runs, seeds_to_markdown, seeds_to_narrow
from lad_reasoner.records import Prediction

FIRST = from_matrix("pushpins", 5, 2, 1, 6) + from_matrix("juice_bottle", 3, 3, 2, 2)
RIGHT = (16, 15, 14)  # of 24: FIRST, and one and two anomalous pictures missed


def drawn(seed: int) -> list[Prediction]:
    """`seed` anomalous pictures are missed, and other references were shown."""
    lines = [answering(line, "no") for line in FIRST[:seed]] + FIRST[seed:]
    references = {"references": (f"r{seed}.png",)}
    return [line.model_copy(update={"pair": line.pair.model_copy(update=references)}) for line in lines]


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    for seed in range(3):
        write_run(tmp_path / f"ours/{seed}", drawn(seed), model="ours", seed=seed)
    return tmp_path / "ours"


def test_mean_and_deviation_over_seeds(seeds: Path) -> None:
    comparison = compare_seeds([seeds])
    shares = [100 * right / 24 for right in RIGHT]
    row = comparison.table.cells[comparison.table.names.index("ours")]
    assert row[POOLED, "Acc"] == f"{statistics.fmean(shares):.1f} ± {statistics.stdev(shares):.1f}" == "62.5 ± 4.2"
    assert row["Runs", "n"] == "3"
    assert comparison.table.names == ["ours", "always-yes", "always-no"]
    assert comparison.table.cells[-1]["Pooled", "TNR"] == "100.0"
    assert "62.5 $\\pm$ 4.2" in to_latex(comparison.table)


def test_a_single_run_has_no_deviation_and_a_folder_with_several_models_says_so(seeds: Path, tmp_path: Path) -> None:
    single = write_run(tmp_path / "single", FIRST, model="other", notes=("scenes only",))
    for at in range(2):  # two trainings, measured with one seed
        write_run(tmp_path / f"trained/{at}", drawn(at), model=f"runs/grpo-{at}/model")
    comparison = compare_seeds([single, seeds, tmp_path / "trained"])
    rows = dict(zip(comparison.table.names, comparison.table.cells, strict=True))
    trained = next(name for name in rows if name.endswith("trained"))
    assert rows["other"][POOLED, "Acc"] == "66.7"
    assert rows[trained]["Runs", "n"] == "2"
    text = seeds_to_markdown(comparison)
    assert f"- {trained}: runs of runs/grpo-0/model, runs/grpo-1/model" in text
    assert "- other: scenes only" in text


def test_a_run_that_lost_its_settings_is_left_out_and_said_once(seeds: Path, tmp_path: Path) -> None:
    (seeds / "2" / SETTINGS).unlink()
    (seeds / "plots").mkdir()  # a folder of something else is no lost run
    comparison = compare_seeds([seeds])
    assert comparison.table.cells[0]["Runs", "n"] == "2"
    assert [note for note in comparison.notes if SETTINGS in note] == [
        "ours: 1 folder without settings.json left out: 2"
    ]
    assert seeds_to_markdown(comparison).count("left out") == 1


def test_a_metric_that_one_run_lacks_is_left_out(tmp_path: Path) -> None:
    for seed in range(2):
        lines = [line.model_copy(update={"scored": seed == 0}) for line in drawn(seed)]
        write_run(tmp_path / f"rows/{seed}", lines, seed=seed)
    row = compare_seeds([tmp_path / "rows"]).table.cells[0]
    assert ("From the score", "AUROC") not in row
    assert "±" in row["Pooled", "Bal. acc."]


def test_trainings_have_other_weights_and_are_one_row_all_the_same(tmp_path: Path) -> None:
    """Since the version of a checkpoint names its weights, the trainings of a row never have the same one."""
    for at in range(2):
        version = f"rlad-1, weights 3f2a9c1b02d{at}, votes 5"
        write_run(tmp_path / f"trained/{at}", drawn(at), model=f"runs/grpo-{at}/model", prompt_version=version)
        write_run(tmp_path / f"again/{at}", drawn(at), model="runs/grpo/model", prompt_version=version)
        options = f"rlad-1, weights 3f2a9c1b02d{at}, votes {at + 1}"
        write_run(tmp_path / f"options/{at}", drawn(at), model="runs/grpo/model", prompt_version=options)
    comparison = compare_seeds([tmp_path / "trained", tmp_path / "again"])
    assert [row["Runs", "n"] for row in comparison.table.cells[:2]] == ["2", "2"]
    (note,) = [note for note in comparison.notes if "2 trainings" in note]
    assert "grpo/model: runs of 2 trainings: rlad-1, weights 3f2a9c1b02d0, votes 5, rlad-1, weights" in note
    with pytest.raises(InputError, match="made with prompt_version rlad-1, votes 1 and rlad-1, votes 2; the runs of"):
        compare_seeds([tmp_path / "options"])


def test_maps_have_columns_where_runs_kept_them(seeds: Path, tmp_path: Path) -> None:
    assert ("Maps", "AUPRO") not in compare_seeds([seeds]).table.columns
    rng = np.random.default_rng(0)
    mask = np.zeros((8, 8), bool)
    mask[:4] = True
    for at in range(3):
        for line in drawn(at):
            truth = GroundTruth(mask if line.pair.label == "yes" else mask & False)
            counts = count_pixels(rng.random((8, 8), np.float32) + at * truth.mask, truth)
            save_counts(seeds / f"{at}/localisation", line.pair.query, counts)
    comparison = compare_seeds([seeds])
    found = [comparison.values[path]["Maps", "AUPRO"] for path in comparison.runs["ours"]]
    assert found[0] is not None
    assert found[0] < 0.9
    assert found[1:] == pytest.approx([1, 1])  # from 1 on no value outside is as high
    row = comparison.table.cells[0]
    assert row["Maps", "AUPRO"].split(" ± ")[0] == f"{100 * sum(filter(None, found)) / 3:.1f}"
    assert ("Maps", "AU-sPRO") not in comparison.table.columns
    table = compare_runs([seeds / "1", write_run(tmp_path / "other", drawn(1), model="other")], resamples=0)
    rows = dict(zip(table.table.names, table.table.cells, strict=True))
    assert rows["ours"]["Maps", "AUPRO"] == "100.0"
    assert [name for name, cells in rows.items() if ("Maps", "AUPRO") in cells] == ["ours"]
    assert "Maps" not in to_narrow(table)  # Table 1 as the paper prints it
    table = compare_runs([seeds / "0", write_run(tmp_path / "third", drawn(0), model="third")], resamples=200)
    named = [name for group, name in table.table.columns if group == "Maps"]
    assert named[:4] == ["Pixel AUROC", "Pixel AUROC 95 %", "AUPRO", "AUPRO 95 %"]
    assert table.table.cells[0]["Maps", "AUPRO 95 %"].startswith("[")


def test_in_python(seeds: Path, tmp_path: Path) -> None:
    comparison = lad_reasoner.compare_over_seeds([seeds], out=tmp_path / "out")
    assert comparison.table == compare_seeds([seeds]).table
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "seeds.csv",
        "seeds.md",
        "seeds.tex",
        "seeds_by_run.csv",
    ]
    with pytest.raises(InputError, match="ours: a folder of runs; give it to compare_over_seeds"):
        lad_reasoner.compare([seeds, seeds / "1"])


def test_the_same_seed_twice_is_told(tmp_path: Path) -> None:
    for at in range(2):
        write_run(tmp_path / f"rows/{at}", FIRST, model="m", seed=5)
    assert "m: 2 runs of m have the same --seed 5" in compare_seeds([tmp_path / "rows"]).notes


def test_what_is_no_row(seeds: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "mixed/0", FIRST, model="m")
    write_run(tmp_path / "mixed/1", FIRST, model="m", references=4)
    with pytest.raises(InputError, match=r"mixed/0 and .*mixed/1: made with references 1 and 4; the runs of one row"):
        compare_seeds([tmp_path / "mixed"])
    write_run(tmp_path / "judges/0", FIRST, model="micro")
    write_run(tmp_path / "judges/1", FIRST, model="evidence")
    with pytest.raises(InputError, match="made with model micro and evidence; the runs of one row"):
        compare_seeds([tmp_path / "judges"])
    with pytest.raises(InputError, match="ours/1: given twice"):
        compare_seeds([seeds, seeds / "1"])
    part = write_run(tmp_path / "part", FIRST[:-1], model="m")
    with pytest.raises(InputError, match=r"not the same queries: juice_bottle/009\.png; resume the unfinished run"):
        compare_seeds([seeds, part])
    elsewhere = write_run(tmp_path / "elsewhere", FIRST, model="m", benchmark="visa")
    with pytest.raises(InputError, match="runs on folder and visa"):
        compare_seeds([seeds, elsewhere])
    copy = write_run(tmp_path / "copy", FIRST, model="m", fingerprint="1")
    with pytest.raises(InputError, match="other pictures"):
        compare_seeds([seeds, copy])
    assert not holds_runs(part)
    assert not holds_runs(tmp_path / "nothing")


def test_the_verb_writes_the_rows_and_each_run(seeds: Path, tmp_path: Path) -> None:
    done = call("compare", seeds, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "ours              3" in done.stdout
    assert " 62.5±4.2 " in done.stdout
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/seeds_by_run.csv").read_text())))
    assert [row["seed"] for row in rows] == ["0", "1", "2"]
    found = [float(row[f"{POOLED} Acc"]) for row in rows]
    assert found == pytest.approx([100 * right / 24 for right in RIGHT], abs=1e-3)
    wide = call("compare", seeds, "--wide", "--published", "paper", "--out", tmp_path / "wide")
    assert wide.returncode == 1  # the paper's rows are on another benchmark
    wide = call("compare", seeds, "--wide", "--out", tmp_path / "wide")
    assert wide.stdout == (tmp_path / "wide/seeds.md").read_text()


def test_published_rows_stand_above(tmp_path: Path) -> None:
    lines = [line for name in ("pushpins", "juice_bottle") for line in from_matrix(name, 3, 1, 2, 4)]
    for seed in range(2):
        write_run(tmp_path / f"rows/{seed}", lines, model="m", benchmark="mvtec-loco", seed=seed)
    comparison = compare_seeds([tmp_path / "rows"], published="paper")
    assert ["APRIL-GAN*", "–", "~52.4", "~47.1", "–", "–", "–"] in [
        line.split() for line in seeds_to_narrow(comparison).splitlines()
    ]
    table = comparison.table
    rows = dict(zip(table.names, table.cells, strict=True))
    assert rows["LAD-Reasoner (published)"][POOLED, "Acc"] == "60.4"
    assert rows["m"][POOLED, "Acc"] == "70.0 ± 0.0"
