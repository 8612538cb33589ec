"""Comparisons: the paper's layout, trivial rows, McNemar's test, and three ways to write it down."""

import csv
import io
import os
import subprocess
from pathlib import Path

import pytest
from scipy.stats import binomtest

import lad_reasoner
from helpers.command_line import call
from helpers.paper import MEAN_ROWS, POOLED_ROWS
from helpers.runs import answering, from_matrix, write_run
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation import metrics
from lad_reasoner.evaluation.comparison import (
    MEAN,
    POOLED,
    SHORT,
    RunComparison,
    Table,
    compare_runs,
    to_csv,
    to_latex,
    to_markdown,
    to_narrow,
    write_comparison,
)
from lad_reasoner.evaluation.metrics import PairedTest
from lad_reasoner.records import Prediction
from lad_reasoner.report.gallery import write_gallery_page

DATA = Path(os.environ.get("LAD_DATA", Path(__file__).parents[3] / "shared/data"))
FIRST = from_matrix("pushpins", 5, 2, 1, 6) + from_matrix("juice_bottle", 3, 3, 2, 2)


def second() -> list[Prediction]:
    """Like the first, but no to the first four pairs, of which all are anomalous."""
    return [answering(line, "no") for line in FIRST[:4]] + FIRST[4:]


@pytest.fixture
def comparison(tmp_path: Path) -> RunComparison:
    runs = [
        write_run(tmp_path / "a", FIRST, model="a_1|b"),
        write_run(tmp_path / "b", second(), model="other", notes=("scenes only",)),
    ]
    return compare_runs(runs, resamples=200)


def row(comparison: RunComparison, name: str) -> dict[tuple[str, str], str]:
    return comparison.table.cells[comparison.table.names.index(name)]


def test_the_papers_layout_with_trivial_rows(comparison: RunComparison) -> None:
    table = comparison.table
    assert table.names == ["a_1|b", "other", "always-yes", "always-no"]
    groups = list(dict.fromkeys(group for group, _ in table.columns))
    assert groups == [POOLED, "JB", "PP", MEAN, "Pooled", "From the score"]  # the paper's order of classes
    first = row(comparison, "a_1|b")
    assert (first["JB", "Acc"], first["PP", "Acc"], first[POOLED, "Acc"]) == ("50.0", "78.6", "66.7")
    assert first[MEAN, "Acc"] == "64.3"
    assert first["Pooled", "Acc 95 %"].startswith("[")
    always_yes = row(comparison, "always-yes")
    assert (always_yes["Pooled", "TPR"], always_yes["Pooled", "TNR"]) == ("100.0", "0.0")
    assert (always_yes["JB", "Acc"], row(comparison, "always-no")["JB", "F1"]) == ("60.0", "0.0")


def test_mcnemar_between_each_two(comparison: RunComparison) -> None:
    assert len(comparison.duels) == 6
    duel = comparison.duels["a_1|b", "other"]
    assert isinstance(duel, PairedTest)
    assert (duel.only_first_right, duel.only_second_right) == (4, 0)
    assert duel.p_value == binomtest(4, 4).pvalue == 0.125
    assert duel.pooled.accuracy.value == pytest.approx(4 / 24)
    matrix = to_markdown(comparison).partition("McNemar")[2]
    assert "| a_1\\|b |  | 0.12 |" in matrix
    assert "| other | 0.12 |  |" in matrix
    assert "- other: scenes only" in matrix
    agreement = matrix.partition("agreement:")[2]
    assert "| a_1\\|b |  | 83.3 |" in agreement  # 20 of 24 pairs
    assert "| always-yes | 45.8 | 29.2 |  | 0.0 |" in agreement


