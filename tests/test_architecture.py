"""Rules of docs/architecture.md that a linter does not know: names, the terminal, tests, how long an import takes."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/lad_reasoner"
# Public names that two modules share: the stages of training, and a verb with the function that Python calls.
SHARED_NAMES = {"train", "evaluate"}


def modules_of(folder: Path) -> dict[str, ast.Module]:
    """Path relative to the folder -> syntax tree."""
    return {
        path.relative_to(folder).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.py"))
    }


def imports_of(tree: ast.Module) -> Iterator[str]:
    """Everything that is imported, wherever it stands: `package.module`, and `package.module.name` for a `from`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_a_public_name_stands_in_one_module() -> None:
    homes: dict[str, set[str]] = defaultdict(set)
    for path, tree in modules_of(SOURCE).items():
        if path.startswith("miniloco/"):  # every product has the same few functions
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                homes[node.name].add(path)
    clashes = {name: sorted(paths) for name, paths in homes.items() if len(paths) > 1 and name not in SHARED_NAMES}
    assert not clashes


def test_only_the_command_line_knows_the_terminal() -> None:
    for path, tree in modules_of(SOURCE).items():
        if not path.startswith("cli/") and path != "report/terminal.py":
            assert not {name.partition(".")[0] for name in imports_of(tree)} & {"rich", "typer"}, path


def test_no_test_imports_another() -> None:
    for path, tree in modules_of(ROOT / "tests").items():
        for name in imports_of(tree):
            assert not re.search(r"(^|\.)test_\w+", name), f"{path} imports {name}"


def test_the_package_is_imported_quickly() -> None:
    milliseconds = []
    for _ in range(3):
        command = [sys.executable, "-X", "importtime", "-c", "import lad_reasoner"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        cumulative = re.search(r"\|\s+(\d+) \| lad_reasoner$", lines, re.MULTILINE)  # in microseconds
        assert cumulative
        milliseconds.append(int(cumulative[1]) / 1000)
    assert min(milliseconds) < 60
