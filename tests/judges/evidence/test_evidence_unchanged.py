"""The judge's answers on rendered pictures stay those that were written down, so no change of code changes a number.

    PYTHONPATH=src:tests python tests/judges/evidence/test_evidence_unchanged.py

writes them down anew. Only a deliberate change of the judge needs that, and a new version of its wording with it.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.shots import shot
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.inspector import Inspector

ANSWERS = Path(__file__).with_name("evidence_unchanged.json")

# (kind, index) of the queries, among them both answers, several regions, and all three kinds of difference.
BOARDS = (("good", 2), ("logical", 2), ("logical", 4), ("structural", 1))
CONNECTORS = (("good", 1), ("logical", 1), ("structural", 0))


def judge_pictures() -> dict[str, dict[str, Any]]:
    """Name of a picture -> its score, boxes and texts."""
    answers = {}
    board = Inspector("evidence", [shot("good", 0, split="train").image])
    for kind, index in BOARDS:
        answers[f"board, {kind} {index}"] = judge(board, shot(kind, index))
    good = shot("good", 3).image
    answers["board, stretched"] = judge(board, read_picture(good.resize((good.width, 2 * good.height))))

    product = "splicing_connectors"
    connectors = Inspector("evidence", [shot("good", index, product, "train").image for index in range(2)])
    for kind, index in CONNECTORS:
        answers[f"connectors, {kind} {index}"] = judge(connectors, shot(kind, index, product))
    return answers


def judge(inspector: Inspector, query: Picture) -> dict[str, Any]:
    verdict = inspector.inspect(query.image)
    boxes = [box.model_dump() for box in verdict.boxes]
    texts = {"headline": verdict.headline, "response": verdict.response, "details": verdict.details}
    return {"score": verdict.score, "boxes": boxes, **texts}


def test_scores_boxes_and_words_are_those_written_down() -> None:
    written = json.loads(ANSWERS.read_text(encoding="utf-8"))
    answers = judge_pictures()
    assert answers.keys() == written.keys()
    for name, answer in answers.items():
        expected = written[name]
        # Other instructions of the processor change scores by up to 1e-5 (measured).
        assert answer["score"] == pytest.approx(expected["score"], abs=1e-4), name
        assert len(answer["boxes"]) == len(expected["boxes"]), name
        for box, before in zip(answer["boxes"], expected["boxes"], strict=True):
            assert box == pytest.approx(before, abs=0.002), name  # places are whole numbers
        for text in ("headline", "response", "details"):
            assert answer[text] == expected[text], name


if __name__ == "__main__":
    ANSWERS.write_text(json.dumps(judge_pictures(), indent=2) + "\n", encoding="utf-8")
