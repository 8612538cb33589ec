"""Lists of pairs and files of references as benchmarks."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.damaged import JSON, damaged
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.benchmark import draw_pairs, open_benchmark
from lad_reasoner.evaluation.pair_list import read_pair_list
from lad_reasoner.evaluation.run import Run
from lad_reasoner.evaluation.table_files import read_rows
from lad_reasoner.judges import load_judge

HEADER = "query,references,label,category,kind\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("good/1", "good/2", "new/a", "new/b"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.radial_gradient("L").rotate(len(name) + ord(name[-1])).save(path)
    return tmp_path


def test_each_pair_as_it_is_written(folder: Path) -> None:
    text = "new/a.png,good/1.png;good/2.png,anomalous,bottle,logical\nnew/b.png,good/2.png,good,bottle,good\n"
    (folder / "pairs.csv").write_text(HEADER + text)
    lines = [
        {"query": "new/a.png", "references": ["good/1.png", "good/2.png"], "label": "yes", "kind": "logical"},
        {"query": "new/b.png", "references": ["good/2.png"], "label": "no"},
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in ("pairs.csv", "pairs.jsonl"):
        assert [pair.label for pair in read_pair_list(folder / name)] == ["yes", "no"]
        benchmark = open_benchmark("manifest", folder / name)
        pairs, notes = draw_pairs(benchmark)
        assert [pair.query for pair in pairs] == ["new/a.png", "new/b.png"]
        assert [pair.references for pair in pairs] == [("good/1.png", "good/2.png"), ("good/2.png",)]
        assert [(pair.label, pair.kind) for pair in pairs] == [("yes", "logical"), ("no", "good")]
        assert notes == ()
        run = Run(folder / f"run-{name}", load_judge("random", seed=1), benchmark)
        assert [len(line.verdict.references) for line in run.predict()] == [2, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("new/a.png,good/1.png,anomalous\nnew/a.png,good/2.png,good", r"pairs.csv:3: query: new/a.png stands twice"),
        ("new/c.png,good/1.png,good", r"pairs.csv:2: query: new/c.png: no such file"),
        ("new/a.png,good/9.png,good", r"pairs.csv:2: references: good/9.png: no such file"),
        ("new/a.png,good/1.png,perhaps", r"pairs.csv:2: label: perhaps is neither good nor anomalous"),
        ("new/a.png,,good", r"pairs.csv:2: references: is missing"),
        ("new/a.png,good/1.png,good,bottle,logical", r"kind: logical contradicts the label good"),
        ("new/a.png,good/1.png,bad,bottle,strange", r"kind: strange is none of"),
        ("new/a.png,;,bad", r"pairs.csv:2: references: is missing"),
        (f"new/a.png,{'x' * 300}.png,bad", r"pairs.csv:2: references: x+.png: no such file"),
        (f"{'x' * 5000},good/1.png,good", r"pairs.csv:2: query: x{400}…: no such file"),
        ("new/a.png,new/b.png,bad\nnew/b.png,good/1.png,bad", r"new/b.png: is a reference and labelled anomalous"),
    ],
)
def test_faults_name_the_line(folder: Path, line: str, message: str) -> None:
    (folder / "pairs.csv").write_text(f"{HEADER}{line}\n")
    with pytest.raises(InputError, match=message):
        open_benchmark("manifest", folder / "pairs.csv")


def test_unknown_columns_and_absent_files(folder: Path) -> None:
    (folder / "pairs.csv").write_text("query,references,label,weight\nnew/a.png,good/1.png,good,3\n")
    with pytest.raises(InputError, match=r"weight: no such column"):
        open_benchmark("manifest", folder / "pairs.csv")
    with pytest.raises(InputError, match=r"nothing.csv: No such file"):
        open_benchmark("manifest", folder / "nothing.csv")


def test_fixed_references_of_any_benchmark(tmp_path: Path) -> None:
    names = ["pushpins/train/good/000.png", "pushpins/train/good/007.png"]
    others = [f"{name}/train/good/003.png" for name in ("breakfast_box", "juice_bottle", "screw_bag")]
    (tmp_path / "references.txt").write_text("\n".join(["# of the shift", *names, *others, ""]))
    with pytest.raises(InputError, match="no reference of splicing_connectors; each class needs one"):
        open_benchmark("miniloco", references_file=tmp_path / "references.txt")
    with (tmp_path / "references.txt").open("a") as file:
        file.write("splicing_connectors/train/good/001.png\n")
    benchmark = open_benchmark("miniloco", references_file=tmp_path / "references.txt")
    assert benchmark.fingerprint != open_benchmark("miniloco").fingerprint
    pairs, _ = draw_pairs(benchmark)
    assert {pair.references for pair in pairs if pair.category == "pushpins"} == {tuple(names)}
    assert len(pairs) == len(draw_pairs(open_benchmark("miniloco"))[0])
    with pytest.raises(InputError, match="references are fixed here"):
        draw_pairs(benchmark, references=2)
    (tmp_path / "references.txt").write_text("pushpins/train/good/00.png\n")
    with pytest.raises(InputError, match=r"no such picture in miniloco; did you mean pushpins/train/good/0"):
        open_benchmark("miniloco", references_file=tmp_path / "references.txt")
    (tmp_path / "references.txt").write_text("pushpins/test/logical_anomalies/000.png\n")
    with pytest.raises(InputError, match="is labelled anomalous"):
        open_benchmark("miniloco", references_file=tmp_path / "references.txt")


@settings(max_examples=200)
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["query", "references", "label", "kind", "defect"]), JSON), max_size=2
    )
)
def test_strange_values_are_refused_or_mean_something(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("pairs") / "pairs.json"
    path.write_text(
        json.dumps([{"query": "pairs.json", "references": "pairs.json", "label": "bad", **row} for row in rows])
    )
    try:
        pairs = read_pair_list(path)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert all(pair.references and pair.label for pair in pairs)


@settings(max_examples=200)
@given(content=damaged(f"{HEADER}pairs.csv,pairs.csv,anomalous,bottle,logical\n".encode()))
def test_a_damaged_list_is_refused_or_means_something(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    path.write_bytes(content)
    try:
        pairs = read_pair_list(path)
    except InputError as error:
        assert "pairs.csv" in str(error)
    else:
        assert all(pair.references and pair.label for pair in pairs)


@settings(max_examples=300)
@given(value=JSON, suffix=st.sampled_from([".json", ".jsonl"]))
def test_any_json_has_rows_or_is_refused(value: object, suffix: str) -> None:
    path = Path(f"results{suffix}")
    try:
        for where, row in read_rows(path, json.dumps(value).encode()):
            assert where.startswith("results") and isinstance(row, dict)
    except InputError as error:
        assert str(error).startswith("results")


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([{"type": "reasoning", "reasoning": "a"}, {"type": "text", "text": "b"}], "<think>a</think>b"),
        (
            [{"type": "reasoning", "reasoning": "code", "redacted": True, "summary": "a"}, {"text": "b"}],
            "<think>a</think>b",
        ),
        ([{"type": "reasoning", "reasoning": "own"}, {"text": "<think>a</think>b"}], "<think>a</think>b"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ("<think>a</think>b", "<think>a</think>b"),
    ],
)
def test_a_reasoning_that_inspect_ai_took_out_is_put_back(parts: object, text: str) -> None:
    choice = {"message": {"content": parts}}
    log = {"eval": {}, "samples": [{"id": "q", "output": {"choices": [choice], "completion": "<think>a</think>b"}}]}
    ((_, row),) = read_rows(Path("log.json"), json.dumps(log).encode())
    assert row["text"] == text


def test_harness_logs_of_other_shapes_are_refused_or_empty(tmp_path: Path) -> None:
    for sample in ({"metadata": [1]}, {"output": 3}, {"output": {"choices": [5]}}, {"output": {"choices": {"a": 1}}}):
        log = {"eval": {}, "samples": [sample]}
        assert list(read_rows(tmp_path / "log.json", json.dumps(log).encode()))
    for row in ({"filtered_resps": [["a"]], "doc": 3}, {"filtered_resps": {}, "doc": []}):
        assert list(read_rows(tmp_path / "log.jsonl", json.dumps(row).encode()))
