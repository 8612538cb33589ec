"""The file that known_pictures.py writes is made of its own renders, and leaves products out by name."""

import known_pictures
import numpy as np
import pytest

from lad_reasoner.judges.vlm.known_pictures import load_known
from lad_reasoner.miniloco import PRODUCTS
from lad_reasoner.miniloco.families.free import FAMILIES


def test_what_ships_has_pictures_of_each_product_and_family() -> None:
    known = load_known("renders")
    number = known_pictures.EACH * len(PRODUCTS) + known_pictures.SCENES * len(FAMILIES)
    assert known.features.shape[0] == number
    assert known.limit == known_pictures.LIMIT


def test_a_product_is_left_out_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_pictures, "PRODUCTS", ("screw_bag", "pill_blister"))
    monkeypatch.setattr(known_pictures, "FAMILIES", ())
    renders = list(known_pictures.draw_renders(seed=3, each=2, scenes=1))
    assert [name for name, _ in renders] == ["screw_bag", "screw_bag", "pill_blister", "pill_blister"]
    names, known = known_pictures.study(renders, 0.5)
    pictures = [picture for _, picture in renders]
    assert known_pictures.measure(known, pictures) == pytest.approx(0, abs=0.01)  # half precision
    left = known_pictures.without(known, names, "screw_bag")
    assert np.all(known_pictures.measure(left, pictures[:2]) > 0.1)
    assert known_pictures.measure(left, pictures[2:]) == pytest.approx(0, abs=0.01)
