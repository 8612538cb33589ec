"""Paid answers on disk."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.damaged import damaged
from lad_reasoner.errors import RecordError
from lad_reasoner.remote.ledger import Exchange, Ledger


def exchange(key: str, text: str = "One screw.") -> Exchange:
    return Exchange(key=key, text=text, finish="stop", model="m", input_tokens=2, output_tokens=3)


LINES = b"".join(exchange(key).model_dump_json().encode() + b"\n" for key in "abc")


@settings(max_examples=200)
@given(content=damaged(LINES))
def test_a_damaged_file_is_refused_or_nothing_whole_is_asked_again(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "answers.jsonl"
    path.write_bytes(content)
    ledger = Ledger(path)
    try:
        with ledger.hold():
            ledger.obtain("new", lambda: exchange("new"))
    except RecordError as error:
        assert str(path) in str(error) and path.read_bytes() in (content, content[: content.rfind(b"\n") + 1])
    else:
        again = Ledger(path)
        with again.hold():
            asked = again.obtain("new", lambda: pytest.fail("paid twice"))
        assert asked.text == "One screw."


@settings(max_examples=50)
@given(cut=st.integers(0, len(LINES)))
def test_a_cut_loses_at_most_the_answer_that_was_cut(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("ledger") / "answers.jsonl"
    path.write_bytes(LINES[:cut])
    ledger = Ledger(path)
    with ledger.hold():
        assert set(ledger.known) == set("abc"[: LINES[:cut].count(b"\n")])


def test_the_workers_of_a_large_machine_share_the_default_file(tmp_path: Path) -> None:
    """The ninth one stopped a run on a cluster."""
    with ExitStack() as stack:
        for number in range(20):
            ledger = Ledger(tmp_path / "answers.jsonl", shared=True)
            stack.enter_context(ledger.hold())
            ledger.obtain(str(number), lambda number=number: exchange(str(number)))  # type: ignore[misc]
    last = Ledger(tmp_path / "answers.jsonl", shared=True)
    with last.hold():
        for number in range(20):
            assert last.obtain(str(number), lambda: pytest.fail("paid twice")).text == "One screw."
