"""Runs: nothing is lost or asked twice, whatever ends them; figures and report come from the lines alone."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import lad_reasoner
from helpers import tiny
from helpers.planted import lamps, plant
from helpers.runs import from_matrix
from lad_reasoner.answers import format_response
from lad_reasoner.errors import InputError, LadError, MachineError, RecordError
from lad_reasoner.evaluation.benchmark import Benchmark, open_benchmark
from lad_reasoner.evaluation.explanations import check_line
from lad_reasoner.evaluation.run import Run, measure_run, read_run
from lad_reasoner.files.whole import own_folder
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.judges import load_judge
from lad_reasoner.judges.vlm.checkpoint import load_checkpoint
from lad_reasoner.judges.vlm.judge import VlmJudge
from lad_reasoner.judges.vlm.transformers_engine import TransformersEngine
from lad_reasoner.miniloco.words import write_response
from lad_reasoner.records import Prediction
from lad_reasoner.report.evaluation import write_evaluation
from lad_reasoner.report.rows import remarks

COMMAND = str(Path(sys.executable).with_name("lad-reasoner"))


class Stub:
    """Says no to everything, remembers what it was asked, and fails on the queries in `faults`."""

    name, prompt_version, notes = "stub", "stub-1", ("a note on the stub",)
    address = "http://a/v1"
    parameters: int | None = None

    def __init__(self, batch_size: int = 1, faults: dict[str, type[LadError]] | None = None, most: int = 99) -> None:
        self.batch_size, self.faults, self.most = batch_size, faults or {}, most
        self.asked: list[list[str]] = []
        self.references: list[str] = []

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        self.asked.append([Path(pair.query.name).as_posix() for pair in pairs])
        if len(pairs) > self.most:
            raise MachineError("not enough memory for so many")
        for pair in pairs:
            if pair.query.name in self.faults:
                raise self.faults[pair.query.name](f"{pair.query.name}: cannot take it")
        self.references += [pair.references[0].name for pair in pairs]
        return [Judgement.of("<think>fine</think><answer>no</answer>", 0.25) for _ in pairs]


@pytest.fixture
def lamp(tmp_path: Path) -> Benchmark:
    """Seven queries, four of them good."""
    return open_benchmark("folder", lamps(tmp_path / "lamps"))


def queries(stub: Stub) -> list[str]:
    return [name.removeprefix("lamp/test/") for batch in stub.asked for name in batch]


ALL = [f"good/{i:03}.png" for i in range(4)] + [f"logical_anomalies/{i:03}.png" for i in range(3)]


def test_a_run_keeps_its_versions_and_says_when_it_is_resumed_with_others(lamp: Benchmark, tmp_path: Path) -> None:
    out = tmp_path / "run"
    lines = Run(out, Stub(), lamp).predict()
    next(lines)
    lines.close()  # type: ignore[attr-defined]
    settings = json.loads((out / "settings.json").read_text())
    assert settings["versions"]["lad-reasoner"] == lad_reasoner.__version__
    assert {"python", "numpy", "pillow"} <= settings["versions"].keys()
    settings["versions"]["numpy"] = "1.0"
    (out / "settings.json").write_text(json.dumps(settings))
    list(Run(out, Stub(), lamp).predict())
    notes = read_run(out).settings.notes
    assert [note for note in notes if note.startswith("begun and resumed with other versions: numpy 1.0 and ")]
    list(Run(out, Stub(), lamp).predict())  # all is judged: nothing to note
    assert read_run(out).settings.notes == notes


def test_pairs_with_the_same_references_follow_each_other_for_a_judge_that_studies_them(
    lamp: Benchmark, tmp_path: Path
) -> None:
    class Studying(Stub):
        def keep(self, references: object, path: object) -> None:
            """As `evidence` has it."""

    stub, plain = Studying(), Stub()
    list(Run(tmp_path / "run", stub, lamp).predict())
    list(Run(tmp_path / "plain", plain, lamp).predict())
    assert len(set(plain.references)) < len(plain.references)
    assert stub.references == sorted(plain.references)
    assert sorted(queries(stub)) == queries(plain) == ALL


@pytest.mark.posix
def test_a_run_folder_of_a_stranger_changes_no_file_outside(lamp: Benchmark, tmp_path: Path) -> None:
    Run(tmp_path / "run", Stub(), lamp)
    mine = tmp_path / "notes.txt"
    mine.write_text("a line without an end")
    (tmp_path / "run/predictions.jsonl").symlink_to(mine)
    with pytest.raises(InputError, match=r"predictions\.jsonl: a link"):
        Run(tmp_path / "run", Stub(), lamp)
    assert mine.read_text() == "a line without an end"


def test_two_runs_that_begin_in_one_new_folder(lamp: Benchmark, tmp_path: Path) -> None:
    with (
        own_folder(tmp_path / "run", "--out"),
        pytest.raises(InputError, match="another process is using it"),
    ):
        Run(tmp_path / "run", Stub(), lamp)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_a_cut_off_response_is_asked_again_in_the_same_folder(lamp: Benchmark, tmp_path: Path) -> None:
    class CutOff(Stub):
        def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
            judgements = super().judge(pairs)
            return [
                Judgement.of("<think>It", cut_off=True) if "logical" in pair.query.name else judgement
                for pair, judgement in zip(pairs, judgements, strict=True)
            ]

    first = list(Run(tmp_path / "run", CutOff(), lamp).predict())
    assert [line.cut_off for line in first] == [False] * 4 + [True] * 3
    assert measure_run(first).pooled.confusion.fn == 3  # they count as wrong
    again = Stub()
    run = Run(tmp_path / "run", again, lamp)
    assert (run.done, len(run.todo)) == (4, 3)
    list(run.predict())
    assert queries(again) == ALL[4:]
    lines = read_run(tmp_path / "run").predictions
    assert len(lines) == 7
    assert not any(line.cut_off for line in lines)


def test_lines_of_unknown_pictures_and_two_of_one_are_refused(lamp: Benchmark, tmp_path: Path) -> None:
    run = tmp_path / "run"
    list(Run(run, Stub(), lamp).predict())
    lines = (run / "predictions.jsonl").read_text()
    first = lines.splitlines()[0]
    (run / "predictions.jsonl").write_text(lines + first.replace("000.png", "900.png") + "\n")
    message = r"predictions\.jsonl: holds lines about pictures that the benchmark has not: .*good/900\.png; remove them"
    with pytest.raises(InputError, match=message):
        Run(run, Stub(), lamp)
    (run / "predictions.jsonl").write_text(lines + first + "\n")
    with pytest.raises(RecordError, match=r"predictions\.jsonl: holds 2 lines about .*good/000\.png; remove all but"):
        read_run(run)


@pytest.mark.parametrize(
    "change", [{"size": [10**400, 1]}, {"size": [0, 8]}, {"x": 10**400}], ids=["size", "none", "x"]
)
def test_a_number_that_no_picture_has_is_refused(lamp: Benchmark, tmp_path: Path, change: dict[str, Any]) -> None:
    """Python raises OverflowError where so long a number is divided."""
    run = tmp_path / "run"
    list(Run(run, Stub(), lamp).predict())
    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    if "x" in change:
        lines[0]["verdict"]["boxes"] = [{"x": 1, "y": 1, "width": 1, "height": 1, "strength": 2.0} | change]
    else:
        lines[0] |= change
    (run / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RecordError, match=r"predictions\.jsonl:1: .*(size|boxes)"):
        read_run(run)


def test_one_line_a_query(lamp: Benchmark, tmp_path: Path) -> None:
    run, stub = tmp_path / "run", Stub(batch_size=3)
    predictions = list(Run(run, stub, lamp).predict())
    assert [len(batch) for batch in stub.asked] == [3, 3, 1]
    assert queries(stub) == ALL
    recorded = read_run(run)
    assert recorded.predictions == predictions
    assert [line.pair.references[0] for line in predictions] == stub.references
    assert recorded.settings.pairs == 7
    assert recorded.settings.notes == ("a note on the stub",)
    verdict = predictions[0].verdict
    assert (verdict.query, verdict.answer, verdict.score) == ("lamp/test/good/000.png", "no", 0.25)
    assert (verdict.reasoning, verdict.model, verdict.prompt_version) == ("fine", "stub", "stub-1")
    assert (predictions[0].pair.label, predictions[0].pair.category, predictions[0].scored) == ("no", "lamp", True)


def test_what_is_there_is_not_asked_again(lamp: Benchmark, tmp_path: Path) -> None:
    run, first, second, third = tmp_path / "run", Stub(), Stub(), Stub()
    predicting = Run(run, first, lamp).predict()
    for _ in range(3):
        next(predicting)
    predicting.close()
    with (run / "predictions.jsonl").open("a") as file:
        file.write('{"pair":{"references":["lamp/tr')  # as a kill in the middle of a line leaves it
    resumed = Run(run, second, lamp)
    assert (resumed.done, len(resumed.todo)) == (3, 4)
    list(resumed.predict())
    assert queries(first) + queries(second) == ALL
    assert [line.pair.query for line in read_run(run).predictions] == [f"lamp/test/{name}" for name in ALL]
    assert list(Run(run, third, lamp).predict()) == []
    assert third.asked == []


def test_one_run_can_be_continued_after_a_stop(lamp: Benchmark, tmp_path: Path) -> None:
    stub = Stub(batch_size=2)
    run = Run(tmp_path / "run", stub, lamp)
    predicting = run.predict()
    next(predicting)
    predicting.close()
    with (tmp_path / "run/predictions.jsonl").open("a") as file:
        file.write('{"pair":{"references":["lamp/tr')
    assert len(list(run.predict())) == 6
    assert list(run.predict()) == []
    assert [line.pair.query for line in read_run(tmp_path / "run").predictions] == [f"lamp/test/{name}" for name in ALL]


def test_lines_that_another_run_added_meanwhile_are_skipped(lamp: Benchmark, tmp_path: Path) -> None:
    early, late = Stub(), Stub()
    waiting = Run(tmp_path / "run", late, lamp)
    list(Run(tmp_path / "run", early, lamp, limit=5).predict())
    assert len(list(waiting.predict())) == 2
    assert sorted(queries(early) + queries(late)) == ALL
    assert len(read_run(tmp_path / "run").predictions) == 7


def test_two_do_not_write_into_one_folder(lamp: Benchmark, tmp_path: Path) -> None:
    run, late = tmp_path / "run", Stub()
    waiting = Run(run, late, lamp)
    predicting = Run(run, Stub(), lamp).predict()
    next(predicting)
    for begin in (lambda: Run(run, late, lamp), lambda: next(waiting.predict())):
        with pytest.raises(InputError, match="run: another process is using it; wait for it, or give another --out"):
            begin()
    predicting.close()
    assert late.asked == []
    assert Run(run, late, lamp).done == 1


@pytest.mark.parametrize(
    ("field", "change", "said"),
    [
        ("references", {"references": 2}, "made with references 1, not 2"),
        ("seed", {"seed": 4}, "made with seed 0, not 4"),
        ("kinds", {"kinds": ["good"]}, "made with kinds good,logical,other,structural, not good"),
        ("model", {"name": "other"}, "made with model stub, not other"),
        ("address", {"address": "http://b/v1"}, "made with address http://a/v1, not http://b/v1"),
        ("prompt_version", {"prompt_version": "stub-2"}, "made with prompt_version stub-1, not stub-2"),
    ],
)
def test_settings_are_not_mixed(lamp: Benchmark, tmp_path: Path, field: str, change: dict[str, Any], said: str) -> None:
    run, stub = tmp_path / "run", Stub()
    list(Run(run, Stub(), lamp, limit=2).predict())
    before = (run / "predictions.jsonl").read_bytes()
    options = {}
    for name, value in change.items():
        if hasattr(stub, name) and name != "references":
            setattr(stub, name, value)
        else:
            options[name] = value
    with pytest.raises(InputError, match=said) as caught:
        Run(run, stub, lamp, **options)
    assert field in str(caught.value)
    assert str(caught.value).endswith("give another --out")
    assert (run / "predictions.jsonl").read_bytes() == before


def test_other_pictures_are_not_mixed_in(lamp: Benchmark, tmp_path: Path) -> None:
    list(Run(tmp_path / "run", Stub(), lamp, limit=2).predict())
    plant(tmp_path / "lamps", ["lamp/test/good/004.png"])
    with pytest.raises(InputError, match="made with fingerprint"):
        Run(tmp_path / "run", Stub(), open_benchmark("folder", tmp_path / "lamps"))


def test_a_larger_limit_goes_on(lamp: Benchmark, tmp_path: Path) -> None:
    stub = Stub()
    for limit in (2, 4, 3, None):
        list(Run(tmp_path / "run", stub, lamp, limit=limit).predict())
    assert sorted(queries(stub)) == ALL
    assert queries(stub)[:2] == ["good/000.png", "logical_anomalies/000.png"]


def test_folders_that_are_no_runs_are_refused(lamp: Benchmark, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"run: no such folder; give the --out folder of an evaluation"):
        write_evaluation(run)
    run.mkdir()
    with pytest.raises(InputError, match=r"no settings.json in it; give the --out folder of an evaluation"):
        write_evaluation(run)
    (run / "predictions.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"contains predictions.jsonl without settings.json; give another --out"):
        Run(run, Stub(), lamp)
    (run / "settings.json").write_text('{"benchmark": 3}')
    with pytest.raises(RecordError, match=r"settings.json: benchmark: .*; evaluate again with another --out"):
        Run(run, Stub(), lamp)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out .*choose a folder that can be written"):
        Run(tmp_path / "file/run", Stub(), lamp)
    Run(tmp_path / "empty", Stub(), lamp)
    with pytest.raises(InputError, match="no predictions yet"):
        write_evaluation(tmp_path / "empty")


def test_what_cannot_be_judged_is_a_line_and_counts_as_wrong(lamp: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "lamps/lamp/test/good/001.png").write_bytes(b"no picture")
    stub = Stub(batch_size=4, faults={"lamp/test/good/003.png": InputError})
    lines = {Path(line.pair.query).stem: line for line in Run(tmp_path / "run", stub, lamp, kinds=["good"]).predict()}
    assert stub.asked[0] == [f"lamp/test/good/{i}.png" for i in ("000", "002", "003")]
    assert stub.asked[1:] == [[query] for query in stub.asked[0]]  # one by one, so that only the faulty one fails
    assert "not a picture" in lines["001"].error
    assert lines["003"].error == "lamp/test/good/003.png: cannot take it"
    assert [line.verdict.answer for line in lines.values()] == ["no", "invalid", "no", "invalid"]
    metrics = measure_run(read_run(tmp_path / "run").predictions)
    assert (metrics.pooled.accuracy.value, metrics.pooled.tnr.value) == (0.5, 0.5)
    assert {Path(query).stem for query in metrics.failed} == {"001", "003"}
    assert all(error in {lines[name].error for name in ("001", "003")} for error in metrics.failed.values())
    recorded, metrics, page = write_evaluation(tmp_path / "run")
    assert any(
        note.startswith("2 queries could not be judged and count as wrong: ") for note in remarks(recorded, metrics)
    )
    html = page.read_text()
    assert html.count("not judged") == 2
    assert all(line.error in html for line in lines.values())
    again = Stub()
    list(Run(tmp_path / "run", again, lamp, kinds=["good"]).predict())
    assert again.asked == []


def test_a_machine_that_fails_ends_the_run_and_loses_nothing(lamp: Benchmark, tmp_path: Path) -> None:
    stub = Stub(batch_size=3, faults={"lamp/test/logical_anomalies/000.png": MachineError})
    with pytest.raises(MachineError, match="cannot take it"):
        list(Run(tmp_path / "run", stub, lamp).predict())
    assert [line.pair.query.removeprefix("lamp/test/") for line in read_run(tmp_path / "run").predictions] == ALL[:4]
    mended = Stub(batch_size=3)
    list(Run(tmp_path / "run", mended, lamp).predict())
    assert queries(mended) == ALL[4:]


def test_too_little_memory_for_a_batch_is_no_failure(lamp: Benchmark, tmp_path: Path) -> None:
    lines = list(Run(tmp_path / "run", Stub(batch_size=4, most=1), lamp).predict())
    assert len(lines) == 7
    assert not any(line.error for line in lines)


def test_figures_come_from_the_lines_in_any_order() -> None:
    lines = from_matrix("pins", 5, 2, 1, 6) + from_matrix("bags", 3, 3, 2, 2)
    metrics = measure_run(lines, resamples=200)
    random.Random(0).shuffle(lines)
    assert measure_run(lines, resamples=200) == metrics
    assert metrics.pooled.accuracy.value == 16 / 24
    always_yes, always_no = metrics.trivial["always-yes"].pooled, metrics.trivial["always-no"].pooled
    assert (always_yes.accuracy.value, always_yes.tpr.value, always_yes.tnr.value) == (13 / 24, 1, 0)
    assert (always_no.accuracy.value, always_no.tpr.value, always_no.tnr.value) == (11 / 24, 0, 1)
    assert always_yes.auroc.value == 0.5
    assert metrics.explanations is None


def test_report_only_writes_the_same_again(lamp: Benchmark, tmp_path: Path) -> None:
    list(Run(tmp_path / "run", Stub(), lamp).predict())
    write_evaluation(tmp_path / "run")
    shutil.rmtree(tmp_path / "lamps")
    (tmp_path / "run").rename(tmp_path / "moved")
    files = [tmp_path / "moved" / name for name in ("metrics.json", "report.html")]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    write_evaluation(tmp_path / "moved")
    assert [file.read_bytes() for file in files] == before
    metrics = json.loads(before[0])
    assert metrics["pooled"]["confusion"] == {"tp": 0, "fn": 3, "fp": 0, "tn": 4, "invalid": 0}
    assert list(metrics["by_class"]) == ["lamp"]


def test_defects_stand_in_the_lines(tmp_path: Path) -> None:
    benchmark = open_benchmark("miniloco")
    lines = list(Run(tmp_path / "run", Stub(), benchmark, limit=4).predict())
    assert [line.pair.defect for line in lines] == [benchmark.samples[line.pair.query].defect for line in lines]
    named = {f"{line.pair.category}/{line.pair.defect}" for line in lines if line.pair.defect}
    assert len(named) == 2
    assert set(measure_run(lines, resamples=0).by_defect) == named


class Telling(Stub):
    """Tells what is there from the facts, but names a part that is not there for every anomalous query."""

    def __init__(self, benchmark: Benchmark) -> None:
        super().__init__()
        self.benchmark = benchmark

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        judgements = []
        for pair in pairs:
            reference, query = (self.benchmark.read(one.name)[1] for one in (pair.references[0], pair.query))
            assert reference
            assert query
            said = write_response(reference, query)
            if query["defect_words"]:
                said = format_response(
                    "Reference: purple whale x3. Query: nothing. A whale is missing.", anomalous=True
                )
            judgements.append(Judgement.of(said))
        return judgements


def test_faithfulness_is_measured_against_the_facts(tmp_path: Path) -> None:
    benchmark = open_benchmark("miniloco")
    list(Run(tmp_path / "run", Telling(benchmark), benchmark, limit=4, references=2).predict())
    recorded, metrics, _ = write_evaluation(tmp_path / "run")
    checked = {line.pair.kind: check_line(line) for line in recorded.predictions}
    good, bad = checked["good"], checked["logical"]
    assert good.true == good.claims > 3
    assert (bad.true, bad.claims, bad.told) == (0, 2, 0)  # three whales, and that they are purple
    found = metrics.explanations
    assert found
    assert found.faithfulness
    assert found.faithfulness_by_class
    pooled = found.faithfulness["all"]
    assert 0 < pooled.precision.value < 1  # type: ignore[operator]
    assert pooled.precision.value == pooled.true / pooled.claims
    assert pooled.recall.value == pooled.told / pooled.facts
    assert set(found.faithfulness_by_class) == {*metrics.by_class}
    assert found.claiming == 4
    assert found.naming
    assert (found.naming.defects, found.naming.defect.value) == (2, 0)
    assert metrics.pooled.accuracy.value == 1
    assert metrics.pooled.auroc.value is None  # it gave no scores


def test_a_checkpoint_is_asked_in_batches_across_references(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(tiny.save_qwen(tmp_path / "model"))
    for number, place in enumerate(4 * ["train/good"] + 3 * ["test/good"] + 2 * ["test/logical_anomalies"]):
        folder = tmp_path / "lamps/lamp" / place
        folder.mkdir(parents=True, exist_ok=True)
        tiny.picture(number, 64, 48).save(folder / f"{number}.png")
    benchmark = open_benchmark("folder", tmp_path / "lamps")
    runs = []
    for size in (1, 3):
        engine = TransformersEngine(checkpoint, reasoning_tokens=12, batch_size=size)
        run = Run(tmp_path / f"run{size}", VlmJudge(engine), benchmark)
        assert run.settings.parameters == sum(weight.numel() for weight in checkpoint.model.parameters())
        runs.append([line.model_dump(exclude={"verdict": {"seconds", "score"}}) for line in run.predict()])
    assert runs[0] == runs[1]
    assert len({line["pair"]["references"] for line in runs[0]}) > 1
    assert {line["verdict"]["answer"] for line in runs[0]} <= {"yes", "no"}
    assert all(line["verdict"]["response"].startswith("<think>") for line in runs[0])


def test_evaluate_is_all_of_it(tmp_path: Path) -> None:
    lamps(tmp_path / "lamps")
    figures = []
    for name, model in (("name", "always-yes"), ("trivial", load_judge("always-yes")), ("judge", Yes())):
        metrics = lad_reasoner.evaluate(
            model, "folder", root=tmp_path / "lamps", out=tmp_path / name, kinds=["good", "logical"]
        )
        figures.append(metrics.pooled)
        assert (tmp_path / name / "report.html").is_file()
        assert (tmp_path / name / "metrics.json").read_text() == metrics.model_dump_json(indent=2) + "\n"
    assert figures == [metrics.trivial["always-yes"].pooled] * 3
    assert read_run(tmp_path / "judge").settings.parameters == 7
    assert read_run(tmp_path / "name").settings.parameters is None
    assert "evaluate" in lad_reasoner.__all__
    lad_reasoner.evaluate("always-yes", "folder", root=tmp_path / "lamps", out=tmp_path / "one", kinds="good")
    assert read_run(tmp_path / "one").settings.kinds == ("good",)  # not a kind for each of its letters
    with pytest.raises(InputError, match="limit is 0; give at least 1"):
        lad_reasoner.evaluate("always-yes", "folder", root=tmp_path / "lamps", out=tmp_path / "none", limit=0)
    assert not (tmp_path / "none").exists()


class Yes:
    """A judge that always says yes, with seven weights."""

    name, prompt_version, batch_size, notes, parameters = "yes", "yes-1", 4, (), 7

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        return [Judgement.of(format_response("I say so.", anomalous=True), 1.0) for _ in pairs]


def lines_without_seconds(run: Path) -> list[dict[str, Any]]:
    return [
        Prediction.model_validate_json(line).model_dump(exclude={"verdict": {"seconds"}})
        for line in (run / "predictions.jsonl").read_bytes().splitlines()
    ]


@pytest.mark.posix
@pytest.mark.slow
def test_a_thousand_pairs_killed_five_times(tmp_path: Path) -> None:
    """SIGKILL at random; every other time the last line is also cut, as a kill in the middle of a write leaves it."""
    root = lamps(tmp_path / "lamps", good=500, bad=500, train=50)
    randomness = random.Random(7)

    def start(run: Path) -> subprocess.Popen[bytes]:
        options = ["--benchmark", "folder", "--root", root, "--model", "random", "--out", run]
        return subprocess.Popen([COMMAND, "eval", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    run, counts = tmp_path / "killed", []
    for turn in range(5):
        process = start(run)
        goal = sum(counts[-1:]) + randomness.randint(20, 180)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            path = run / "predictions.jsonl"
            if path.exists() and path.read_bytes().count(b"\n") >= goal:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        if turn % 2 == 0:
            path = run / "predictions.jsonl"
            os.truncate(path, path.stat().st_size - 40)
        counts.append((run / "predictions.jsonl").read_bytes().count(b"\n"))
    assert 0 < counts[0] < counts[1] < counts[2] < counts[3] < counts[4] < 1000
    assert start(run).wait(120) == 0
    assert start(tmp_path / "whole").wait(120) == 0
    killed = lines_without_seconds(run)
    assert len({line["pair"]["query"] for line in killed}) == len(killed) == 1000
    assert killed == lines_without_seconds(tmp_path / "whole")
