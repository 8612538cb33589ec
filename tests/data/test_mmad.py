"""MMAD: hints say what it says, and what must not be handed out is refused and counted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lad_reasoner.data.mmad import (
    ANSWER,
    BENCHMARK,
    FORM,
    OTHER,
    OUTSIDE,
    WRONG,
    Hint,
    Mmad,
    _parse,
    name_of,
    read_mmad,
)
from lad_reasoner.data.public_sets import MVTEC_AD, VISA
from lad_reasoner.data.sources import find_samples
from lad_reasoner.errors import ImageError, InputError
from lad_reasoner.records import Kind, Sample

DATA = Path(os.environ.get("LAD_PHOTOGRAPHS", Path(__file__).parents[3] / "shared/data/real")).parent
needs_data = pytest.mark.skipif(
    not (DATA / "real").is_dir(), reason=f"no data in {DATA}; set LAD_PHOTOGRAPHS to the folder `real` in it"
)


def question(text: str, answer: str = "B", kind: str = "Defect Description", **options: str) -> dict[str, Any]:
    """A question in MMAD's form."""
    given_options = options or {"A": f"wrong for {text}", "B": f"right for {text}"}
    return {"Question": text, "Answer": answer, "Options": given_options, "type": kind, "annotation": True}


def entry(*questions: dict[str, Any]) -> dict[str, Any]:
    return {
        "image_path": "image/broken_large/000.png",
        "mask_path": "../../etc/passwd",
        "conversation": list(questions or (question("What?"),)),
        "similar_templates": ["MVTec-AD/bottle/train/good/000.png"],
        "random_templates": [],
    }


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def sample(image: str, kind: Kind | None, defect: str | None = None, dataset: str = "MVTec AD", **more: Any) -> Sample:
    category = more.pop("category", "bottle")
    return Sample(
        image=image, dataset=dataset, category=category, split="test", kind=kind, defect=defect, licence="x", **more
    )


BROKEN = sample("anywhere/000.png", "structural", "broken_large")


def test_a_hint_says_class_defect_place_and_mmads_text(tmp_path: Path) -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[:20, :20] = 77
    Image.fromarray(mask).save(tmp_path / "mask.png")
    asked = [
        question("Is there any defect in the object?", kind="Anomaly Detection", A="No.", B="Yes."),
        question("What kind of defect is it?", kind="Defect Classification", A="Contamination.", B="A broken rim."),
        question("What is its effect?", answer="a.", kind="Defect Analysis", A="It leaks.", B="None."),
    ]
    questions = write(tmp_path / "mmad.json", {"DS-MVTec/bottle/image/broken_large/000.png": entry(*asked)})
    knowledge = write(
        tmp_path / "knowledge.json",
        {"MVTec": {"bottle": {"good": "<Normal>", "broken_large": "<Broken Large>\n  Description: a piece is gone."}}},
    )
    mmad = read_mmad(questions, knowledge)
    hint = mmad.hint(BROKEN.model_copy(update={"masks": (str(tmp_path / "mask.png"),)}))
    assert hint == Hint(
        category="bottle",
        anomalous=True,
        defect="broken_large",
        where="upper left, 4.0 % of the picture",
        knowledge="<Broken Large> Description: a piece is gone.",
        said=(("What kind of defect is it?", "A broken rim."), ("What is its effect?", "It leaks.")),
    )
    assert hint.text == (
        "Product: bottle\n"
        "Defect: broken large\n"
        "Where: upper left, 4.0 % of the picture\n"
        "What kind of defect is it? A broken rim.\n"
        "What is its effect? It leaks.\n"
        "About such pictures: <Broken Large> Description: a piece is gone."
    )
    good = mmad.hint(sample("000.png", "good"))
    assert good.text == "Product: bottle\nDefect: none\nAbout such pictures: <Normal>"
    with pytest.raises(ImageError, match="the mask cannot be read"):
        mmad.hint(BROKEN.model_copy(update={"masks": (str(tmp_path / "gone.png"),)}))


def test_without_mmad_a_hint_says_what_the_data_set_says() -> None:
    assert read_mmad().hint(BROKEN).text == "Product: bottle\nDefect: broken large"
    assert read_mmad().hint(sample("1.jpg", None, None, "shop")).text == "Product: bottle\nDefect: there is one"


def test_a_picture_has_one_name_in_every_layout(tmp_path: Path) -> None:
    keys = {
        "DS-MVTec/bottle/image/broken_large/000.png": BROKEN,
        "MVTec-AD/bottle/test/good/003.png": sample("x/003.png", "good"),
        "VisA/candle/test/bad/000.JPG": sample(
            "candle/Data/Images/Anomaly/000.JPG", None, "wax", "VisA", category="candle"
        ),
        "VisA/candle/test/good/0107.JPG": sample("candle/test/good/0107.png", "good", None, "VisA", category="candle"),
    }
    mmad = read_mmad(write(tmp_path / "mmad.json", {key: entry() for key in keys}))
    assert list(mmad.questions) == [name_of(one) for one in keys.values()]
    assert mmad.refused == {}
    assert mmad.absent(list(keys.values())[:3]) == (("VisA", "candle", "good", "0107"),)


