"""What is asked to be installed, in the words that install it."""

from pathlib import Path

import pytest

from lad_reasoner import errors
from lad_reasoner.errors import MissingExtraError, pip_line, require


def test_a_module_that_is_there_and_one_that_is_not() -> None:
    assert require("json", "hf").loads("1") == 1
    with pytest.raises(MissingExtraError, match=r'nowhere is not installed; run: pip install -e ".+\[hf\]"'):
        require("nowhere.deep", "hf")
    with pytest.raises(MissingExtraError, match=r"py-nowhere is not installed"):
        require("nowhere", "hf", package="py-nowhere")


def test_the_line_fits_a_checkout_and_an_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert pip_line("hf") == f'pip install -e "{Path(__file__).parents[1]}[hf]"'
    monkeypatch.chdir(Path(__file__).parents[1])
    assert pip_line("hf") == 'pip install -e ".[hf]"'
    monkeypatch.setattr(errors, "CHECKOUT", tmp_path)
    assert pip_line("hf") == 'pip install "lad-reasoner[hf]"'
