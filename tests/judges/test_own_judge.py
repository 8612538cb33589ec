"""`--model package.module:Class`: a judge from a file of the user's."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from lad_reasoner import Inspector
from lad_reasoner.errors import InputError
from lad_reasoner.judges import load_judge

JUDGE = '''
from lad_reasoner import Judgement

NOTHING = 3

class Dark:
    """Says anomalous when the query is darker than `share` of the reference."""

    name, prompt_version, batch_size, notes, parameters = "dark", "dark-1", 1, (), None

    def __init__(self, share: float = 0.5) -> None:
        self.share = share

    def judge(self, pairs):
        return [Judgement("yes" if grey(p.query) < self.share * grey(p.references[0]) else "no") for p in pairs]

class Half:
    name = "half"

def grey(picture):
    return picture.image.convert("L").resize((1, 1)).getpixel((0, 0))
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lad_own_judge.py").write_text(JUDGE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Image.radial_gradient("L").save(tmp_path / "good.png")
    Image.radial_gradient("L").point(lambda value: value // 3).save(tmp_path / "dark.png")
    return tmp_path


def test_it_judges_and_takes_its_options(folder: Path) -> None:
    strict = Inspector("lad_own_judge:Dark", [folder / "good.png"]).inspect(folder / "dark.png")
    assert (strict.answer, strict.model, strict.prompt_version) == ("yes", "dark", "dark-1")
    lenient = load_judge("lad_own_judge:Dark", share="0.2")
    assert Inspector(lenient, [folder / "good.png"]).inspect(folder / "dark.png").answer == "no"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lad_own_judge:Dark", {"shade": "1"}, "no option shade; did you mean share"),
        ("lad_own_judge:Half", {}, "not a judge: it has no prompt_version, batch_size, notes, parameters, judge"),
        ("lad_own_judge:NOTHING", {}, "not a class or function"),
        ("lad_own_judge:Absent", {}, "cannot be imported"),
        ("lad_no_such_module:Judge", {}, "cannot be imported"),
    ],
)
def test_faults_name_it(folder: Path, name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_judge(name, **options)