def test_what_must_not_be_handed_out_is_refused_and_counted(tmp_path: Path) -> None:
    keys = {
        BENCHMARK: [
            "MVTec-LOCO/pushpins/test/logical_anomalies/000.png",
            "mvtec_loco_anomaly_detection/pushpins/test/good/000.png",
            "VisA/juice_bottle/test/good/000.png",
        ],
        OTHER: ["GoodsAD/cigarette_box/test/opened/000.jpg", "Secret/x/y/z/1.png", ""],
        OUTSIDE: [
            "../DS-MVTec/bottle/image/good/000.png",
            "DS-MVTec/bottle/image/../../../etc/passwd",
            "/etc/passwd",
            "VisA\\..\\..\\x\\y\\1.png",
            "C:\\VisA\\candle\\test\\bad\\000.JPG",
        ],
        FORM: ["DS-MVTec/bottle/000.png", "VisA/candle/test/bad/deep/000.JPG"],
        WRONG: [f"DS-MVTec/pill/image/good/{i:03d}.png" for i in range(22)],
    }
    kept = ["DS-MVTec/pill/image/good/022.png", "MVTec-AD/pill/test/good/000.png", "DS-MVTec/pill/image/color/000.png"]
    everything = [key for refused in keys.values() for key in refused] + kept
    mmad = read_mmad(write(tmp_path / "mmad.json", {key: entry() for key in everything}))
    assert mmad.refused == {reason: tuple(refused) for reason, refused in keys.items()}
    assert list(mmad.questions) == [
        ("MVTec AD", "pill", "good", "022"),
        ("MVTec AD", "pill", "good", "000"),
        ("MVTec AD", "pill", "color", "000"),
    ]


@given(st.text())
def test_any_key_is_kept_or_refused(key: str) -> None:
    reason, name = _parse(key)
    assert bool(reason) == (name is None)


def test_questions_without_a_right_option_are_left_out(tmp_path: Path) -> None:
    odd = question("Odd?", answer="E")
    mmad = read_mmad(
        write(tmp_path / "m.json", {"DS-MVTec/bottle/image/broken_large/000.png": entry(odd, question("Fine?"))})
    )
    assert mmad.hint(BROKEN).said == (("Fine?", "right for Fine?"),)
    assert mmad.refused == {ANSWER: ("DS-MVTec/bottle/image/broken_large/000.png: Odd?",)}


KEY = "VisA/candle/test/bad/000.JPG"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html>", r"m\.json: Invalid JSON.*give MMAD's mmad\.json"),
        ('{"a": ', r"m\.json: Invalid JSON"),
        ("[]", r"m\.json: Input should be (an object|a valid dictionary)"),
        (json.dumps({KEY: []}), rf"m\.json: {KEY}: Input should be"),
        (json.dumps({KEY: {}}), rf"m\.json: {KEY}\.conversation: Field required"),
        (
            json.dumps({KEY: {"conversation": [{"Question": "?"}]}}),
            rf"m\.json: {KEY}\.conversation\.0\.Answer: Field req",
        ),
    ],
)
def test_a_malformed_file_is_named_with_key_and_field(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_mmad(path)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "mmad.json"
    path.write_bytes(b"\xef\xbb\xbf{}")  # saved once by Notepad
    assert read_mmad(path).refused == {}


def test_a_file_that_is_no_text_or_absent(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match=r"m\.json: Invalid JSON"):
        read_mmad(tmp_path / "m.json")
    with pytest.raises(InputError, match=r"gone\.json: No such file or directory; give MMAD's domain_knowledge\.json"):
        read_mmad(None, tmp_path / "gone.json")
    write(tmp_path / "k.json", {"MVTec": {"bottle": {"good": 3}}})
    with pytest.raises(InputError, match=r"k\.json: MVTec\.bottle\.good: Input should be a valid string"):
        read_mmad(None, tmp_path / "k.json")


@pytest.fixture(scope="module")
def knowledge() -> Mmad:
    return read_mmad(None, DATA / "mmad_domain_knowledge.json")


@needs_data
def test_the_real_domain_knowledge(knowledge: Mmad) -> None:
    assert {name[1] for name in knowledge.knowledge if name[0] == "VisA"} == VISA
    assert {name[1] for name in knowledge.knowledge if name[0] == "MVTec AD"} == MVTEC_AD.keys()
    assert {reason: len(keys) for reason, keys in knowledge.refused.items()} == {BENCHMARK: 5, OTHER: 6}
    assert not [name for name in knowledge.knowledge if name[0] not in ("MVTec AD", "VisA")]


@needs_data
def test_hints_for_real_pictures(knowledge: Mmad) -> None:
    for folder in ("mvtec_ad_bottle", "mvtec_ad_256", "mvtec_ad_small", "visa_small"):
        for one in find_samples(DATA / "real" / folder).samples:
            hint = knowledge.hint(one)
            assert hint.knowledge
            assert bool(hint.where) == bool(one.masks)
            assert hint.anomalous == (Path(one.image).parent.name != "good")
            assert f"Product: {one.category.replace('_', ' ')}\nDefect: " in hint.text
