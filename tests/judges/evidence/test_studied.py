"""What the judge computed of references, kept in a file."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from helpers.shots import shot
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges.evidence.backbone import Backbone
from lad_reasoner.judges.evidence.judge import Evidence, StudiedReferences
from lad_reasoner.judges.evidence.matching import Matcher
from lad_reasoner.judges.evidence.parts import Parts
from lad_reasoner.judges.evidence.studied import ROOM, _hash, load_studied, save_studied
from lad_reasoner.judges.evidence.whole_picture import measure_look

REFERENCES = tuple(shot("good", i, split="train") for i in range(4))
LOOKS = tuple(map(measure_look, REFERENCES))


@pytest.fixture(scope="module")
def file(matcher: Matcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("studied") / "studied.safetensors"
    parts = Parts.study([views[0] for views in matcher.views])
    save_studied(path, StudiedReferences(matcher, LOOKS, parts), REFERENCES, matcher.backbone)
    return path


def test_it_comes_back_as_it_was(file: Path, matcher: Matcher, backbone: Backbone) -> None:
    studied = load_studied(file, REFERENCES, backbone)
    assert isinstance(studied, StudiedReferences)
    assert studied.looks == LOOKS
    parts = Parts.study([views[0] for views in matcher.views])
    assert parts.rules
    assert [vars(rule) for rule in studied.parts.rules] == [vars(rule) for rule in parts.rules]
    for restored_palette, palette in zip(studied.parts.palettes, parts.palettes, strict=True):
        assert restored_palette.lightness == palette.lightness
        assert np.array_equal(restored_palette.colours, palette.colours)
    restored = studied.matcher
    assert vars(restored).keys() == vars(matcher).keys()
    assert restored.spread == matcher.spread
    query = shot("logical", 4)
    old, new = matcher.compare(matcher.fit(query)), restored.compare(restored.fit(query))
    assert new.statistic == old.statistic
    assert np.array_equal(new.added, old.added)
    assert new.view.tobytes() == old.view.tobytes()


def test_other_references_or_another_order_are_studied(file: Path, backbone: Backbone) -> None:
    assert load_studied(file, REFERENCES[:3], backbone) is None
    assert load_studied(file, REFERENCES[::-1], backbone) is None
    painted = REFERENCES[0].image.copy()
    painted.putpixel((5, 5), (255, 0, 0))
    assert load_studied(file, (replace(REFERENCES[0], image=painted), *REFERENCES[1:]), backbone) is None


def test_other_weights_are_seen(file: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Evidence().backbone
    features = other.features
    monkeypatch.setattr(other, "features", lambda image, size: features(image, size)[..., ::-1])
    assert load_studied(file, REFERENCES, other) is None


def test_one_changed_byte_is_noticed(file: Path, backbone: Backbone, tmp_path: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    path = tmp_path / "s.safetensors"
    path.write_bytes(content)
    assert load_studied(path, REFERENCES, backbone) is None


@pytest.mark.parametrize("kept", [0, 5, 1000])
def test_a_damaged_file_is_none(file: Path, backbone: Backbone, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "s.safetensors"
    assert load_studied(path, REFERENCES, backbone) is None
    path.write_bytes(file.read_bytes()[:kept])
    assert load_studied(path, REFERENCES, backbone) is None


DEEP = 100_000  # lists in lists
HOSTILE = {
    "elsewhere": (json.dumps({"record": "subprocess:Popen", "fields": {}}), "subprocess is not of this room"),
    "imported": (json.dumps({"record": f"{ROOM}.studied:Path", "fields": {}}), "Path is not a class of"),
    "no class": (json.dumps({"record": f"{ROOM}.studied:np", "fields": {}}), "np is not a class of"),
    "deep": ('{"list": [' * DEEP + "]}" * DEEP, "recursion"),
    "no array": ('{"array": "x"}', "'x'"),
    "no record": ("[]", "indices"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_class_of_elsewhere_is_made(
    file: Path, backbone: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    content, problem = HOSTILE[kind]
    arrays = load_file(file)
    with safe_open(file, "np") as opened:
        header = opened.metadata()
    header |= {"content": content, "hash": _hash(content, arrays)}
    path = tmp_path / "hostile.safetensors"
    save_file(arrays, path, header)
    with caplog.at_level(logging.INFO):
        assert load_studied(path, REFERENCES, backbone) is None
    assert problem in caplog.text


def test_a_folder_that_cannot_be_written_is_said(
    matcher: Matcher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_studied(tmp_path / "gone/s.safetensors", matcher, REFERENCES, matcher.backbone)
    assert "studied again at the next start" in caplog.text


def test_a_judge_that_keeps_them_does_not_study_again(
    file: Path, matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, quick = Evidence(), Evidence()
    parts = Parts.study([views[0] for views in matcher.views])
    monkeypatch.setattr(judge, "_studied", lambda _: StudiedReferences(matcher, LOOKS, parts))
    fresh = judge.judge([PicturePair(REFERENCES, shot("logical", 4))])[0]
    monkeypatch.setattr(quick, "_study", lambda _: pytest.fail("studied again"))
    references = tuple(replace(picture) for picture in REFERENCES)
    start = time.process_time()
    quick.keep(references, file)
    assert time.process_time() - start < 1
    kept = quick.judge([PicturePair(references, shot("logical", 4))])[0]
    assert (kept.score, kept.reasoning, kept.boxes) == (fresh.score, fresh.reasoning, fresh.boxes)
    del references
    assert len(quick._kept) == 0
