"""The drills are named where they are promised, and CI runs them."""

import re
from pathlib import Path

import drills
import yaml

ROOT = Path(__file__).parents[2]


def test_each_promise_names_drills_and_tests_that_exist() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\|(?! promise|---)(.*)\|$", page, re.MULTILINE):
        shown_by = re.findall("`([^`]*)`", row.rpartition("|")[2])
        assert shown_by, row
        for name in shown_by:
            file, _, drill = name.partition(" ")
            assert (ROOT / file).is_file(), name
            assert not drill or drill in drills.DRILLS, name


def test_ci_runs_the_drills() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert {"run": "python benchmarks/drills.py all"} in jobs["drills"]["steps"]
