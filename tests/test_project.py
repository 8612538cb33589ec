"""The files around the package agree with it: version, changelog, citation, licences, CI, issue forms."""

import io
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from lad_reasoner.judges.evidence.wording import PROMPT_VERSION
from lad_reasoner.version import __version__

ROOT = Path(__file__).parents[1]


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_version_is_the_same_everywhere() -> None:
    assert read_yaml("CITATION.cff")["version"] == __version__
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert __version__ in versions[:2]  # an unreleased section may come before it


def test_the_changelog_names_the_wording_of_evidence() -> None:
    """A station that was made with another is to be calibrated."""
    newest = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1]
    assert {PROMPT_VERSION} == set(re.findall(r"`(evidence-\d+)`", newest))


def test_every_weight_that_ships_has_its_licence_named() -> None:
    page = (ROOT / "LICENCES.md").read_text(encoding="utf-8")
    for path in (ROOT / "src/lad_reasoner/weights").rglob("*.safetensors"):
        assert path.name in page or path.parent.name in page, path
    licence_files = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license-files"]
    assert all((ROOT / name).is_file() for name in licence_files)


def test_every_public_set_has_its_licence_named() -> None:
    rows = [line.split(" | ", 1) for line in (ROOT / "LICENCES.md").read_text(encoding="utf-8").splitlines()]
    stated = {name.strip("| "): row[1] for row in rows if len(row) == 2 for name in row[0].split(", ")}
    sets = tomllib.loads((ROOT / "src/lad_reasoner/data/public_sets.toml").read_text(encoding="utf-8"))
    assert len(sets) >= 7
    for name, content in sets.items():
        assert content["licence"] in stated[name], name


def test_the_wheel_is_as_large_as_the_readme_says() -> None:
    """The package compressed as a wheel is; `make release` measures the wheel itself."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (ROOT / "src").rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(ROOT / "src"))
    told = re.search(r"the wheel is (\d+) MB", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert told
    assert packed.tell() / 1e6 == pytest.approx(int(told[1]), abs=1)


def test_every_extra_is_on_the_page_of_the_installation() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    table = (ROOT / "docs/howto/install.md").read_text(encoding="utf-8").partition("| extra | for |")[2]
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*) \|", table.partition("\n\n")[0], re.MULTILINE)))
    assert set(named) == extras.keys() - {"docs", "dev"}


def test_ci_tries_three_systems_and_pythons() -> None:
    matrix = read_yaml(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert len(matrix["os"]) == len(matrix["python"]) == 3
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}


@pytest.mark.posix
@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("has_gpu", [False, True])
def test_make_takes_the_cpu_build_of_pytorch_where_there_is_no_gpu(tmp_path: Path, has_gpu: bool) -> None:
    for name in ("make", "sh", *(["nvidia-smi"] if has_gpu else [])):
        (tmp_path / name).symlink_to(shutil.which(name) or "/bin/sh")
    command = [str(tmp_path / "make"), "--dry-run", "--always-make", ".venv/.ready"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.endswith(" torch")]
    assert ("https://download.pytorch.org/whl/cpu" in line) is not has_gpu


def test_ci_installs_the_pinned_versions() -> None:
    jobs = read_yaml(".github/workflows/ci.yml")["jobs"]
    runs = [step["run"] for job in ("test", "drills") for step in jobs[job]["steps"] if "run" in step]
    installs = [line for line in runs if " pip install" in line]
    assert len(installs) == 4
    assert all("-c constraints.txt" in line for line in installs)


def test_hooks_are_those_of_make_check() -> None:
    check = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ncheck:")[2].partition("\n\n")[0]
    for repository in read_yaml(".pre-commit-config.yaml")["repos"]:
        for hook in repository["hooks"]:
            assert f"$(BIN)/{hook['entry'].split()[0]}" in check, hook["id"]


def test_issue_forms_are_whole() -> None:
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = read_yaml(path.relative_to(ROOT).as_posix())
        if path.name == "config.yml":
            continue
        assert form["name"], path
        assert form["description"], path
        fields = [field["id"] for field in form["body"] if field["type"] != "markdown"]
        assert len(fields) == len(set(fields)) >= 2, path
