"""What is asked to be installed, in the words that install it."""

import pytest

from lad_reasoner.errors import MissingExtraError, require


def test_a_module_that_is_there_and_one_that_is_not() -> None:
    assert require("json", "hf").loads("1") == 1
    with pytest.raises(MissingExtraError, match=r"nowhere is not installed; run: pip install 'lad-reasoner\[hf\]'"):
        require("nowhere.deep", "hf")
    with pytest.raises(MissingExtraError, match=r"py-nowhere is not installed"):
        require("nowhere", "hf", package="py-nowhere")
