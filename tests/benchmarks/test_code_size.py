"""The counts of code_size.py: exactly on a small source, and that the whole tree can be measured."""

import sys

import code_size
import pytest

SOURCE = '''"""Two lines
of docstring."""

# Why.
total = sum(size for size in [1, 2])  # pixels


def half(number: int) -> float:
    """Half of it."""
    return number / 2
'''


def test_counts() -> None:
    size = code_size.measure(SOURCE)
    assert (size.code, size.docstrings, size.comments, size.filled) == (3, 3, 2, 7)
    assert size.comprehensions == 1
    assert code_size.measure("x = 1\n").nodes == 5  # Module, Assign, Name, Store, Constant
    assert size + code_size.Size(code=1) == code_size.Size(4, 3, 2, 7, size.nodes, 1)


def test_built_in_rooms_are_left_out() -> None:
    sources = {"judge.py": SOURCE, "micro/pool.py": SOURCE, "train/policy.py": SOURCE, "train/rollouts.py": SOURCE}
    rows = code_size.rows_of(sources)
    assert rows["code lines"] == "9"
    assert rows["  with docstrings"] == "18"
    assert rows["comprehensions in 100 lines"] == "33.3"
    assert [label for label in rows if "comments" in label] == [
        "comments, objective",
        "comments, rollouts",
        "comments, all of these",
    ]
    assert rows["comments, objective"] == "28.6 %"


def test_the_tree(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["code_size.py"])
    code_size.main()
    printed = capsys.readouterr().out
    for name in code_size.ALGORITHMS:
        assert f"comments, {name} " in printed
