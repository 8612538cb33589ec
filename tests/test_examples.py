"""Every example runs as it stands; the pages show the same files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(code: list[str], folder: Path) -> str:
    done = subprocess.run([sys.executable, *code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_inspect_folder(tmp_path: Path) -> None:
    lines = run([str(EXAMPLES / "inspect_folder.py")], tmp_path).splitlines()
    assert [line.split(": ")[1].split(" (")[0] for line in lines] == ["anomalous", "not judged", "good"]


@pytest.mark.slow
def test_measure(tmp_path: Path) -> None:
    assert "| pixel-difference |" in run([str(EXAMPLES / "measure.py")], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_notebooks(path: Path, tmp_path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells), "outputs do not belong into the repository"
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    run(["-c", "\n".join(code)], tmp_path)


def test_the_pages_show_the_examples() -> None:
    for page, example in (("judge", "brightness"), ("engine", "plain"), ("reward", "mine")):
        shown = (ROOT / f"docs/howto/{page}.md").read_text(encoding="utf-8").partition("```python\n")[2]
        code = (EXAMPLES / f"{example}.py").read_text(encoding="utf-8").partition('\n"""\n')[2]
        assert shown.partition("```")[0].strip() == code.strip(), page


def test_own_judge_and_reward(tmp_path: Path) -> None:
    code = """
import sys; sys.path.append(sys.argv[1])
from lad_reasoner import Inspector, load_model
from lad_reasoner.miniloco import draw_picture
from lad_reasoner.train.rewards import load_reward
good = draw_picture("bolt_plate", "train", "good", 0).image
inspector = Inspector(load_model("brightness:Brightness", share=0.7), [good])
print(inspector.inspect(good.point(lambda value: value // 3)).answer, inspector.inspect(good).answer)
print(load_reward("mine:short")(["x" * 100, [{"role": "assistant", "content": "x" * 600}]]))
"""
    assert run(["-c", code, str(EXAMPLES)], tmp_path).split("\n")[:2] == ["yes no", "[1.0, 0.5]"]


def test_own_engine(tmp_path: Path) -> None:
    """Plain `generate` writes what this project's decoding writes, where the model keeps to the form by itself."""
    code = """
import sys; sys.path.append(sys.argv[1])
from lad_reasoner import Inspector, load_model
from lad_reasoner.miniloco import draw_picture
good = draw_picture("juice_bottle", "train", "good", 0).image
query = draw_picture("juice_bottle", "test", "logical", 0).image
plain, ours = (Inspector(load_model(name), [good]).inspect(query) for name in ("plain:Plain", "micro"))
print(plain.response == ours.response, plain.answer, plain.score)
"""
    assert run(["-c", code, str(EXAMPLES)], tmp_path) == "True yes 1.0\n"
