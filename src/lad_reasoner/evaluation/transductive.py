"""The scores of APRIL-GAN's authors, which depend on all test pictures of a class, from a run in which each was alone.

page = write_evaluation(rescale_run("runs/april-gan"))
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lad_reasoner.evaluation.run import PREDICTIONS, SETTINGS, THUMBNAILS, read_run
from lad_reasoner.judges.april_gan import ALONE
from lad_reasoner.records import Prediction

TRANSDUCTIVE = "transductive"  # the name of the folder in a run's folder, and the end of its model's name


def rescale(predictions: Sequence[Prediction]) -> list[Prediction]:
    """The authors' version of few-shot lines: m stretched over all pictures of a class; 0 where all are equal.

    Lines without m stay as they are.
    """
    maps: defaultdict[str | None, list[float]] = defaultdict(list)
    raw = [{} if line.error else json.loads(line.verdict.response) for line in predictions]
    for line, said in zip(predictions, raw, strict=True):
        if "m" in said:
            maps[line.pair.category].append(said["m"])
    rescaled = []
    for line, said in zip(predictions, raw, strict=True):
        if "m" in said:
            low, high = min(maps[line.pair.category]), max(maps[line.pair.category])
            score = (said["p"] + ((said["m"] - low) / (high - low) if high > low else 0.0)) / 2
            answer = "yes" if score >= 0.5 else "no"
            changes = {"answer": answer, "anomalous": answer == "yes", "score": score}
            line = line.model_copy(update={"verdict": line.verdict.model_copy(update=changes)})
        rescaled.append(line)
    return rescaled


def rescale_run(run: str | Path) -> Path:
    """Make the authors' version of a few-shot run, as a run in its folder `transductive`; replaces an earlier one."""
    recorded, out = read_run(run), Path(run) / TRANSDUCTIVE
    note = f"transductive: scores depend on all {len(recorded.predictions)} test pictures that were judged"
    name = f"{recorded.settings.model}-{TRANSDUCTIVE}"
    notes = (note, *(other for other in recorded.settings.notes if other != ALONE))
    settings = recorded.settings.model_copy(update={"model": name, "notes": notes})
    lines = [
        line.model_copy(update={"verdict": line.verdict.model_copy(update={"model": name})})
        for line in rescale(recorded.predictions)
    ]
    out.mkdir(exist_ok=True)
    (out / SETTINGS).write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (out / PREDICTIONS).write_text("".join(line.model_dump_json() + "\n" for line in lines), encoding="utf-8")
    if (Path(run) / THUMBNAILS).is_dir():
        shutil.copytree(Path(run) / THUMBNAILS, out / THUMBNAILS, dirs_exist_ok=True)
    return out
