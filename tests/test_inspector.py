"""The one interface: references once, queries streamed in order, bad ones in their places."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import shot
from PIL import Image

import lad_reasoner
from lad_reasoner import Failure, Inspector, Verdict, load_model, parse_response
from lad_reasoner.backbone import EfficientNetLite0
from lad_reasoner.errors import ImageError, InputError, LadError
from lad_reasoner.inspector import READ_AHEAD


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    shot("good", 0, split="train").image.save(folder / "reference.png")
    shot("good", 1).image.save(folder / "good.png")
    shot("logical", 4).image.save(folder / "bad.png")
    (folder / "broken.png").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def inspector(folder: Path) -> Inspector:
    return Inspector(model="evidence", references=[folder / "reference.png"])


def test_the_verdict_is_whole(inspector: Inspector, folder: Path) -> None:
    examination = inspector.examine(folder / "bad.png")
    verdict = examination.verdict
    assert verdict.answer == "yes"
    assert verdict.anomalous
    assert 0.5 <= verdict.score <= 1
    assert verdict.query == str(folder / "bad.png")
    assert verdict.references == (str(folder / "reference.png"),)
    assert verdict.reasoning == parse_response(verdict.response).reasoning
    assert (verdict.model, verdict.prompt_version, verdict.tokens) == ("evidence", "evidence-1", 0)
    assert 0 < verdict.seconds < 60
    width, height = examination.picture.width, examination.picture.height
    for box in verdict.boxes:
        assert 0 <= box.x < box.x + box.width <= width + 1
        assert 0 <= box.y < box.y + box.height <= height + 1
    assert verdict.boxes
    assert examination.heat is not None
    # The map and the boxes speak of the same thing.
    scale = width / examination.heat.shape[1]
    row, column = np.unravel_index(examination.heat.argmax(), examination.heat.shape)
    box = verdict.boxes[0]
    assert box.x - scale <= (column + 0.5) * scale <= box.x + box.width + scale
    assert box.y - scale <= (row + 0.5) * scale <= box.y + box.height + scale
    assert examination.heat.max() == pytest.approx(box.strength, rel=0.1)


def test_a_good_query(inspector: Inspector, folder: Path) -> None:
    verdict = inspector.inspect(folder / "good.png")
    assert (verdict.answer, verdict.anomalous, verdict.boxes) == ("no", False, ())
    assert verdict.score < 0.5


def test_many_are_streamed_in_order_with_failures_in_their_places(inspector: Inspector, folder: Path) -> None:
    taken: list[str] = []

    def endless() -> Iterator[Path]:
        while True:
            for name in ("good.png", "broken.png", "bad.png", "gone.png"):
                taken.append(name)
                yield folder / name

    results = inspector.inspect_many(endless())
    first = [next(results) for _ in range(6)]
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 6 + READ_AHEAD
    assert [Path(result.query).name for result in first] == taken[:6]
    assert [type(result) for result in first] == [Verdict, Failure, Verdict, Failure, Verdict, Failure]
    assert isinstance(first[1], Failure)
    assert "not a picture" in first[1].error
    alone = inspector.inspect(folder / "good.png")
    assert isinstance(first[0], Verdict)
    assert first[0].score == alone.score
    assert first[0].response == alone.response


def test_references_are_paid_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    features = EfficientNetLite0.features
    monkeypatch.setattr(EfficientNetLite0, "features", lambda self, *args: seen.append(1) or features(self, *args))
    inspector = Inspector(references=[folder / "reference.png"])
    paid = len(seen)
    inspector.inspect(folder / "good.png")
    inspector.inspect(folder / "bad.png")
    assert len(seen) == paid + 2


def test_queries_of_another_kind_are_judged(inspector: Inspector, folder: Path) -> None:
    good = Image.open(folder / "good.png")
    for name, changed in {
        "small": good.resize((120, 90)),
        "grey": good.convert("L"),
        "tall": good.resize((200, 400)),
        "tiny": good.resize((16, 16)),
        "long": good.resize((2000, 20)),
        "plain": Image.new("RGB", (300, 200), (255, 255, 255)),
    }.items():
        verdict = inspector.inspect(changed)
        assert verdict.answer in ("yes", "no"), name
        assert np.isfinite(verdict.score), name
    assert inspector.inspect(good.resize((256, 192))).answer == "no"


def test_a_plain_reference_is_no_trouble() -> None:
    plain = Image.new("RGB", (300, 200), (128, 128, 128))
    inspector = Inspector(references=[plain, plain])
    assert inspector.inspect(plain).answer == "no"
    assert inspector.inspect(shot("good", 0).image).answer == "yes"


def test_a_single_path_is_a_reference(folder: Path) -> None:
    assert Inspector(references=str(folder / "reference.png")).references[0].width == 384  # type: ignore[arg-type]


def test_errors(folder: Path) -> None:
    with pytest.raises(InputError, match="no references"):
        Inspector(references=[])
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        Inspector(references=[folder / "gone.png"])
    with pytest.raises(InputError, match="evidense: no such model; give evidence"):
        load_model("evidense")
    with pytest.raises(LadError, match="nowhere"):
        load_model(str(folder / "nowhere"))


def test_public_names() -> None:
    for name in lad_reasoner.__all__:
        assert getattr(lad_reasoner, name) is not None
    with pytest.raises(AttributeError):
        lad_reasoner.nothing  # noqa: B018
