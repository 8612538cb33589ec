"""The user's own functions by name, also from the current folder."""

import sys
from pathlib import Path

import pytest

from lad_reasoner.dotted import import_dotted, is_dotted
from lad_reasoner.errors import InputError


@pytest.mark.parametrize(
    ("name", "dotted"),
    [
        ("my:Judge", True),
        ("package.module:make_judge", True),
        ("evidence", False),
        ("file:out.csv", False),
        ("file:out/a.csv", False),
        (r"C:\models\qwen", False),
        ("Qwen/Qwen2.5-VL-3B-Instruct", False),
        ("1my:Judge", False),
        ("a:b:c", False),
    ],
)
def test_form(name: str, dotted: bool) -> None:
    assert is_dotted(name) is dotted


def test_a_module_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lad_own_things.py").write_text("VALUE = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert import_dotted("lad_own_things:VALUE") == 7
    with pytest.raises(InputError, match=r"^reward: lad_own_things:OTHER: cannot be imported \(AttributeError"):
        import_dotted("lad_own_things:OTHER", "reward: ")


def test_installed_modules_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "filelock.py").write_text("raise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    assert import_dotted("filelock:FileLock").__module__.startswith("filelock")
