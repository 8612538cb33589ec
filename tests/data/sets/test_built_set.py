"""The built form on disk: what is written is read back, other folders are refused, what is half is never seen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lad_reasoner.data.sets.built_set import Builder, Entry, put_file, read_entries, read_manifest, summarise_set
from lad_reasoner.data.sets.check import check_set
from lad_reasoner.errors import InputError, MachineError, RecordError
from lad_reasoner.prompts import FORMAT, QUESTION, build_messages, build_prompt

RECIPE = {"seed": 0, "classes": ("a", "b")}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def entry(name: str, **fields: Any) -> Entry:
    given_fields: dict[str, Any] = {
        "images_file_names": (f"images/{name}.png",),
        "messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}],
        **{"task": "sft", "question": "describe", "query": 0, "label": "yes", "kind": None, "dataset": "d"},
        **{"category": "c", "defect": None, "source": f"{name}.png", "licence": "x", "prompt_version": "1"},
    }
    return Entry(id=name, **{**given_fields, **fields})


def build(out: Path, names: list[str], *, finish: bool = True) -> None:
    with Builder(out, "sft", RECIPE) as builder:
        for name in names:
            source = out.parent / f"{name}.png"
            source.write_text(name)
            builder.add(entry(name), {f"images/{name}.png": source})
        if finish:
            builder.finish(sorted(names), {"refused": {}})


def test_lines_are_in_the_order_of_the_plan_and_each_once(tmp_path: Path) -> None:
    build(tmp_path / "out", ["c", "a"], finish=False)
    build(tmp_path / "out", ["b", "a", "c"])
    assert [found.id for found in read_entries(tmp_path / "out")] == ["a", "b", "c"]
    manifest = read_manifest(tmp_path / "out")
    assert (manifest["complete"], manifest["records"]) == (True, 3)
    assert manifest["recipe"] == {"seed": 0, "classes": ["a", "b"]}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("metadata.jsonl", "manifest.json", "README.md", "images", ".lock")
    }
    for name in "abc":
        assert (tmp_path / f"out/images/{name}.png").stat().st_ino == (tmp_path / f"{name}.png").stat().st_ino


def test_what_finish_was_not_told_of_goes(tmp_path: Path) -> None:
    build(tmp_path / "out", ["a", "b"], finish=False)
    with Builder(tmp_path / "out", "sft", RECIPE) as builder:
        builder.finish(["b"], {"refused": {}})
    assert [found.id for found in read_entries(tmp_path / "out")] == ["b"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"messages": [{"role": "user"}]}, r"messages\.0\.content: Field required"),
        ({"messages": [{"role": "user", "content": 3}]}, r"messages\.0\.content"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, r"messages\.0\.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, r"messages\.0\.content"),
        ({"messages": [{"role": 1, "content": "a"}]}, r"messages\.0\.role"),
        ({"messages": [{"role": "user", "content": "a", "more": 1}]}, r"messages\.0\.more"),
        ({"facts": ["[" * 100_000]}, "facts: .*brackets"),
        ({"facts": ["[]"]}, "facts: .*must be the facts of a picture"),
        ({"facts": ['{"items": [3], "fills": []}']}, r"facts\.items\.0"),
        ({"facts": ['{"items": [], "fills": [{"what": "a", "level": NaN}]}']}, r"facts\.fills\.0\.level"),
    ],
    ids=str,
)
def test_a_record_that_no_build_writes_is_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    """Such lines ended `data check`, `data export` and the training with a traceback."""
    line = json.loads(entry("a").line())
    (tmp_path / "metadata.jsonl").write_text(json.dumps({**line, **change}) + "\n")
    with pytest.raises(RecordError, match=rf"metadata\.jsonl:1: {problem}"):
        read_entries(tmp_path)


def test_the_fields_of_a_line(tmp_path: Path) -> None:
    """What `datasets` and TRL ask for, and no column of another task."""
    line = json.loads(entry("a").line())
    assert {"id", "images_file_names", "messages", "label", "question"} < line.keys()
    assert "prompt" not in line
    messages = build_messages(1)
    line = json.loads(entry("a", task="pair", question=None, prompt=messages).line())
    assert line["prompt"] == messages
    assert "question" not in line


@given(name=TEXT, text=TEXT, label=st.sampled_from(["yes", "no"]), query=st.integers(0, 3))
def test_a_line_is_read_back(name: str, text: str, label: str, query: int) -> None:
    written = entry(name, label=label, query=query, source=text)
    assert written.line().count("\n") == 1
    assert Entry.model_validate_json(written.line()) == written


def test_a_link_is_followed_and_a_copy_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("a")
    (tmp_path / "link.png").symlink_to("a.png")
    put_file(tmp_path / "link.png", tmp_path / "x/y/b.png")
    assert not (tmp_path / "x/y/b.png").is_symlink()
    assert (tmp_path / "x/y/b.png").read_text() == "a"
    (tmp_path / "c.png").write_text("c")
    put_file(tmp_path / "c.png", tmp_path / "x/y/b.png")  # is there already
    assert (tmp_path / "x/y/b.png").read_text() == "a"


def test_folders_that_are_no_sets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no metadata\.jsonl; give a folder"):
        read_entries(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("<html>")
    with pytest.raises(InputError, match="not valid JSON"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="not a manifest"):
        read_manifest(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(RecordError, match=r"metadata\.jsonl:1: images_file_names"):
        read_entries(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file; give a folder"):
        Builder(tmp_path / "file", "sft", RECIPE)


@pytest.mark.parametrize(
    ("field", "value"),
    [("classes", [1]), ("classes", {"a": 3}), ("licences", "MIT"), ("labels", {"yes": "many"}), ("recipe", [1])],
)
def test_a_damaged_manifest_is_refused_by_the_check_that_stands_before_training(
    tmp_path: Path, field: str, value: Any
) -> None:
    build(tmp_path / "out", ["a", "b"])
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    (tmp_path / "out/manifest.json").write_text(json.dumps({**manifest, field: value}))
    message = rf"manifest\.json: not a manifest \({field}.*\); build the set again"
    with pytest.raises(InputError, match=message):
        check_set(tmp_path / "out")
    with pytest.raises(InputError, match=message):
        build(tmp_path / "out", ["a", "b"])


def test_a_record_whose_pictures_are_gone_is_not_done(tmp_path: Path) -> None:
    build(tmp_path / "out", ["a", "b"])
    (tmp_path / "out/images/a.png").unlink()
    build(tmp_path / "out", ["a", "b"])
    assert (tmp_path / "out/images/a.png").read_text() == "a"
    assert [found.id for found in read_entries(tmp_path / "out")] == ["a", "b"]
    shutil.rmtree(tmp_path / "out/images")
    with pytest.raises(FileNotFoundError), Builder(tmp_path / "out", "sft", RECIPE) as builder:
        assert builder.done == set()
        raise FileNotFoundError


def test_two_do_not_build_in_one_folder(tmp_path: Path) -> None:
    with (
        Builder(tmp_path / "out", "sft", RECIPE),
        pytest.raises(InputError, match="another process is using it; wait for it, or give another --out"),
    ):
        Builder(tmp_path / "out", "sft", RECIPE)
    build(tmp_path / "out", ["a"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other/mine.txt").write_text("")
    with pytest.raises(InputError, match=r"holds mine\.txt and no manifest"):
        Builder(tmp_path / "other", "sft", RECIPE)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["mine.txt"]


def test_a_build_that_was_killed_at_its_first_file_is_resumed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.12-34.part").write_text('{"task"')
    build(tmp_path / "out", ["a"])
    assert [each.id for each in read_entries(tmp_path / "out")] == ["a"]


def test_a_file_that_cannot_be_written_is_named_with_its_own_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("a")
    with Builder(tmp_path / "out", "sft", RECIPE) as builder:
        (tmp_path / "out/images").write_text("")
        with pytest.raises(MachineError, match=r"out/images.*: .*; choose a folder that can be written") as raised:
            builder.add(entry("a"), {"images/a.png": tmp_path / "a.png"})
    assert "space" not in str(raised.value)


def test_counts() -> None:
    found = summarise_set([entry("a"), entry("b", label="no", kind="good"), entry("c", category="k", masks=("m.png",))])
    assert found["classes"] == {"d/c": {"no": 1, "yes": 1}, "d/k": {"yes": 1}}
    assert found["labels"] == {"no": 1, "yes": 2}
    assert found["kinds"] == {"good": 1, "unknown": 2}
    assert (found["questions"], found["masks_missing"]) == ({"describe": 3}, 1)


def test_the_prompt_of_a_shuffled_pair() -> None:
    assert build_prompt(1, query_first=True) == (
        f"The first image is the query, the second is the reference. {QUESTION} {FORMAT}"
    )
    assert build_prompt(3, query_first=True).startswith(
        "The first image is the query, the last 3 images are references. Can you"
    )
    assert "compared to the references?" in build_prompt(3, query_first=True)
