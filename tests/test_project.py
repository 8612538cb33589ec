"""The files around the package agree with it: version, changelog, citation, licences, CI, issue forms."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from lad_reasoner.version import __version__

ROOT = Path(__file__).parents[1]


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_version_is_the_same_everywhere() -> None:
    assert read_yaml("CITATION.cff")["version"] == __version__
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert __version__ in versions[:2]  # an unreleased section may come before it


def test_every_weight_that_ships_has_its_licence_named() -> None:
    page = (ROOT / "LICENCES.md").read_text(encoding="utf-8")
    for path in (ROOT / "src/lad_reasoner/weights").rglob("*.safetensors"):
        assert path.name in page or path.parent.name in page, path
    licence_files = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license-files"]
    assert all((ROOT / name).is_file() for name in licence_files)


def test_ci_tries_three_systems_and_pythons() -> None:
    matrix = read_yaml(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert len(matrix["os"]) == len(matrix["python"]) == 3
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}


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
