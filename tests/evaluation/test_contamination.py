"""What is said about the training of other systems: by name, with a source, and never more than is known."""

import json
from pathlib import Path

import pytest

from lad_reasoner.evaluation.contamination import contamination, note_on
from lad_reasoner.judges import JUDGES

SAID = {
    "AnomalyGPT-train_supervised": "saw MVTec LOCO AD in training: these weights",
    "FantasticGNU/AnomalyGPT_train_visa": "did not see MVTec LOCO AD in training: these weights",
    "AnomalyGPT": "unknown whether it saw MVTec LOCO AD in training: its weights train_supervised did",
    "april-gan-transductive": "did not see MVTec LOCO AD in training: its layers",
    "LogiCode": "knows MVTec LOCO AD without having been trained on its anomalies: no weights",
    "LogSAD_few_shot": "knows MVTec LOCO AD without having been trained on its anomalies: no weights",
    "LogicAD": "unknown whether it saw MVTec LOCO AD in training: nothing was trained",
    "Anomaly-OV-7B": "unknown whether it saw MVTec LOCO AD in training: it was trained on Anomaly-Instruct-125k",
    "myriad": "unknown whether it saw MVTec LOCO AD in training: it reports",
    "patchcore scores": "knows MVTec LOCO AD without having been trained on its anomalies: such a method",
    "some-model-mmad": "saw MVTec LOCO AD in training: MMAD's questions",
    "evidence:micro": "did not see MVTec LOCO AD in training: its constants",
    "micro (8 votes)": "did not see MVTec LOCO AD in training: it was trained on rendered",
    "micro-base": "did not see MVTec LOCO AD in training: it was trained on rendered",
    "LAD-Reasoner": "unknown whether it saw MVTec LOCO AD in training: it is not in the paper's two sets, but",
    "Qwen2.5-VL-3B-GRPO": "unknown whether it saw MVTec LOCO AD in training: it is not in the paper's two sets, but",
    "Qwen/Qwen2.5-VL-72B-Instruct": "unknown whether it saw MVTec LOCO AD in training: what such models",
    "runs/microscopy": "unknown whether it saw MVTec LOCO AD in training: nothing is recorded about it here",
}


@pytest.mark.parametrize(("name", "said"), SAID.items())
def test_note(name: str, said: str) -> None:
    assert note_on(name).startswith(said)


def test_what_was_trained_here_has_the_note_of_its_base(tmp_path: Path) -> None:
    base, sft, grpo = "Qwen/Qwen2.5-VL-3B-Instruct", tmp_path / "sft", tmp_path / "grpo"
    for run, start in ((sft, base), (grpo, str(sft / "model"))):
        run.mkdir()
        (run / "run.json").write_text(json.dumps({"config": {"model": start}}))
    assert note_on(str(sft / "model")) == f"{note_on(base)}; it was trained from {base}"
    assert note_on(str(grpo / "model")).startswith(note_on(base))
    (sft / "run.json").write_text(json.dumps({"config": {"model": "micro-base"}}))
    assert note_on(str(grpo / "model")).startswith("did not see MVTec LOCO AD in training")
    for broken in ("[]", "{", json.dumps({"config": {"model": str(sft / "model")}})):
        (sft / "run.json").write_text(broken)
        assert note_on(str(sft / "model")).endswith("nothing is recorded about it here")


def test_what_learns_nothing_needs_no_note() -> None:
    trivial = ["always-yes", "always-no", "random", "pixel-difference", "colour-histogram"]
    assert [name for name in JUDGES if not note_on(name)] == trivial


def test_every_row_is_reached_and_has_a_source() -> None:
    notes = {note_on(name) for name in SAID}
    for system in contamination()["systems"]:
        assert system["source"]
        assert system["saw"] in contamination()["sentences"]
        assert any(note.endswith(f"{system['why']} ({system['source']})") for note in notes), system["pattern"]
