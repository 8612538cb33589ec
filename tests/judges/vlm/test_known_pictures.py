"""Another kind of picture than a checkpoint was made for is noticed from its pixels."""

import pytest
import torch
from PIL import Image

from helpers import tiny
from helpers.scenes import BOTH, scene
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Picture
from lad_reasoner.inspector import Inspector
from lad_reasoner.judges import load_judge
from lad_reasoner.judges.vlm.known_pictures import KnownPictures, describe_picture, load_known
from lad_reasoner.miniloco import draw_picture


def rendered(product: str, index: int, size: int = 224) -> Picture:
    image = draw_picture(product, "test", "good", index, size=size, seed=77).image
    return Picture(product, image, image.width, image.height)


@pytest.mark.parametrize("product", ["breakfast_box", "circuit_board", "screw_bag"])
def test_renders_are_known_and_other_pictures_are_not(product: str) -> None:
    known = load_known("renders")
    picture = rendered(product, 3)
    assert known.distance(picture) < known.limit
    assert known.note([picture]) == ""
    # The file type does not matter: the same picture as another format would be read as the same pixels.
    assert known.distance(scene(*BOTH)) > known.limit
    assert known.distance(Picture("plain", Image.new("RGB", (300, 200), (90, 120, 60)), 300, 200)) > known.limit


def test_the_note_counts_the_references() -> None:
    known = load_known("renders")
    one, some = known.note([scene(*BOTH)]), known.note([scene(*BOTH), rendered("screw_bag", 3), scene()])
    assert one.startswith("the reference looks like no picture that this model was made for (distance ")
    assert some.startswith("2 of 3 references look like no picture that this model was made for")
    assert f"limit {known.limit:.2f}" in one


def test_the_distance_is_that_to_the_nearest_in_standard_deviations() -> None:
    features = torch.stack([describe_picture(scene(*BOTH).image), describe_picture(scene().image)])
    known = KnownPictures(features, torch.full((features.shape[1],), 0.5), 0.1)
    assert known.distance(scene()) == pytest.approx(0, abs=1e-5)
    shifted = KnownPictures(features + 1, known.deviation, 0.1)
    assert KnownPictures(features[1:] + 1, known.deviation, 0.1).distance(scene()) == pytest.approx(2, abs=1e-4)
    assert shifted.distance(scene()) <= 2.0001


def test_an_unknown_name_in_a_config_is_refused() -> None:
    for name in ("photographs", "../micro/model", ""):
        with pytest.raises(InputError, match="known_pictures"):
            load_known(name)


def test_micro_says_when_it_meets_another_kind_of_picture() -> None:
    micro = load_judge("micro")
    assert not [note for note in Inspector(micro, [rendered("screw_bag", 2).image]).notes() if "made for" in note]
    (note,) = (note for note in Inspector(micro, [scene(*BOTH).image]).notes() if "made for" in note)
    assert "--model evidence is for photographs" in note
    lent = Inspector(micro, [scene(*BOTH).image], evidence=True)
    assert note in lent.notes()


def test_other_checkpoints_say_nothing(tmp_path) -> None:  # type: ignore[no-untyped-def]
    judge = load_judge(str(tiny.save_qwen(tmp_path / "model")))
    assert Inspector(judge, [scene(*BOTH).image]).notes() == ()


def test_micro_says_when_it_has_more_references_than_it_learned_from() -> None:
    micro = load_judge("micro")
    pictures = [rendered("screw_bag", number).image for number in (2, 3)]
    assert not [note for note in Inspector(micro, pictures[:1]).notes() if "learned from" in note]
    (note,) = (note for note in Inspector(micro, pictures).notes() if "learned from" in note)
    assert note == "it learned from pairs with at most 1 reference, not with the 2 that it has here"
