"""The verbs of `station`, and `--station` in the others."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from helpers.shots import shot
from helpers.stations import grey_picture, grey_pictures, grey_station
from lad_reasoner.cli.app import main
from lad_reasoner.service.archive import Archive
from lad_reasoner.service.station import FILE, Station

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line in this process -> exit code, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lad-reasoner", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "120")
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(left.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grey_station(tmp_path_factory.mktemp("grey"), max_unsure=0.2)[0]


def test_create_and_show(command: Command, tmp_path: Path) -> None:
    grey_picture(tmp_path / "good/a.png", 100)
    grey_pictures(tmp_path / "normal", list(range(100, 120)))
    grey_pictures(tmp_path / "bad", [104, 200, 210, 240])
    words = ("station", "create", "--references", tmp_path / "good", "--normal", tmp_path / "normal")
    pictures = (*words, "--bad", tmp_path / "bad", "--model", "pixel-difference")
    out = tmp_path / "lamp"
    code, shown, told = command(*pictures, "--max-false-alarms", 0.1, "--max-unsure", 0.2, "-o", out)
    assert code == 0, told
    assert told == f"station: {out}\n"
    assert shown.startswith("lamp: pixel-difference (none), 1 reference, 20 normal and 4 bad pictures\n")
    assert ": at most 10 % of good parts; with these normals the true rate is 9.5 % [1.2, 24.9]" in shown
    assert ": at most 20 % of good parts" in shown
    assert "missed: 25.0 % of bad parts [4.6, 69.9] pass as good" in shown
    assert "would find" not in shown  # another promise would not be worth it
    assert shown.count("#") == 21
    assert shown.count("x") >= 4
    assert command("station", "show", out)[1] == shown
    assert command("station", "show", out / FILE)[1] == shown
    overlapping = grey_pictures(tmp_path / "overlapping", [117, 117, 240])
    words = (*words, "--bad", overlapping[0].parent, "--model", "pixel-difference", "--max-false-alarms", 0.05)
    code, shown, told = command(*words, "-o", tmp_path / "advised")
    advice = re.search(r"^--max-false-alarms (0\.\d+) would find 3 of the 3 bad pictures instead of 1, ", shown, re.M)
    assert code == 0 and advice, shown
    code, shown, _ = command("station", "calibrate", tmp_path / "advised", "--max-false-alarms", advice[1])
    assert code == 0 and "missed: 0.0 % of bad parts" in shown and "would find" not in shown
    code, _, told = command(*pictures, "-o", out)
    assert (code, told) == (1, f"lad-reasoner: {out}: exists already; give another -o\n")
    code, _, told = command(*pictures, "-o", tmp_path / "strict", "--max-false-alarms", 0.02)
    assert code == 1
    assert "20 normal pictures are too few to promise 2 % false alarms at most; give 49 or more, or a rate of" in told
    assert not (tmp_path / "strict").exists()


def test_references_have_one_name_in_all_verbs(command: Command, tmp_path: Path) -> None:
    reference = grey_picture(tmp_path / "good/a.png", 100)
    for name in ("--reference", "--references", "-r"):
        create = ("station", "create", name, reference.parent, "--model", "pixel-difference", "-o", tmp_path / name)
        code, _, told = command(*create)
        assert code == 0, told
        code, shown, _ = command("inspect", name, reference.parent, "--model", "pixel-difference", reference)
        assert code == 0 and "1 judged, 0 anomalous" in shown


def test_a_pattern_that_the_shell_filled_in_is_noted(command: Command, tmp_path: Path) -> None:
    good, new = grey_pictures(tmp_path / "good", [100, 101, 102]), grey_pictures(tmp_path / "new", [103])
    words = ("inspect", "--model", "pixel-difference", "--reference")
    _, _, told = command(*words, *good, new[0].parent)
    assert told == (
        "note: 2 queries lie beside the only reference; for all of them quote it: "
        f"--reference '{tmp_path / 'good'}/*.png'\n"
    )
    assert command(*words, *good)[2] == ""  # one folder with all pictures
    assert command(*words, f"{good[0].parent}/*.png", new[0].parent)[2] == ""


def test_a_pattern_that_the_shell_filled_in_is_to_be_quoted(command: Command, tmp_path: Path) -> None:
    good, normal = (grey_pictures(tmp_path / name, [100, 101, 102]) for name in ("good", "normal"))
    create = ("station", "create", "--model", "pixel-difference", "-o", tmp_path / "s")
    for option, files, others in (("-r", good, ()), ("--normal", normal, ("-r", good[0].parent))):
        code, _, told = command(*create, *others, option, *files)
        assert code == 2
        hint = f"quote the pattern, {option} '{files[0].parent}/*.png', or give the folder"
        assert f"Error: {option} takes one name, and the shell has filled in 3: {hint}" in told
    assert (
        "Error: Invalid value for '--role': 'boss' is not one of 'operator'"
        in command("key", "Bo", "--role", "boss")[2]
    )
    _, _, told = command(*create, "-r", good[0], normal[0])  # no pattern of one folder
    assert "unexpected extra argument" in told and "quote" not in told


def test_promises_need_normal_pictures(command: Command, tmp_path: Path) -> None:
    reference = grey_picture(tmp_path / "a.png", 100)
    words = ("station", "create", "--reference", reference, "--model", "random", "-o", tmp_path / "s")
    code, _, told = command(*words, "--max-false-alarms", 0.1)
    assert code == 2
    assert "give --normal" in told
    code, shown, _ = command(*words)
    assert code == 0
    assert "no rate of false alarms is promised" in shown


def test_exit_codes_and_outputs_of_an_unsure_part(command: Command, station: Path, tmp_path: Path) -> None:
    good, unsure, bad = (grey_picture(tmp_path / f"{shade}.png", shade) for shade in (101, 116, 250))

    def code(*words: object) -> int:
        return command("inspect", "--station", station, *words, "--fail-on-anomaly")[0]

    assert [code(good), code(good, unsure), code(good, unsure, bad)] == [0, 4, 3]
    assert code(unsure, tmp_path / "gone.png") == 1
    assert command("inspect", "--station", station, unsure)[0] == 0
    _, shown, _ = command("inspect", "--station", station, good, unsure, bad, "--out", tmp_path / "out")
    assert "3 judged, 1 anomalous, 1 unsure, 0 not judged" in shown
    assert shown.count("UNSURE") == 1
    assert "Unsure: 0." in shown
    assert "(p = 0.048)" in shown
    page = (tmp_path / "out/report.html").read_text()
    assert "3 judged, 1 anomalous, 1 unsure" in page
    made = Station.load(station)
    assert f"limit of the score {made.limit:.4g} · unsure above {made.unsure_from:.4g}" in page
    lines = [
        json.loads(line) for line in command("inspect", "--station", station, good, unsure, "--json")[1].splitlines()
    ]
    assert [(line["station"], line["outcome"], line["anomalous"]) for line in lines] == [
        ("station", "good", False),
        ("station", "unsure", False),
    ]
    assert lines[0]["p_value"] > lines[1]["p_value"] > 0.1
    (row,) = csv.DictReader(command("inspect", "--station", station, unsure, "--csv")[1].splitlines())
    assert row["outcome"] == "unsure"
    assert float(row["p_value"]) == lines[1]["p_value"]


def test_what_is_not_judged_has_an_outcome_too(command: Command, station: Path, tmp_path: Path) -> None:
    """So that who filters by it does not lose a part."""
    good, gone = grey_picture(tmp_path / "101.png", 101), tmp_path / "gone.png"
    words = ("inspect", "--station", station, good, gone, tmp_path / "*.jpg")
    rows = list(csv.DictReader(command(*words, "--csv")[1].splitlines()))
    assert [(row["outcome"], row["answer"]) for row in rows] == [("good", "no"), *2 * [("invalid", "invalid")]]
    lines = [json.loads(line) for line in command(*words, "--json")[1].splitlines()]
    assert [(line["station"], line["outcome"]) for line in lines] == [
        ("station", "good"),
        *2 * [("station", "invalid")],
    ]
    unstationed = command("inspect", "--reference", good, gone, "--json")[1]
    assert json.loads(unstationed)["outcome"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inspect", "x.png"], "give known-good pictures with --reference, or --station, or --edge"),
        (
            ["inspect", "--station", "S", "--reference", "x.png", "x.png"],
            "give known-good pictures with --reference, or --station, or --edge",
        ),
        (["inspect", "--station", "S", "--model", "micro", "x.png"], "--station has its own judge"),
        (["inspect", "--station", "S", "--model", "evidence", "x.png"], "--station has its own judge"),
        (["inspect", "--station", "S", "-M", "votes=2", "x.png"], "--station has its own judge"),
        (["inspect", "--station", "S", "--evidence", "x.png"], "--evidence is a field of the station's file"),
        (["eval", "--station", "S", "--references", "2", "--out", "x"], "--station has its own references"),
        (["eval", "--station", "S", "--votes", "2", "--out", "x"], "--station has its own judge"),
    ],
)
def test_a_station_brings_its_own(command: Command, station: Path, words: list[str], said: str) -> None:
    code, _, told = command(*[str(station) if word == "S" else word for word in words])
    assert code == 2
    assert f"Error: {said}" in " ".join(told.replace("│", " ").split())


def test_eval_of_a_station(command: Command, station: Path, tmp_path: Path) -> None:
    grey_pictures(tmp_path / "data/good", [100, 105, 130])
    grey_pictures(tmp_path / "data/bad", [105, 240])
    words = ("eval", "--benchmark", "folder", "--root", tmp_path / "data", "--out", tmp_path / "run")
    code, shown, told = command(*words, "--station", station)
    assert code == 0, told
    assert "station station on folder" in shown
    lines = [json.loads(line) for line in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    assert {tuple(line["pair"]["references"]) for line in lines} == {("references/0001.png",)}
    answers = {line["pair"]["query"]: line["verdict"]["answer"] for line in lines}
    assert answers == {
        "good/000.png": "no",
        "good/001.png": "no",
        "good/002.png": "yes",
        "bad/000.png": "no",
        "bad/001.png": "yes",
    }
    settings = json.loads((tmp_path / "run/settings.json").read_text())
    assert settings["model"] == "station station"
    assert settings["references"] == 1
    assert settings["limit"] == Station.load(station).limit


def test_check_test_and_calibrate(command: Command, tmp_path: Path) -> None:
    out, _ = grey_station(tmp_path, max_unsure=0.2)
    good, bad = (grey_picture(tmp_path / f"{shade}.png", shade) for shade in (101, 240))
    code, shown, told = command("station", "check", out)
    assert code == 0, told
    assert shown.startswith("20 pictures scored again: the largest change of a score is 0.0000\n")
    assert "\n  light +20 %  0 of 5 good" in shown
    grey_pictures(tmp_path / "recent", [119] * 10)
    code, shown, _ = command("station", "check", out, "--recent", tmp_path / "recent", "--pictures", 1)
    assert code == 1
    assert "drift: FOUND in 10 recent pictures" in shown

    with closing(Archive(out, out.name)) as archive:
        archive.note("Ada", "looked")
        archive.note("Ada", "looked again")
    shown = command("station", "check", out, "--pictures", 1)[1]
    assert shown.endswith("\naudit log: 2 lines, each follows from the one before it\n")
    with closing(sqlite3.connect(out / "archive.sqlite3")) as database:
        database.execute("DROP TRIGGER audit_update")
        database.execute("UPDATE audit SET who = 'Eve' WHERE id = 2")
        database.commit()
    code, shown, _ = command("station", "check", out, "--pictures", 1)
    assert code == 1
    assert "\naudit log: CHANGED: line 2 does not follow from the one before it" in shown

    masters = ("station", "test", out, "--good", good, "--bad")
    code, shown, told = command(*masters, bad)
    assert (code, shown.splitlines()[-1], told) == (0, "passed: the station may judge", "")
    code, shown, told = command(*masters, good)
    assert code == 1
    assert "FAILED bad " in shown
    assert told == (
        f"lad-reasoner: {out}: challenge failed, the station is locked: the bad master part {good} was good\n"
    )
    code, shown, _ = command("inspect", "--station", out, good, "--json")
    assert code == 1
    assert "locked since" in json.loads(shown)["error"]
    code, shown, told = command("inspect", "--station", out, good, bad)
    assert code == 1 and shown.count("not judged") == 3  # a line each, and the sum
    assert f"{shown}{told}".count("locked since") == 1
    assert told.startswith(f"note: 2 pictures not judged: {out.name}: locked since ")
    grey_pictures(tmp_path / "camera", [101, 102, 103])
    code, shown, _ = command("watch", "--station", out, "--once", tmp_path / "camera")
    assert code == 1 and shown.count("locked since") == 1
    assert [line.endswith("as before") for line in shown.splitlines()] == [False, True, True]
    measure = ("eval", "--station", out, "--benchmark", "miniloco", "--limit", 1, "--out", tmp_path / "run")
    code, _, told = command(*measure)
    assert code == 1 and told.startswith(f"lad-reasoner: {out.name}: locked since ")
    assert not (tmp_path / "run" / "predictions.jsonl").exists()
    code, shown, _ = command("station", "calibrate", out, "--max-false-alarms", 0.3)
    assert code == 0
    assert "at most 30 % of good parts" in shown
    assert command(*masters, bad)[0] == 0
    assert command("inspect", "--station", out, good)[0] == 0


def test_zones(command: Command, tmp_path: Path) -> None:
    out, _ = grey_station(tmp_path)
    svg = tmp_path / "zones.svg"
    shape = '<rect id="ignore-date" width="9" height="9"/>'
    svg.write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">' + shape + "</svg>")
    code, shown, told = command("station", "zones", out, "--svg", svg, "--mm-per-pixel", 0.5)
    assert code == 0, told
    assert shown == "ignore date: 4 corners\n1 zone, moved with the part; 0.5 mm a pixel\n"
    assert command("station", "zones", out)[1] == shown
    assert shown in command("station", "show", out)[1]
    code, _, told = command("station", "zones", out, "--svg", tmp_path / "gone.svg")
    assert (code, told) == (1, f"lad-reasoner: {tmp_path / 'gone.svg'}: No such file or directory\n")
    assert command("station", "zones", out, "--clear")[1].startswith("0 zones")


def test_kept_references_are_not_said_to_be_studied(command: Command, tmp_path: Path) -> None:
    references = grey_pictures(tmp_path / "good", range(100, 112))
    words = ("--references", references[0].parent, "--model", "pixel-difference", "-o", tmp_path / "many")
    assert command("station", "create", *words)[0] == 0
    code, _, told = command("inspect", "--station", tmp_path / "many", references[0])
    assert code == 0 and "studying" not in told
    for number in range(10):  # of a judge that studies them
        shot("good", number).image.resize((192, 192)).save(tmp_path / f"shot{number}.png")
    shots = sorted(tmp_path.glob("shot*.png"))
    given = [word for path in shots for word in ("--reference", path)]
    code, _, told = command("inspect", *given, shots[0])
    assert code == 0 and "studying 10 references" in told


def test_normals_that_are_references_as_well(command: Command, tmp_path: Path) -> None:
    references = grey_pictures(tmp_path / "good", [100])
    normals = grey_pictures(tmp_path / "normal", range(100, 120))[0].parent
    words = ("station", "create", "--references", references[0], "--model", "pixel-difference")
    code, _, told = command(*words, "--folds", 5, "-o", tmp_path / "none")
    assert code == 2 and "give these" in told
    code, shown, _ = command(*words, "--normal", normals, "--folds", 5, "-o", tmp_path / "shared")
    assert code == 0 and "each was scored without its fold, one of 5" in shown
    code, shown, _ = command("station", "check", tmp_path / "shared", "--pictures", 2)
    assert code == 0 and "20 pictures scored again: the largest change of a score is 0.0000" in shown
    code, shown, _ = command("station", "calibrate", tmp_path / "shared", "--folds", 0)
    assert code == 0 and "fold" not in shown


def test_eval_says_how_many_queries_made_the_station(command: Command, tmp_path: Path) -> None:
    """Its own pictures measured a station, without a word."""
    out, _ = grey_station(tmp_path)
    grey_pictures(tmp_path / "set" / "bad", [250, 251])
    shutil.copytree(out / "normals", tmp_path / "set" / "good")
    grey_picture(tmp_path / "set" / "good" / "another.png", 104)
    words = ["--station", out, "--benchmark", "folder", "--root", tmp_path / "set", "--out", tmp_path / "run"]
    code, _, stderr = command("eval", *words)
    assert code == 0, stderr
    note = "20 of the 23 queries of the benchmark are references or normal pictures of station"
    assert note in stderr
    assert note in (tmp_path / "run/report.html").read_text(encoding="utf-8")
    # Pictures of the station that are gone made a traceback, though eval needs no normals.
    shutil.rmtree(out / "normals")
    code, _, stderr = command("eval", *words[:-1], tmp_path / "other")
    assert code == 0 and "which do not tell" not in stderr, stderr
