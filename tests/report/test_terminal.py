"""Text of strangers in the terminal: nothing of it acts, and its markup is not interpreted."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from helpers.command_line import run
from helpers.planted import lamps
from lad_reasoner.records import Failure, Verdict
from lad_reasoner.report.terminal import TrainingProgress, VerdictTable

HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e[bold red]x[/][/nothing]"
HARMLESS = r"\u001b]0;title\u0007\u001b[2J\u009b31m\u202e[bold red]x[/][/nothing]"


def flat(text: str) -> str:
    return "".join(text.split())


def test_verdicts_failures_and_notes() -> None:
    console = Console(file=io.StringIO(), width=300, color_system=None)
    table = VerdictTable(console, verbose=True)
    verdict = Verdict(
        query=f"{HOSTILE}\nANOMALOUS",
        references=("r",),
        answer="yes",
        anomalous=True,
        score=0.9,
        reasoning=HOSTILE,
        response=HOSTILE,
        model="m",
        prompt_version="1",
        seconds=0,
    )
    table.add(verdict, truth=HOSTILE)
    table.add(Failure(query=HOSTILE, error=f"{HOSTILE}: damaged"))
    progress = TrainingProgress()
    progress.console = console
    progress.note(HOSTILE)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert flat(text).count(flat(HARMLESS)) == 6
    assert r"\u000aANOMALOUS" in text
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)


def test_the_name_of_a_failed_picture_stands_once() -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    table = VerdictTable(console)
    for name in ("a.png", "b.png"):
        table.add(Failure(query=name, error=f"{name}: the file is empty"))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert [text.count(part) for part in ("a.png", "b.png", " the file is empty")] == [1, 1, 2]


def test_names_of_classes_and_files_on_the_command_line(tmp_path: Path) -> None:
    """Markup in the name of a class ended `data pairs` after all was built."""
    name = "lamp [v2] [bold] \x9b31m"
    folder = lamps(tmp_path / "lamps")
    (folder / "lamp").rename(folder / name)
    done = run("data", "pairs", folder, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert r"lamp [v2] [bold] \u009b31m" in done.stdout
    checked = run("data", "check", tmp_path / "out")
    inspected = run("inspect", "-r", folder / name / "train/good/000.png", tmp_path / f"{HOSTILE[:9]}.png", "--json")
    for text in (done.stdout, done.stderr, checked.stdout, checked.stderr, inspected.stdout, inspected.stderr):
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
