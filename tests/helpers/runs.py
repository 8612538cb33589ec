"""Runs to measure: predictions by hand, from a confusion matrix, with noise, and as Hypothesis draws them."""

import random
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from lad_reasoner.evaluation.metrics import SCORE_METRICS, VERDICT_METRICS, Estimates
from lad_reasoner.evaluation.run import PREDICTIONS, SETTINGS, Recorded, Settings
from lad_reasoner.files.jsonl import append_record
from lad_reasoner.files.pictures import Picture
from lad_reasoner.records import Pair, Prediction, Verdict

NAMES = VERDICT_METRICS + SCORE_METRICS


def prediction(query: str, anomalous: bool, answer: str, score: float = 0.5, **changes: Any) -> Prediction:
    """`changes` are fields of the pair, and `scored`."""
    scored = changes.pop("scored", True)
    label = "yes" if anomalous else "no"
    kind = "logical" if anomalous else "good"
    pair = Pair.model_validate({"references": ("r.png",), "query": query, "label": label, "kind": kind, **changes})
    verdict = Verdict(
        query=query,
        references=pair.references,
        answer=answer,  # type: ignore[arg-type]
        anomalous=answer == "yes",
        score=score,
        reasoning="",
        response="",
        model="test",
        prompt_version="test-1",
        seconds=0,
    )
    return Prediction(pair=pair, verdict=verdict, scored=scored)


def from_matrix(category: str, tp: int, fn: int, fp: int, tn: int) -> list[Prediction]:
    answers = [(True, "yes")] * tp + [(True, "no")] * fn + [(False, "yes")] * fp + [(False, "no")] * tn
    return [
        prediction(f"{category}/{i:03}.png", anomalous, answer, float(answer == "yes"), category=category)
        for i, (anomalous, answer) in enumerate(answers)
    ]


def values(figures: Estimates) -> dict[str, float | None]:
    return {name: getattr(figures, name).value for name in NAMES}


@st.composite
def runs(draw: st.DrawFn, answers: tuple[str, ...] = ("yes", "no", "invalid")) -> list[Prediction]:
    """Up to 30 predictions on up to three classes, with ties between the scores."""
    row = st.tuples(
        st.booleans(),
        st.sampled_from(answers),
        st.integers(0, 6).map(lambda sixth: sixth / 6),
        st.sampled_from(["logical", "structural"]),
        st.sampled_from(["pins", "bags", None]),
        st.sampled_from([None, "bent", "bent;missing"]),
    )
    return [
        prediction(
            f"{i}.png",
            anomalous,
            answer,
            score,
            kind=kind if anomalous else "good",
            category=category,
            defect=defect if anomalous else None,
        )
        for i, (anomalous, answer, score, kind, category, defect) in enumerate(
            draw(st.lists(row, min_size=1, max_size=30))
        )
    ]


def noisy_run(count: int, seed: int, noise: float = 0.2) -> list[Prediction]:
    """Scores about 0.6 and 0.4, on three classes."""
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        anomalous = rng.random() < 0.5
        score = min(1.0, max(0.0, rng.gauss(0.6 if anomalous else 0.4, noise)))
        rows.append(prediction(f"{i}.png", anomalous, "yes" if score > 0.5 else "no", score, category=f"c{i % 3}"))
    return rows


def answering(row: Prediction, answer: str) -> Prediction:
    return row.model_copy(update={"verdict": row.verdict.model_copy(update={"answer": answer})})


def recorded(lines: list[Prediction], **changes: object) -> Recorded:
    values = {
        "benchmark": "folder",
        "fingerprint": "0",
        "model": "a <model>",
        "prompt_version": "test-1",
        "references": 1,
        "seed": 0,
        "kinds": ("good", "logical"),
        "pairs": len(lines),
    }
    return Recorded(Settings.model_validate({**values, **changes}), lines)


def said(line: Prediction, **changes: object) -> Prediction:
    return line.model_copy(update={"verdict": line.verdict.model_copy(update=changes)})


def picture(name: str, width: int = 640) -> Picture:
    return Picture(name, Image.new("RGB", (width, 480), (40, 90, 160)), width, 480)


def write_run(folder: Path, lines: list[Prediction], **settings: object) -> Path:
    folder.mkdir(parents=True)
    (folder / SETTINGS).write_text(recorded(lines, **settings).settings.model_dump_json())
    for line in lines:
        append_record(folder / PREDICTIONS, line)
    return folder
