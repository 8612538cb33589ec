"""Pairs in the forms of evaluation harnesses; each is loaded by the harness itself where it is installed."""

import csv
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers import built
from lad_reasoner.data.mmad import DETECTION
from lad_reasoner.data.sets.export import export_set
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.benchmark import draw_pairs, open_benchmark
from lad_reasoner.evaluation.imported import ImportedPredictions
from lad_reasoner.judge import PicturePair

RESPONSE = "<think>One bolt is missing.</think><answer>yes</answer>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of pairs: the records of `built`, without its questions."""
    folder = tmp_path_factory.mktemp("built") / "pairs"
    folder.mkdir()
    built.build(folder, per_kind=1)
    path = folder / "metadata.jsonl"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if json.loads(line)["task"] == "pair"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def imported(out: Path, results: Path) -> tuple[ImportedPredictions, list[Any]]:
    benchmark = open_benchmark("manifest", out / "pairs.jsonl")
    pairs, _ = draw_pairs(benchmark)
    judge = ImportedPredictions(results, benchmark)
    pictures = [
        PicturePair(tuple(benchmark.read(name)[0] for name in pair.references), benchmark.read(pair.query)[0])
        for pair in pairs
    ]
    return judge, judge.judge(pictures)


def test_inspect_reads_the_manifest(folder: Path, tmp_path: Path) -> None:
    exported = export_set(folder, tmp_path / "out", to="inspect")
    assert exported.records == 4
    assert exported.command.startswith("inspect eval lad_reasoner/pairs -T benchmark=manifest -T root=")
    pairs, _ = draw_pairs(open_benchmark("manifest", tmp_path / "out/pairs.jsonl"))
    assert sorted(pair.label or "" for pair in pairs) == ["no", "no", "yes", "yes"]
    assert {pair.kind for pair in pairs} == {"good", "logical"}


def test_lmms_eval(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    assert "--tasks lad_reasoner_pairs" in export_set(folder, out, to="lmms-eval").command
    assert "\nreasoning_tags: none\n" in (out / "lad_reasoner_pairs.yaml").read_text(encoding="utf-8")
    items = [json.loads(line) for line in (out / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    text = (out / "lad_reasoner_pairs.yaml").read_text(encoding="utf-8")
    task = yaml.safe_load(text.replace("!function ", ""))
    assert task["dataset_kwargs"]["data_files"]["test"] == str(out / "items.jsonl")
    spec = importlib.util.spec_from_file_location("lad_reasoner_utils", out / "lad_reasoner_utils.py")
    assert spec is not None
    assert spec.loader is not None
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    for key in ("doc_to_visual", "doc_to_text", "process_results"):
        assert hasattr(utils, task[key].removeprefix("lad_reasoner_utils."))
    assert [picture.mode for picture in utils.doc_to_visual(items[0])] == ["RGB", "RGB"]
    assert "the second is the query" in utils.doc_to_text(items[0])
    wanted = [utils.process_results(item, [RESPONSE])["balanced_accuracy"] for item in items]
    assert utils.balanced_accuracy(wanted) == 0.5
    # With the item, as older versions log it, and as 0.7.3 does: what process_results returns, one response as a text.
    older = [{"doc_id": n, "doc": item, "filtered_resps": [RESPONSE]} for n, item in enumerate(items)]
    today = [
        {"doc_id": n, "filtered_resps": RESPONSE, **utils.process_results(item, [RESPONSE])}
        for n, item in enumerate(items)
    ]
    for samples in (older, today):
        (tmp_path / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
        _, judgements = imported(out, tmp_path / "samples.jsonl")
        assert [each.answer for each in judgements] == ["yes"] * 4
        assert judgements[0].reasoning == "One bolt is missing."


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lmms_eval_loads_it(folder: Path, tmp_path: Path) -> None:
    try:
        from lmms_eval.tasks import TaskManager, get_task_dict
    except ImportError as error:
        pytest.skip(f"{error}: pip install evaluate loguru sacrebleu && pip install --no-deps lmms-eval==0.7.3")
    export_set(folder, tmp_path / "out", to="lmms-eval")
    manager = TaskManager("ERROR", include_path=str(tmp_path / "out"))
    task = get_task_dict(["lad_reasoner_pairs"], manager)["lad_reasoner_pairs"]
    (first, *_) = list(task.test_docs())
    assert len(task.doc_to_visual(first)) == 2
    from lmms_eval.api.reasoning import parse_reasoning_tags_config

    assert parse_reasoning_tags_config('[["<think>", "</think>"]]', task.config.reasoning_tags) is None


def test_vlmevalkit(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = export_set(folder, out, to="vlmevalkit").command
    assert "--data lad_reasoner_pairs" in command
    csv.field_size_limit(sys.maxsize)
    with (out / "lad_reasoner_pairs.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["index"] for row in rows] == ["0", "1", "2", "3"]
    assert all(os.path.isfile(name) for row in rows for name in json.loads(row["image_path"]))  # noqa: PTH113
    # What it writes with PRED_FORMAT=tsv: the same columns and `prediction`.
    results = tmp_path / "results.tsv"
    with results.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "prediction"], delimiter="\t")
        writer.writeheader()
        writer.writerows({**row, "prediction": RESPONSE if row["answer"] == "yes" else "nothing"} for row in rows)
    _, judgements = imported(out, results)
    assert sorted(each.answer for each in judgements) == ["invalid", "invalid", "yes", "yes"]


def test_mmad(folder: Path, tmp_path: Path) -> None:
    export_set(folder, tmp_path / "out", to="mmad")
    pictures = json.loads((tmp_path / "out/mmad.json").read_text(encoding="utf-8"))
    assert len(pictures) == 4
    for name, entry in pictures.items():
        assert (tmp_path / "out" / name).is_file()
        assert (tmp_path / "out" / entry["similar_templates"][0]).is_file()
        (question,) = entry["conversation"]
        assert question["type"] == DETECTION
        assert question["Options"][question["Answer"]] == ("No." if "good" in name else "Yes.")


def test_what_a_harness_cannot_ask_is_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "metadata.jsonl"
    twice = tmp_path / "twice"
    twice.mkdir()
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    lines = [first, {**first, "id": "other"}]
    (twice / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(InputError, match=r"is asked about twice; build the set with --per-picture 1"):
        export_set(twice, tmp_path / "a", to="mmad")
    (twice / "metadata.jsonl").write_text(json.dumps({**first, "query": 0}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="its query comes first; build the set without --shuffle"):
        export_set(twice, tmp_path / "b", to="inspect")
    (twice / "metadata.jsonl").write_text(json.dumps({**first, "task": "sft"}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="does not measure on an SFT set; build one with `data pairs`"):
        export_set(twice, tmp_path / "c", to="inspect")
