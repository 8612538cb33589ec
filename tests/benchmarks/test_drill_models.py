"""Models of a stranger."""

from dataclasses import replace
from pathlib import Path

import drill_models
import pytest


def test_what_a_strangers_model_did_is_noticed(tmp_path: Path) -> None:
    model = tmp_path / "model"
    good = drill_models.Outcome(0, "a note", ran=False)
    refused = drill_models.Outcome(1, f"lad-reasoner: {model}: no weights in it", ran=False)
    assert good.problem([model]) == refused.problem([model]) == ""
    for outcome, said in (
        (replace(good, ran=True), "code ran"),
        (replace(good, code=None), "no end within 60 s"),
        (replace(good, code=-11), "rc -11"),
        (replace(good, said="Traceback (most recent call last):"), "Traceback"),
        (replace(refused, said="lad-reasoner: no weights"), "rc 1: lad-reasoner: no weights"),
        (replace(refused, said=f"lad-reasoner: {model}: a\nlad-reasoner: {model}: b"), "rc 1: "),
    ):
        assert said in outcome.problem([model])


@pytest.mark.slow  # a verb starts, and loads a model
def test_a_strangers_model_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave_traces(folder: Path, whole: Path) -> None:
        (folder.parent / "ran").touch()

    hostile = {"pickle called safetensors": drill_models.HOSTILE_MODELS["pickle called safetensors"]}
    monkeypatch.setattr(
        drill_models,
        "HOSTILE_MODELS",
        {**hostile, "code": leave_traces, "weights elsewhere": drill_models._text("own.py", "")},
    )
    judged, refused, lost = drill_models.try_models(3, tmp_path)
    assert (judged, refused, lost) == (2, 1, ["code: code ran", "weights elsewhere: it was taken"])
