"""Nothing in the package is of one operating system only."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src/lad_reasoner"
UNIX_ONLY = {"crypt", "fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}


def test_no_module_of_unix_alone() -> None:
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        guarded = {id(node) for each in ast.walk(tree) if isinstance(each, ast.Try) for node in ast.walk(each)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import) and id(node) not in guarded:
                assert not {alias.name for alias in node.names} & UNIX_ONLY, path
            if isinstance(node, ast.ImportFrom) and id(node) not in guarded:
                assert node.module not in UNIX_ONLY, path


def test_text_is_read_and_written_as_utf_8() -> None:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in ("read_text", "write_text") or ast.unparse(node.func.value) == "formatter":
                continue
            is_empty = bool(node.args) and ast.unparse(node.args[0]) == "''"
            has_encoding = "encoding" in {keyword.arg for keyword in node.keywords}
            assert has_encoding or is_empty, f"{path}:{node.lineno}: {node.func.attr} without an encoding"