def test_three_ways_to_write_it_down(comparison: RunComparison, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_comparison(out, comparison)
    write_gallery_page(out, comparison)
    assert sorted(path.name for path in out.iterdir()) == [
        *("gallery.html", "mcnemar.csv", "table1.csv", "table1.md", "table1.tex")
    ]
    rows = list(csv.DictReader(io.StringIO((out / "table1.csv").read_text())))
    assert [line["model"] for line in rows] == comparison.table.names
    assert rows[0]["Overall (pooled) Acc"] == "66.7"
    markdown = [line for line in (out / "table1.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in markdown[:6]}) == 1
    duels = list(csv.DictReader(io.StringIO((out / "mcnemar.csv").read_text())))
    assert (duels[0]["only first right"], duels[0]["p"], duels[0]["accuracy difference"]) == ("4", "0.125", "16.7")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose a folder that can be written"):
        write_comparison(tmp_path / "file/out", comparison)


def test_the_narrow_table_is_the_papers(tmp_path: Path) -> None:
    lines = [line for name in SHORT for line in from_matrix(name, 3, 1, 2, 4)]
    name = f"{'checkpoint-' * 6}9"
    runs = [write_run(tmp_path / at, lines, model=at, benchmark="mvtec-loco") for at in ("first", name)]
    narrow = to_narrow(compare_runs(runs, published="paper", resamples=50)).splitlines()
    assert max(map(len, narrow)) <= 80
    heads = narrow[2].split()
    assert heads == ["Overall", "JB", "BB", "SB", "SC", "PP"]
    assert narrow[3].split() == ["Acc", "F1"] * 6
    cells = {line[:18].strip(): line[18:].split() for line in narrow[4:17]}
    assert cells["LAD-Reasoner*"][:2] == ["60.4", "63.5"]
    assert cells["APRIL-GAN*"][:2] == ["~52.4", "~47.1"]
    assert cells["first"] == ["70.0", "66.7"] * 6
    assert cells[f"…{name[-17:]}"] == ["70.0", "66.7"] * 6


def test_more_classes_than_the_paper_has_follow_below(tmp_path: Path) -> None:
    lines = [line for at in range(7) for line in from_matrix(f"a_class_with_a_long_name_{at}", 3, 0, 0, 4)]
    runs = [write_run(tmp_path / at, lines, model=at) for at in ("one", "two")]
    narrow = to_narrow(compare_runs(runs, resamples=0))
    assert max(map(len, narrow.splitlines())) <= 80
    assert narrow.count("Overall") == 2
    assert narrow.count("a_class_…") == 7
    assert " 100 " in narrow


def test_latex_is_escaped_and_complete() -> None:
    hostile = r"50%_of {\input{x}} [a] & $b$ #1 ~ ^"
    table = Table([("Overall", "Acc"), ("Overall", "F1"), ("JB", "Acc")], [hostile], [{("JB", "Acc"): "1.0"}])
    text = to_latex(table)
    assert r"\multicolumn{2}{c}{Overall} & \multicolumn{1}{c}{JB}" in text
    assert (
        r"50\%\_of \{\textbackslash{}input\{x\}\} {[}a{]} \& \$b\$ \#1 \textasciitilde{} \textasciicircum{}"
        r" & -- & -- & 1.0 \\"
    ) in text
    assert text.count("{") == text.count("}")
    assert to_csv(table).splitlines()[1].endswith(',"–","–","1.0"')


def test_names_tell_runs_of_one_model_apart(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, FIRST, model="micro") for name in ("x", "y")]
    names = compare_runs(runs, resamples=0).table.names
    assert names[:2] == [f"micro ({run})" for run in runs]
    with pytest.raises(InputError, match="given twice; give each run once"):
        compare_runs([runs[0], runs[0]])
    constant = write_run(tmp_path / "c", FIRST, model="always-yes")
    assert compare_runs([constant, runs[0]], resamples=0).table.names[0] == f"always-yes ({constant})"


def test_a_checkpoint_is_called_by_the_end_of_its_path(tmp_path: Path) -> None:
    models = ["runs/x/sft/model", "Qwen/Qwen2.5-VL-3B-Instruct", "evidence:runs/x/sft/model"]
    runs = [write_run(tmp_path / f"{i}", FIRST, model=model) for i, model in enumerate(models)]
    assert compare_runs(runs, resamples=0).table.names[:3] == ["sft/model", *models[1:]]
    twin = write_run(tmp_path / "twin", FIRST, model="runs/y/sft/model")
    assert compare_runs([runs[0], twin], resamples=0).table.names[:2] == [
        f"sft/model ({run})" for run in (runs[0], twin)
    ]


def test_runs_that_cannot_be_compared(tmp_path: Path) -> None:
    whole = write_run(tmp_path / "whole", FIRST, model="a")
    with pytest.raises(InputError, match="1 run to compare; give at least two, or one beside published rows"):
        compare_runs([whole])
    with pytest.raises(InputError, match=r"^0 runs to compare; give at least two"):
        compare_runs([])
    with pytest.raises(InputError, match=r"^1 run to compare"):
        lad_reasoner.compare(str(whole))  # not a run for each of its letters
    with pytest.raises(InputError, match=r"predictions.jsonl: a file; give the --out folder of an evaluation"):
        compare_runs([whole, whole / "predictions.jsonl"])
    part = write_run(tmp_path / "part", FIRST[:-1], model="b")
    said = rf"whole and .*part \(a, b\): compare runs on the same pairs: {FIRST[-1].pair.query} only in the first run$"
    with pytest.raises(InputError, match=said):
        compare_runs([whole, part])
    elsewhere = write_run(tmp_path / "elsewhere", FIRST, model="c", benchmark="visa")
    with pytest.raises(InputError, match="runs on folder and visa; compare runs on the same benchmark"):
        compare_runs([whole, elsewhere])


def test_runs_with_two_seeds_say_so(tmp_path: Path) -> None:
    drawn = {"references": ("s.png",)}
    moved = [line.model_copy(update={"pair": line.pair.model_copy(update=drawn)}) for line in FIRST]
    first = write_run(tmp_path / "0", FIRST, model="a")
    for lines, settings, said in (
        (
            moved,
            {"seed": 1},
            r"the same pairs: .* has references .* more; made with seed 0 and 1; "
            "give the folder that holds both for their mean$",
        ),
        (FIRST[:-1], {"kinds": ("good",)}, r"only in the first run; made with kinds good,logical and good$"),
        (FIRST[:-2], {"seed": 1, "fingerprint": "another"}, r"only in the first run; made with seed 0 and 1$"),
    ):
        with pytest.raises(InputError, match=said):
            compare_runs([first, write_run(tmp_path / str(len(lines)), lines, model="b", **settings)])


def test_each_run_is_resampled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resampled: list[object] = []
    overall = metrics._overall
    monkeypatch.setattr(metrics, "_overall", lambda run, *rest: resampled.append(run) or overall(run, *rest))
    runs = {name: list(lines) for name, lines in (("a", FIRST), ("b", second()), ("c", FIRST))}
    duels = metrics.compare_each_two(runs, resamples=50)
    assert len(resampled) == 3
    for (one, other), duel in duels.items():
        assert duel == metrics.compare_predictions(runs[one], runs[other], resamples=50)


def test_copies_of_a_benchmark_are_not_the_same_pairs(tmp_path: Path) -> None:
    """MiniLOCO drawn with two seeds: the same names, labels and kinds of all pictures."""
    runs = [write_run(tmp_path / name, FIRST, model=name, fingerprint=name) for name in ("0", "5")]
    with pytest.raises(InputError, match=r"0 and .*5 \(0, 5\): the same names, but other pictures"):
        compare_runs(runs, resamples=0)


def test_published_rows_that_are_not_there_lead_to_those_of_the_paper(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--published papers: No such file; `paper` stands for"):
        compare_runs([write_run(tmp_path / "x", FIRST)], published="papers", resamples=0)


def test_published_rows_of_another_benchmark_are_refused(tmp_path: Path) -> None:
    """The classes of MiniLOCO have the names of MVTec LOCO AD's."""
    table = tmp_path / "rows.csv"
    for benchmark, published, head in (
        ("miniloco", "paper", ""),
        ("visa", "paper", ""),
        ("miniloco", table, "model,class,accuracy,f1\nA,JB,60,3\n"),
        ("mvtec-loco", table, "benchmark,model,class,accuracy,f1\nminiloco,A,JB,60,3\n"),
    ):
        table.write_text(head)
        folder = tmp_path / f"{benchmark}-{len(list(tmp_path.iterdir()))}"
        runs = [write_run(folder / name, FIRST, model=name, benchmark=benchmark) for name in ("x", "y")]
        with pytest.raises(
            InputError, match=rf"csv:2: a row on .*, but the runs are on {benchmark}; leave --published"
        ):
            compare_runs(runs, published=published, resamples=0)
    table.write_text("benchmark,model,class,accuracy,f1\nminiloco,A,JB,60,3\n")
    runs = [write_run(tmp_path / f"mini/{name}", FIRST, model=name, benchmark="miniloco") for name in ("x", "y")]
    assert row(compare_runs(runs, published=table, resamples=0), "A (published)") == {
        ("JB", "Acc"): "60.0",
        ("JB", "F1"): "3.0",
    }


def test_the_papers_table_ships(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, FIRST, model=name, benchmark="mvtec-loco") for name in ("x", "y")]
    comparison = compare_runs(runs, published="paper", resamples=0)
    assert comparison.table.names[:7] == [f"{name} (published)" for name in (*MEAN_ROWS, *POOLED_ROWS)]
    alone = compare_runs(runs[:1], published="paper", resamples=0)  # one run beside the paper
    assert alone.table.names[:8] == comparison.table.names[:8]
    assert row(alone, alone.table.names[7]) == row(comparison, alone.table.names[7])
    assert "LAD-Reasoner" in to_narrow(alone) and "McNemar" in to_narrow(alone)
    best = row(comparison, "LAD-Reasoner (published)")
    assert (best[POOLED, "Acc"], best[POOLED, "F1"], best["PP", "F1"]) == ("60.4", "63.5", "37.2")
    assert all((MEAN, "Acc") in row(comparison, f"{name} (published)") for name in MEAN_ROWS)


# The public configs of Qwen2.5-VL-3B-Instruct and of 72B: its own language part is that of Qwen2.5-72B, and its vision
# tower is in the config of Qwen2.5-VL-72B-Instruct-AWQ (whose 29,568 is padded to 29,696).
SHAPES = {
    "Qwen2.5-VL-3B": (
        {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "vocab_size": 151936}
        | {"num_attention_heads": 16, "num_key_value_heads": 2},
        {"intermediate_size": 3420, "out_hidden_size": 2048},
        True,
    ),
    "Qwen2.5-VL-72B": (
        {"hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80, "vocab_size": 152064}
        | {"num_attention_heads": 64, "num_key_value_heads": 8},
        {"intermediate_size": 3456, "out_hidden_size": 8192},
        False,
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_sizes_of_the_papers_models_are_those_of_their_class(name: str, tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    text, vision, tied = SHAPES[name]
    config = transformers.Qwen2_5_VLConfig(
        text_config={**text, "tie_word_embeddings": tied, "dtype": "bfloat16"},
        vision_config={"hidden_size": 1280, "depth": 32, "num_heads": 16, **vision},
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    runs = [write_run(tmp_path / run, FIRST, model=run, benchmark="mvtec-loco") for run in ("x", "y")]
    sizes = compare_runs(runs, published="paper", resamples=0).sizes
    assert sizes[f"{name} (published)"] == sum(weight.numel() for weight in model.parameters())


@pytest.mark.skipif(not (DATA / "paper_table1.csv").is_file(), reason=f"no paper_table1.csv in {DATA}; set LAD_DATA")
def test_the_papers_rows_are_marked_and_their_overall_is_known(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, FIRST, model=name) for name in ("x", "y")]
    comparison = compare_runs(runs, published=DATA / "paper_table1.csv", resamples=0)
    assert comparison.table.names[:7] == [f"{name} (published)" for name in (*MEAN_ROWS, *POOLED_ROWS)]
    for name in MEAN_ROWS:
        assert (POOLED, "Acc") not in row(comparison, f"{name} (published)")
        assert (MEAN, "Acc") in row(comparison, f"{name} (published)")
    for name in POOLED_ROWS:
        assert (POOLED, "Acc") in row(comparison, f"{name} (published)")
        assert (MEAN, "Acc") not in row(comparison, f"{name} (published)")
    best = row(comparison, "LAD-Reasoner (published)")
    assert (best[POOLED, "Acc"], best[POOLED, "F1"], best["JB", "F1"]) == ("60.4", "63.5", "74.7")
    assert "published: as printed, not measured on these pairs" in comparison.notes
    assert not any("not the whole benchmark" in note for note in comparison.notes)


def test_a_part_of_a_benchmark_is_called_one(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, FIRST, model=name, pairs=1000) for name in ("x", "y")]
    notes = compare_runs(runs, resamples=0).notes
    assert f"{len(FIRST)} of the 1000 pairs of folder: not the whole benchmark" in notes


def test_published_rows_are_checked(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, FIRST, model=name) for name in ("x", "y")]
    table = tmp_path / "rows.csv"
    for rows, said in (
        ("A,JB,many,3\n", "rows.csv:2: needs the columns model, class, accuracy, f1, in percent"),
        ("A,JB,nan,3\n", "rows.csv:2: needs the columns .* in percent"),
        ("A,JB,60,101\n", "rows.csv:2: needs the columns .* in percent"),
        ("A,JB\n", "rows.csv:2: needs the columns .* in percent"),
        ("A,pins,60,3\n", "rows.csv:2: no class 'pins' in these runs; give one of Overall, juice_bottle, pushpins, JB"),
        ("A,JB,60,3\nA,JB,61,3\n", "rows.csv:3: A has a line on JB already; remove one"),
        ("A,JB,0.6,0.5\nA,PP,1,0\n", "rows.csv: no value is above 1; write percent, such as 58.4, not shares"),
        ("", "rows.csv: no rows in it; give a header model,class,accuracy,f1"),
    ):
        table.write_text(f"\ufeffmodel,class,accuracy,f1\n{rows}", encoding="utf-8")
        with pytest.raises(InputError, match=said):
            compare_runs(runs, published=table, resamples=0)
    with pytest.raises(InputError, match=r"none.csv: No such file"):
        compare_runs(runs, published=tmp_path / "none.csv")


def test_the_verb(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, lines, model=name) for name, lines in (("one", FIRST), ("other", second()))]
    done = call("compare", *runs, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "always-no           45.8" in done.stdout
    wide = call("compare", *runs, "--wide")
    assert wide.stdout == (tmp_path / "out/table1.md").read_text()
    assert "| always-no | 45.8 |" in wide.stdout
    wrong = call("compare", runs[0], tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)


def test_on_loco_it_says_who_saw_it_in_training(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, lines, model=name, benchmark="mvtec-loco")
        for name, lines in (("AnomalyGPT_train_supervised", FIRST), ("random", second()))
    ]
    published = tmp_path / "published.csv"
    published.write_text("model,class,accuracy,f1\nAPRIL-GAN,Overall,52.4,47.1\n")
    markdown = to_markdown(compare_runs(runs, published=published, resamples=0))
    assert "- AnomalyGPT_train_supervised: saw MVTec LOCO AD in training: these weights were trained on" in markdown
    assert "- APRIL-GAN (published): did not see MVTec LOCO AD in training: its layers" in markdown
    assert "random: " not in markdown
    elsewhere = [write_run(tmp_path / f"{name}2", FIRST, model=name) for name in ("AnomalyGPT", "evidence")]
    assert "MVTec LOCO AD" not in to_markdown(compare_runs(elsewhere, resamples=0))


@pytest.mark.posix
def test_the_script_of_the_miniloco_table_names_all_rows(tmp_path: Path) -> None:
    """What it calls, and that these are verbs and options that there are; the table itself takes many minutes."""
    stub = tmp_path / "lad-reasoner"
    stub.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    stub.chmod(0o755)
    script = Path(__file__).parents[2] / "benchmarks/miniloco.sh"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", script, "50", tmp_path / "runs"], check=True, env=environment)
    *evals, last = (tmp_path / "calls").read_text().splitlines()
    rows = {call.split("--out ")[1].split()[0]: call.split()[-1] for call in evals}
    assert list(rows.values()) == ["micro", "micro-base", "evidence", "pixel-difference", "random"]
    assert all("eval --benchmark miniloco --limit 50 " in call for call in evals)
    assert last == f"compare {' '.join(rows)} --out {tmp_path}/runs/comparison"
    done = call("eval", "--benchmark", "miniloco", "--limit", 1, "--model", "random", "--out", tmp_path / "one")
    assert done.returncode == 0, done.stderr
