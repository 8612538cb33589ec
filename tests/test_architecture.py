"""docs/architecture.md is true: its map, its answers, and the rules that a linter does not know."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/lad_reasoner"
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


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


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """The product's modules, parsed once."""
    return modules_of(SOURCE)


def test_the_map_has_a_line_for_each_module(trees: dict[str, ast.Module]) -> None:
    lines: dict[str, str] = {}
    for path, tree in trees.items():
        room, _, file = path.rpartition("/")
        if room not in ("miniloco/families", "miniloco/painting", "miniloco/products") or file == "__init__.py":
            name = f"{room}/" if room and file == "__init__.py" else path
            lines[name] = f"{name:38}{(ast.get_docstring(tree) or '').partition(chr(10))[0]}"
    (block,) = re.findall(r"^```text\n(__init__\.py .*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    mapped = re.findall(r"^(\S+) {2,}\S", block, re.MULTILINE)
    assert len(mapped) == len(set(mapped)) == len([line for line in block.splitlines() if line])
    missing = "\n".join(lines[name] for name in lines if name not in mapped)
    assert not missing, f"docs/architecture.md lacks these lines:\n{missing}"
    assert not set(mapped) - set(lines), "docs/architecture.md has lines without a module"


def test_answers_name_files_and_what_is_in_them() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ((?:`[^|]+`(?:, )?)+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 10
    for task, files, answer in rows:
        text = "".join((SOURCE / file).read_text(encoding="utf-8") for file in re.findall(r"`([^`]+)`", files))
        for name in re.findall(r"`([^`]+)`", answer):
            if name == "package.module:function":
                continue
            assert (SOURCE / name).is_file() or all(part in text for part in name.split(".")), f"{task}: {name}"


def test_each_word_is_defined_in_its_module() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| `([^`]+)` \|$", PAGE, re.MULTILINE)
    assert len(rows) == 10
    for word, file in rows:
        assert f"class {word}" in (SOURCE / file).read_text(encoding="utf-8"), word


def test_the_layers_are_those_of_the_linter() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(each for each in settings["tool"]["importlinter"]["contracts"] if each["type"] == "layers")
    block = "\n".join(["```text", *contract["layers"], "```"])
    assert block in PAGE, f"docs/architecture.md lacks this block:\n{block}"


def test_a_public_name_stands_in_one_module(trees: dict[str, ast.Module]) -> None:
    homes: dict[str, set[str]] = defaultdict(set)
    for path, tree in trees.items():
        if path.startswith("miniloco/"):  # every product has the same few functions
            continue
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                homes[node.name].add(path)
    clashes = {name: sorted(paths) for name, paths in homes.items() if len(paths) > 1}
    assert not clashes


def test_only_the_command_line_knows_the_terminal(trees: dict[str, ast.Module]) -> None:
    for path, tree in trees.items():
        if not path.startswith("cli/") and path != "report/terminal.py":
            assert not {name.partition(".")[0] for name in imports_of(tree)} & {"rich", "typer"}, path


def test_what_is_printed_is_shown(trees: dict[str, ast.Module]) -> None:
    """Names of files and what models wrote reach a terminal through `text.shown` alone."""
    for path, tree in trees.items():
        calls = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        if (path.startswith("cli/") or path == "report/terminal.py") and "print" in calls:
            assert "lad_reasoner.text.print_shown" in set(imports_of(tree)), path


def test_whatever_is_written_names_its_place(trees: dict[str, ast.Module]) -> None:
    """The error of a full disk has no name: files are written through files/ alone, which gives it one."""
    plain = {"write_text", "write_bytes", "copyfile", "copy", "copy2", "copytree"}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value)
            is_shutil = owner == "shutil" or not node.func.attr.startswith("copy")
            assert node.func.attr not in plain or not is_shutil or owner == "formatter", f"{path}:{node.lineno}"
            # A station is saved through files.whole, a picture into memory or through files.pictures.
            to_file = node.func.attr == "save" and node.args and "path" in ast.unparse(node.args[0])
            assert not to_file or path == "files/pictures.py", f"{path}:{node.lineno}"


def test_no_test_imports_another() -> None:
    for path, tree in modules_of(ROOT / "tests").items():
        for name in imports_of(tree):
            assert not re.search(r"(^|\.)test_\w+", name), f"{path} imports {name}"


def test_the_package_is_imported_quickly() -> None:
    # Processor time, since an import on a busy machine takes several times as long by the clock.
    code = (
        "import sys, time; start = time.process_time(); import lad_reasoner; "
        "print(time.process_time() - start, *sys.modules)"
    )
    seconds = []
    for _ in range(3):
        time, *modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
        seconds.append(float(time))
        assert not {"numpy", "PIL", "pydantic", "rich", "torch", "typer"} & set(modules)
    assert min(seconds) < 0.06
