"""How much code there is and how dense it is, outside `miniloco` and `micro`; with --before, beside an older commit.

    python benchmarks/code_size.py
    python benchmarks/code_size.py --before 7dae5a9

Code lines are lines that are not blank and hold more than a comment; the first row leaves docstrings out, and syntax
nodes and comprehensions are divided by it. Each module with an algorithm has its share of comments: lines that hold a
comment, alone or after code, among all lines that are not blank.
"""

import argparse
import ast
import io
import subprocess
import tarfile
import tokenize
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

LEFT_OUT = ("miniloco", "micro")
ALGORITHMS = (
    "registration",
    "matching",
    "grammar",
    "decoding",
    "metrics",
    "claims",
    "explanations",
    "objective",
    "rollouts",
)
FORMER_NAMES = {"policy": "objective"}  # a module's name in older commits -> its name
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Size:
    """The counts of one source; sizes add up."""

    code: int = 0
    docstrings: int = 0
    comments: int = 0
    filled: int = 0
    nodes: int = 0
    comprehensions: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(*(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True)))


def measure(source: str) -> Size:
    """Counts lines, syntax nodes and comprehensions of a Python source."""
    nodes = list(ast.walk(ast.parse(source)))
    docstrings = set()
    for node in nodes:
        if isinstance(node, WITH_DOCSTRING) and ast.get_docstring(node) is not None:
            docstrings |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = dict(enumerate(source.splitlines(), 1))
    filled = {number for number, line in lines.items() if line.strip()}
    code = {number for number in filled if not lines[number].lstrip().startswith("#")}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return Size(
        code=len(code - docstrings),
        docstrings=len(code & docstrings),
        comments=len({token.start[0] for token in tokens if token.type == tokenize.COMMENT}),
        filled=len(filled),
        nodes=len(nodes),
        comprehensions=sum(isinstance(node, COMPREHENSIONS) for node in nodes),
    )


def read_tree(folder: Path) -> dict[str, str]:
    """Path relative to the folder -> source."""
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in sorted(folder.rglob("*.py"))}


def read_commit(folder: Path, commit: str) -> dict[str, str]:
    """The same for a folder as it was in a commit."""
    command = ["git", "-C", str(folder), "archive", commit, "."]
    archive = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {
            str(PurePosixPath(member.name)): tar.extractfile(member).read().decode("utf-8")
            for member in tar
            if member.name.endswith(".py")
        }


def rows_of(sources: dict[str, str]) -> dict[str, str]:
    """Label -> number, in the order in which they are printed."""
    sizes = {path: measure(source) for path, source in sources.items() if PurePosixPath(path).parts[0] not in LEFT_OUT}
    total = sum(sizes.values(), Size())
    rows = {
        "code lines": f"{total.code}",
        "  with docstrings": f"{total.code + total.docstrings}",
        "syntax nodes a line": f"{total.nodes / total.code:.1f}",
        "comprehensions in 100 lines": f"{100 * total.comprehensions / total.code:.1f}",
    }
    modules: dict[str, Size] = {}
    for path, size in sizes.items():
        name = PurePosixPath(path).stem
        modules[FORMER_NAMES.get(name, name)] = size
    algorithms = {name: modules[name] for name in ALGORITHMS if name in modules}
    algorithms["all of these"] = sum(algorithms.values(), Size())
    for name, size in algorithms.items():
        rows[f"comments, {name}"] = f"{100 * size.comments / max(size.filled, 1):.1f} %"
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Size and density of the code.")
    default = Path(__file__).parents[1] / "src/lad_reasoner"
    parser.add_argument("folder", nargs="?", type=Path, default=default, help="folder with Python files")
    parser.add_argument("--before", metavar="COMMIT", help="also the same folder in this commit")
    arguments = parser.parse_args()
    columns = {"now": rows_of(read_tree(arguments.folder))}
    if arguments.before:
        columns = {arguments.before: rows_of(read_commit(arguments.folder, arguments.before)), **columns}
    print(f"{'':32}" + "".join(f"{title:>12}" for title in columns))
    for label in columns["now"]:
        print(f"{label:32}" + "".join(f"{rows.get(label, '-'):>12}" for rows in columns.values()))


if __name__ == "__main__":
    main()
