"""The edge form: judges where torch cannot be imported, says the same, and is refused when it was changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.shots import shot
from lad_reasoner.cli.app import main
from lad_reasoner.errors import InputError
from lad_reasoner.inspector import Inspector
from lad_reasoner.judges.evidence.efficientnet import GRAPH, WEIGHTS
from lad_reasoner.judges.evidence.judge import Evidence
from lad_reasoner.service import edge as edge_module
from lad_reasoner.service.edge import AGREE, EDGE, export_edge, open_edge
from lad_reasoner.service.inspection import Decision, OpenStation
from lad_reasoner.service.setup import create_station
from lad_reasoner.service.station import FILE, STUDIED, Station

Command = Callable[..., tuple[int, str, str]]

# What a computer without torch does, and all that builds upon it.
WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "transformers", "tomli_w"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from lad_reasoner.cli.app import main
main()
"""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line in this process -> exit code, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lad-reasoner", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A station with a limit, its edge form, and a query."""
    top = tmp_path_factory.mktemp("edge")
    shot("good", 0, split="train").image.save(top / "r.png")
    shot("logical", 4).image.save(top / "q.png")
    create_station(top / "station", [top / "r.png"], name="board")
    station = Station.load(top / "station")
    station.model_copy(update={"limit": 0.9, "unsure_from": 0.7}).save(top / "station")
    export_edge(top / "station", top / "board edge")
    return top / "station", top / "board edge", top / "q.png"


@pytest.fixture
def copy(folders: tuple[Path, Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders[1], tmp_path / "copy"))


def test_without_torch_it_says_the_same(folders: tuple[Path, Path, Path]) -> None:
    station, edge, query = folders
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "inspect", "--edge", edge, query, "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
        timeout=300,
    )
    said = json.loads(done.stdout)
    (decision,) = OpenStation(station).inspect([query])
    assert isinstance(decision, Decision)
    expected = decision.verdict
    assert said["score"] == pytest.approx(expected.score, abs=1e-6)
    assert said["outcome"] == expected.outcome == "unsure"  # by the station's limits
    for field in ("headline", "reasoning", "answer", "response", "model", "prompt_version"):
        assert said[field] == getattr(expected, field), field


def test_it_judges_with_its_own_network_and_studies_nothing(
    folders: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Evidence, "_study", lambda *_: pytest.fail("studied again"))
    opened = open_edge(folders[1])
    (decision,) = opened.inspect([folders[2]])
    assert isinstance(decision, Decision)
    assert {path.name for path in folders[1].iterdir()} == {
        *(EDGE, FILE, STUDIED, GRAPH.name, WEIGHTS.name, "references")
    }


def test_without_a_station_references_are_enough(
    folders: tuple[Path, Path, Path], tmp_path: Path, command: Command
) -> None:
    code, out, _ = command("export", "--edge", tmp_path / "e", "--reference", folders[0] / "references")
    assert code == 0
    assert "2 scores agree" in out
    (decision,) = open_edge(tmp_path / "e").inspect([folders[2]])
    assert isinstance(decision, Decision)
    verdict = Inspector(references=[next((folders[0] / "references").iterdir())]).inspect(folders[2])
    assert decision.verdict.score == pytest.approx(verdict.score, abs=1e-6)
    assert decision.verdict.headline == verdict.headline


@pytest.mark.parametrize("name", [FILE, GRAPH.name, WEIGHTS.name])
def test_a_changed_or_missing_file_is_refused(copy: Path, name: str, command: Command) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    code, out, err = command("inspect", "--edge", copy, copy)
    assert (code, out) == (1, "")
    assert f"{name}: not as it was exported; export the folder again" in err
    assert len(err.splitlines()) == 1
    (copy / name).unlink()
    code, _, err = command("inspect", "--edge", copy, copy)
    assert code == 1
    assert "No such file or directory; export the folder again" in err


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory; make the folder with `lad-reasoner export --edge`"),
        ("", "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON"),
        ('{"version": "1", "files": {"../../../etc/passwd": "x"}, "scores": []}', "inside the station's folder"),
        ('{"version": "1", "files": {}, "scores": [], "more": 1}', "more"),
        ('{"version": "1", "files": {}, "scores": []}', "not as it was exported"),
    ],
)
def test_a_hostile_record_is_refused(copy: Path, content: str | None, problem: str) -> None:
    (copy / EDGE).unlink()
    if content is not None:
        (copy / EDGE).write_text(content)
    with pytest.raises(InputError) as raised:
        open_edge(copy)
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_link_out_of_the_folder_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / GRAPH.name).rename(tmp_path / "elsewhere")
    (copy / GRAPH.name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a link that leads out of the station"):
        open_edge(copy)


def test_scores_that_do_not_agree_are_not_written(
    folders: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([[0.1, 0.9], [0.1, 0.9 - 2 * AGREE]])
    monkeypatch.setattr(edge_module, "_scores", lambda *_: next(scores))
    with pytest.raises(InputError, match=r"not written, since its scores of the references are 0\.002 off"):
        export_edge(folders[0], tmp_path / "e")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    with pytest.raises(InputError, match="exists already"):
        export_edge(folders[0], tmp_path / "full")
    other = Path(shutil.copytree(folders[0], tmp_path / "other"))
    station = Station.load(other)
    station.model_copy(update={"options": {"backbone": "micro"}}).save(other)
    with pytest.raises(InputError, match="only evidence with its own network has an edge form"):
        export_edge(other, tmp_path / "e")
    assert not (tmp_path / "e").exists()
