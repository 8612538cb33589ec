"""Files of other systems: what is recognised, what is refused, and what is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.command_line import call
from helpers.damaged import JSON, NAMES
from helpers.planted import lamps, plant
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.benchmark import Benchmark, open_benchmark
from lad_reasoner.evaluation.imported import ImportedPredictions
from lad_reasoner.evaluation.run import Run, read_run
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.report.evaluation import write_evaluation

CLASSES = ("pushpins", "screw_bag")


@pytest.fixture(scope="module")
def loco(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """Two classes of the real layout: two good, two logical and one structural test picture each."""
    names = []
    for name in CLASSES:
        names += [f"{name}/train/good/00{i}.png" for i in range(2)]
        names += [f"{name}/validation/good/000.png"]
        names += [f"{name}/test/good/00{i}.png" for i in range(2)]
        names += [f"{name}/test/logical_anomalies/00{i}.png" for i in range(2)]
        names += [f"{name}/test/structural_anomalies/000.png"]
    return open_benchmark("mvtec-loco", plant(tmp_path_factory.mktemp("data") / "loco", names))


Write = Callable[[str, Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: Any) -> Path:
        path = tmp_path / name
        if name.endswith(".jsonl"):
            content = "".join(json.dumps(line) + "\n" for line in content)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


def judgements(judge: ImportedPredictions, benchmark: Benchmark, *names: str) -> list[Judgement]:
    found = []
    for name in names:
        picture, _ = benchmark.read(name)
        found += judge.judge([PicturePair((picture,), picture)])
    return found


GOOD, BAD = "pushpins/test/good/000.png", "pushpins/test/logical_anomalies/000.png"

FILES: dict[str, tuple[str, Any, str | None]] = {
    "a table": ("a.csv", f"image,score,answer\n{GOOD},0.2,no\n{BAD},0.9,yes\n", None),
    "semicolons, absolute paths": ("a.csv", f"path;anomaly_score\n/data/loco/{GOOD};0.2\nC:\\loco\\{BAD};0.9\n", None),
    "anomalib": (
        "a.csv",
        f"image_path,gt_label,pred_label,pred_score\n./datasets/MVTec_LOCO/{GOOD},0,0,0.2\n"
        f"./datasets/MVTec_LOCO/{BAD},1,1.0,0.9\n",
        None,
    ),
    "tabs and other columns": (
        "a.tsv",
        f"what\tNumber\tid\n{GOOD}\t0.2\t1\n{BAD}\t0.9\t2\n",
        "image=what,score=Number",
    ),
    "class and file": (
        "a.csv",
        "class,file,score\npushpins,good/000.png,0.2\npushpins,logical_anomalies/000.png,0.9\n",
        None,
    ),
    "JSON lines": ("a.jsonl", [{"image": GOOD, "score": 0.2}, {"image": BAD, "score": 0.9}], None),
    "a list": ("a.json", [{"file": GOOD, "score": 0.2}, {"file": BAD, "score": "0.9"}], None),
    "an object of numbers": ("a.json", {GOOD: 0.2, BAD: 0.9}, None),
    "an object of objects": ("a.json", {GOOD: {"pred": False, "score": 0.2}, BAD: {"pred": True, "score": 0.9}}, None),
}


@pytest.mark.parametrize(("name", "content", "columns"), FILES.values(), ids=FILES)
def test_files_that_are_understood(write: Write, loco: Benchmark, name: str, content: Any, columns: str | None) -> None:
    judge = ImportedPredictions(write(name, content), loco, columns=columns)
    found = judgements(judge, loco, GOOD, BAD)
    assert [(one.answer, one.score) for one in found] == [("no", 0.2), ("yes", 0.9)]
    assert judge.name == "a"
    assert not any("dropped" in note for note in judge.notes)


def test_answers_in_words_and_texts(write: Write, loco: Benchmark) -> None:
    said = {
        "Yes, there is an anomaly in the image, at the top left.": "yes",  # AnomalyGPT's way
        "No, there is no anomaly in the image.": "no",
        "<think>A pin is missing.</think><answer>yes</answer>": "yes",
        "<answer>no</answer>": "invalid",
        "yes or no": "invalid",
        "The image is normal.": "invalid",
        "Nothing to see": "invalid",
        "**No.** All pins are there": "no",
    }
    for text, answer in said.items():
        path = write("gpt.jsonl", [{"image": GOOD, "response": text}])
        (found,) = judgements(ImportedPredictions(path, loco), loco, GOOD)
        assert (found.answer, found.score, found.response) == (answer, None, text), text
    assert found.reasoning == "**No.** All pins are there"
    words = {"1": "yes", "0": "no", "True": "yes", "anomalous": "yes", "Normal": "no", "NOK": "yes", "good.": "no"}
    for text, answer in (words | {"1.0": "yes", "perhaps": "invalid"}).items():
        path = write("words.csv", f'image,answer,reasoning\n{GOOD},{text},"two, not one"\n')
        (found,) = judgements(ImportedPredictions(path, loco), loco, GOOD)
        assert (found.answer, found.reasoning) == (answer, "two, not one"), text


def test_mmads_answer_files(write: Write, loco: Benchmark) -> None:
    """Options are shuffled; an image has several questions; keys are DATASET/CLASS/image/FOLDER/FILE."""

    def entry(image: str, options: dict[str, str], answer: str, **more: Any) -> dict[str, Any]:
        return {
            "image": image,
            "question": {"type": "text", "text": "…", "options": options},
            "gpt_answer": answer,
        } | more

    other = {"A": "Top left", "B": "Bottom"}
    answers = [
        entry("MVTec-LOCO/pushpins/image/good/000.png", {"A": "No.", "B": "Yes."}, "A", correct_answer="A"),
        entry("MVTec-LOCO/pushpins/image/logical_anomalies/000.png", {"A": "No.", "B": "Yes."}, "B"),
        entry("MVTec-LOCO/pushpins/image/logical_anomalies/000.png", other, "A"),
        entry("../MVTec-LOCO/screw_bag/image/good/001.png", {"A": "Yes", "B": "No"}, "C"),
        entry("MVTec-LOCO/screw_bag/image/good/000.png", other, "A", question_type="Defect Localization"),
    ]
    plain = {
        "image": "MVTec-LOCO/screw_bag/image/logical_anomalies/001.png",
        "question": "Question: Is there any defect in the object?\nA. Yes.\nB. No.\n",
        "question_type": "Anomaly Detection",
        "gpt_answer": "A",
    }
    judge = ImportedPredictions(write("answers_1_shot_x.json", [*answers, plain]), loco)
    names = [GOOD, BAD, "screw_bag/test/good/001.png", "screw_bag/test/logical_anomalies/001.png"]
    found = judgements(judge, loco, *names)
    assert [one.answer for one in found] == ["no", "yes", "invalid", "yes"]
    assert not any("dropped" in note for note in judge.notes)
    with pytest.raises(InputError, match=r"screw_bag/test/good/000.png: no prediction in answers_1_shot_x.json"):
        judgements(judge, loco, "screw_bag/test/good/000.png")


def test_unknown_doubled_and_missing_images_are_named_and_counted(
    write: Write, loco: Benchmark, tmp_path: Path
) -> None:
    lines = [f"{name}/test/good/00{i}.png,0.1\n" for name in CLASSES for i in range(2)]
    lines += [f"{BAD},0.9\n", f"{BAD},0.1\n", f"x/{GOOD},0.3\n"]
    lines += [f"bottles/test/good/00{i}.png,0.4\n" for i in range(4)] + ["good/000.png,0.4\n"]
    lines += ["pushpins/test/structural_anomalies/000.png,0.4\n", "pushpins/train/good/000.png,0.4\n"]
    path = write("logsad.csv", "path,score\n" + "".join(lines))
    judge = ImportedPredictions(path, loco)
    run = Run(tmp_path / "run", judge, loco)
    assert len(list(run.predict())) == 8
    recorded, metrics, _ = write_evaluation(tmp_path / "run")
    notes = "\n".join(recorded.settings.notes)
    assert "5 lines dropped, because the benchmark has no such image: bottles/test/good/000.png; " in notes
    assert "002.png and 2 more" in notes
    assert f"2 lines dropped, because the image has an earlier line: {BAD}; x/{GOOD}" in notes
    assert "the file has scores only: anomalous from 0.5 on" in notes
    missing = [line.error for line in recorded.predictions if line.error]
    assert len(missing) == len(metrics.failed) == 3
    assert "pushpins/test/logical_anomalies/001.png: no prediction in logsad.csv" in missing
    assert (metrics.pooled.confusion.tp, metrics.pooled.confusion.tn, metrics.pooled.tpr.value) == (1, 4, 0.25)


@pytest.mark.parametrize("column", ["pred_label", "score", "prediction"])
@pytest.mark.parametrize(
    ("good", "bad"),
    [("1", "-1"), ("1.0", "-1.0"), ("Normal", "Abnormal"), ("False", "True"), ("0.0", "1.0")],
)
def test_labels_of_other_systems(write: Write, loco: Benchmark, column: str, good: str, bad: str) -> None:
    if column == "score" and good.isalpha():
        pytest.skip("words are no scores")
    judge = ImportedPredictions(write("p.csv", f"image,{column}\n{GOOD},{good}\n{BAD},{bad}\n"), loco)
    assert [one.answer for one in judgements(judge, loco, GOOD, BAD)] == ["no", "yes"]
    assert ("labels of -1 were taken as anomalous, those of 1 as good" in judge.notes) == bad.startswith("-1")


@pytest.mark.parametrize("score", ["tensor(0.9)", "tensor([0.9], device='cuda:0')", "np.float32(0.9)", '"0,9"'])
def test_scores_as_torch_numpy_and_excel_write_them(write: Write, loco: Benchmark, score: str) -> None:
    cell = score if score.startswith('"') else f'"{score}"'
    judge = ImportedPredictions(write("p.csv", f"image,score\n{BAD},{cell}\n"), loco)
    assert judgements(judge, loco, BAD)[0].score == 0.9


def test_answers_that_are_no_label_are_named(write: Write, loco: Benchmark) -> None:
    judge = ImportedPredictions(write("p.csv", f"image,prediction\n{GOOD},geht\n{BAD},kaputt\n"), loco)
    assert [one.answer for one in judgements(judge, loco, GOOD, BAD)] == ["invalid", "invalid"]
    assert "answers that are no known label count as invalid: geht, kaputt" in str(judge.notes)


def test_minus_one_beside_zero_is_refused(write: Write, loco: Benchmark) -> None:
    path = write("p.csv", f"image,pred_label\n{GOOD},0\n{BAD},-1\n")
    with pytest.raises(InputError, match=r"p\.csv:3: pred_label: '-1' stands beside 0; write yes and no"):
        ImportedPredictions(path, loco)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p.json"])
def test_encodings_of_other_systems(tmp_path: Path, loco: Benchmark, name: str, encoding: str) -> None:
    text = {
        "p.csv": f"sep=;\r\nimage;score\r\n{GOOD};0.2\r\n{BAD};0.9\r\n",
        "p.jsonl": f'{{"image": "{GOOD}", "score": 0.2}}\n{{"image": "{BAD}", "score": 0.9}}\n',
        "p.json": f'{{"{GOOD}": 0.2, "{BAD}": 0.9}}',
    }
    path = tmp_path / name
    path.write_bytes(text[name].encode(encoding))
    assert [one.score for one in judgements(ImportedPredictions(path, loco), loco, GOOD, BAD)] == [0.2, 0.9]


def test_a_threshold_for_systems_that_only_score(write: Write, loco: Benchmark) -> None:
    path = write("patchcore.csv", f"image,score\n{GOOD},31.5\n{BAD},40\npushpins/test/good/001.png,-2\n")
    with pytest.raises(
        InputError,
        match=r"scores from -2 to 40 and no answers; give the lowest score of an anomalous image with -M threshold",
    ):
        ImportedPredictions(path, loco)
    names = (GOOD, BAD, "pushpins/test/good/001.png")
    first = judgements(ImportedPredictions(path, loco, threshold=40), loco, *names)
    assert [one.answer for one in first] == ["no", "yes", "no"]
    assert first[1].score == 0.5
    second = judgements(ImportedPredictions(path, loco, threshold=-5), loco, *names)
    assert [one.answer for one in second] == ["yes", "yes", "yes"]
    for found in (first, second):
        assert found[1].score > found[0].score > found[2].score  # type: ignore[operator]
    with pytest.raises(InputError, match="threshold nan: give a number"):
        ImportedPredictions(path, loco, threshold=float("nan"))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8), st.floats(-1e3, 1e3))
def test_scores_keep_their_order_and_their_side(
    tmp_path_factory: pytest.TempPathFactory, loco: Benchmark, scores: list[float], threshold: float
) -> None:
    names = [name for name in loco.samples if "/test/" in name][: len(scores)]
    path = tmp_path_factory.mktemp("scores") / "scores.json"
    path.write_text(json.dumps(dict(zip(names, scores, strict=True))))
    found = judgements(ImportedPredictions(path, loco, threshold=threshold), loco, *names)
    placed = [one.score or 0.0 for one in found]
    assert all(0 <= score <= 1 for score in placed)
    assert [one.answer == "yes" for one in found] == [score >= threshold for score in scores]
    for a, left in zip(scores, placed, strict=True):
        for b, right in zip(scores, placed, strict=True):
            assert left <= right if a < b else left >= right


REFUSED: dict[str, tuple[str, Any, str | None, str]] = {
    "an unknown column": (
        "a.csv",
        "path,anomaly_scores\nx.png,1\n",
        "score=anomaly_score",
        "no column anomaly_score in .*did you mean anomaly_scores?",
    ),
    "one of ours": (
        "a.csv",
        "path,score\nx.png,1\n",
        "points=score",
        "columns points=score: write one of image, category",
    ),
    "no mapping": ("a.csv", "path,score\nx.png,1\n", "score", "columns score: write one of image"),
    "no images": (
        "a.csv",
        "name,score\nx.png,1\n",
        None,
        "no column of images; .*-M columns=image=…, one of name, score",
    ),
    "no scores": ("a.csv", "path,value\nx.png,1\n", None, "no column of scores or answers; .* one of path, value"),
    "no number": ("a.csv", f"path,score\n{GOOD},high\n", None, r"a.csv:2: score: 'high' is not a finite number"),
    "not finite": ("a.csv", f"path,score\n{GOOD},nan\n", None, r"a.csv:2: score: 'nan' is not a finite number"),
    "an empty name": (
        "a.csv",
        f"path,score\n{GOOD},0.1\n,0.2\n",
        None,
        "a.csv:3: path: the cell is empty; name an image",
    ),
    "nothing": ("a.csv", "path,score\n", None, "a.csv: no predictions in it"),
    "half a JSON": ("a.json", '[{"image": "x.png",', None, "a.json:1: not valid JSON"),
    "half a line": ("a.jsonl2", "", None, "a.jsonl2: no predictions in it"),
    "a number": ("a.json", "3", None, "a.json: must be a list or an object"),
    "a list of numbers": ("a.json", "[3]", None, "a.json: number 1: must be an object"),
    "a broken quote": ("a.csv", 'path,score\n"x.png,1\n', None, "a.csv:2: not valid CSV"),
    "brackets too deep": ("a.json", "[" * 100_000, None, "a.json:1: not valid JSON"),
    "a number too long": ("a.json", '{"x.png": ' + "9" * 5000 + "}", None, "a.json:1: not valid JSON"),
    "a number too large": (
        "a.json",
        '{"x.png": 1' + "0" * 400 + "}",
        None,
        "a.json: number 1: score: '10+' is not a finite number",
    ),
    "options that are none": (
        "a.json",
        '[{"image": "x.png", "question": {"options": ["Yes", "No"]}, "gpt_answer": "A"}]',
        None,
        "a.json: number 1: options: must be an object",
    ),
    "one name for two columns": (
        "a.csv",
        "path,score,score\nx.png,1,0\n",
        None,
        "a.csv:1: two columns .* score; rename",
    ),
    "a comma without quotes": (
        "a.csv",
        f"path,text\n{GOOD},no\n{GOOD},Yes, a pin\n",
        None,
        "a.csv:3: more cells than columns; put texts with the delimiter in quotes",
    ),
    "images of others": (
        "a.csv",
        "path,score\nx/y.png,1\nz.png,1\n",
        None,
        "a.csv: contains no image of mvtec-loco, only others such as x/y.png; give another --benchmark or --root",
    ),
}


@pytest.mark.parametrize(("name", "content", "columns", "said"), REFUSED.values(), ids=REFUSED)
def test_files_that_are_refused(
    write: Write, loco: Benchmark, name: str, content: Any, columns: str | None, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        ImportedPredictions(write(name, content), loco, columns=columns)


def test_what_ends_no_line_stays_in_its_cell(write: Write, loco: Benchmark) -> None:
    path = write("a.csv", f"path,text,,\n{GOOD},No.\u2028All there.,,\n\n{BAD},Yes\n")
    judge = ImportedPredictions(path, loco)
    assert judgements(judge, loco, GOOD, BAD)[0].response == "No.\u2028All there."
    assert [one.answer for one in judgements(judge, loco, GOOD, BAD)] == ["no", "yes"]


def test_files_that_cannot_be_read(write: Write, loco: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"file:.*nowhere.csv: No such file"):
        ImportedPredictions(tmp_path / "nowhere.csv", loco)
    with pytest.raises(InputError, match=r"file:.*: a folder; give the file of predictions in it"):
        ImportedPredictions(tmp_path, loco)
    own = write("predictions.jsonl", [{"pair": {"query": GOOD}, "verdict": {"answer": "no"}, "scored": True}])
    with pytest.raises(InputError, match=r"jsonl: the predictions of a run of `eval`; give its folder to `compare`"):
        ImportedPredictions(own, loco)
    (tmp_path / "latin.csv").write_bytes(b"path,score\nsch\xf6n.png,1\n")
    with pytest.raises(InputError, match="not UTF-8"):
        ImportedPredictions(tmp_path / "latin.csv", loco)
    (tmp_path / "half.jsonl").write_text('{"image": "x.png", "score": 1}\n{"image": ')
    with pytest.raises(InputError, match=r"half.jsonl:2: not valid JSON"):
        ImportedPredictions(tmp_path / "half.jsonl", loco)


def test_another_file_is_another_run(write: Write, loco: Benchmark, tmp_path: Path) -> None:
    path = write("a.csv", f"image,score\n{GOOD},0.1\n")
    list(Run(tmp_path / "run", ImportedPredictions(path, loco), loco, limit=1).predict())
    with pytest.raises(InputError, match=r"made with prompt_version file-.*; give another --out"):
        Run(tmp_path / "run", ImportedPredictions(path, loco, threshold=0.3), loco)
    path = write("a.csv", f"image,score\n{GOOD},0.2\n")
    with pytest.raises(InputError, match=r"made with prompt_version file-.*; give another --out"):
        Run(tmp_path / "run", ImportedPredictions(path, loco), loco)


def test_the_verb(write: Write, tmp_path: Path) -> None:
    root = lamps(tmp_path / "lamps")
    rows = [f"/x/lamp/test/good/00{i}.png,{i}\n" for i in range(4)]
    rows += [f"/x/lamp/test/logical_anomalies/00{i}.png,{i + 2}\n" for i in range(3)]
    path = write("Their System.csv", "path,points\n" + "".join(rows))
    options = ["eval", "--benchmark", "folder", "--root", root, "--model", f"file:{path}", "--out", tmp_path / "run"]
    done = call(*options, "-M", "columns=score=points", "-M", "threshold=2")
    assert done.returncode == 0, done.stderr
    assert "Their System on folder" in done.stdout
    assert "note: the file has scores only: anomalous from 2 on" in done.stderr
    answers = [line.verdict.answer for line in read_run(tmp_path / "run").predictions]
    assert answers == ["no", "no", "yes", "yes", "yes", "yes", "yes"]
    done = call(*options, "-M", "columns=score=points")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "give the lowest score of an anomalous image with -M threshold=…" in done.stderr


@settings(max_examples=150)
@given(value=JSON, name=st.sampled_from(["image", "path", "query"]), more=st.dictionaries(st.sampled_from(NAMES), JSON))
def test_strange_files_are_refused_or_hold_predictions(
    tmp_path_factory: pytest.TempPathFactory, loco: Benchmark, value: object, name: str, more: dict[str, object]
) -> None:
    query = next(each for each in loco.samples if "/test/" in each)
    path = tmp_path_factory.mktemp("strange") / "scores.json"
    for content in (value, [{name: query, "score": value, **more}], {query: value}):
        path.write_text(json.dumps(content))
        try:
            predictions = ImportedPredictions(path, loco)
        except InputError as error:
            assert "scores.json" in str(error) or "threshold" in str(error)
        else:
            assert predictions.notes
