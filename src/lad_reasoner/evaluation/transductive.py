"""The transductive scores of APRIL-GAN's authors, computed from a finished run without them.

page = write_evaluation(rescale_run("runs/april-gan"))
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lad_reasoner.data.sets.built_set import put_file
from lad_reasoner.evaluation.localisation import LOCALISATION
from lad_reasoner.evaluation.run import PREDICTIONS, SETTINGS, read_run
from lad_reasoner.evaluation.thumbnails import THUMBNAILS
from lad_reasoner.files.whole import own_folder, write_whole
from lad_reasoner.judges.april_gan import ALONE
from lad_reasoner.records import Prediction

TRANSDUCTIVE = "transductive"  # the name of the folder in a run's folder, and the end of its model's name


def rescale(predictions: Sequence[Prediction]) -> list[Prediction]:
    """The authors' version of few-shot predictions: m rescaled to [0, 1] over all pictures of a class.

    It is 0 if all m of the class are equal. Predictions without m are unchanged.
    """
    maps: defaultdict[str | None, list[float]] = defaultdict(list)  # class -> m of its pictures
    raw_scores = [{} if line.error else json.loads(line.verdict.response) for line in predictions]
    for line, raw in zip(predictions, raw_scores, strict=True):
        if "m" in raw:
            maps[line.pair.category].append(raw["m"])
    rescaled = []
    for line, raw in zip(predictions, raw_scores, strict=True):
        if "m" in raw:
            low, high = min(maps[line.pair.category]), max(maps[line.pair.category])
            m = (raw["m"] - low) / (high - low) if high > low else 0.0
            score = (raw["p"] + m) / 2
            answer = "yes" if score >= 0.5 else "no"
            changes = {"answer": answer, "anomalous": answer == "yes", "score": score}
            line = line.model_copy(update={"verdict": line.verdict.model_copy(update=changes)})
        rescaled.append(line)
    return rescaled


def rescale_run(run: str | Path) -> Path:
    """Write the authors' version of a few-shot run to its folder `transductive`, replacing an earlier one."""
    recorded, out = read_run(run), Path(run) / TRANSDUCTIVE
    note = f"transductive: scores depend on all {len(recorded.predictions)} test pictures that were judged"
    name = f"{recorded.settings.model}-{TRANSDUCTIVE}"
    notes = (note, *(other for other in recorded.settings.notes if other != ALONE))
    settings = recorded.settings.model_copy(update={"model": name, "notes": notes})
    lines = [
        line.model_copy(update={"verdict": line.verdict.model_copy(update={"model": name})})
        for line in rescale(recorded.predictions)
    ]
    with own_folder(out, "--out"):
        write_whole(out / SETTINGS, settings.model_dump_json(indent=2) + "\n")
        write_whole(out / PREDICTIONS, "".join(line.model_dump_json() + "\n" for line in lines))
        # Stretching a map keeps the order of its values, so that it is as good at showing the place.
        for folder, kinds in ((THUMBNAILS, (".jpg", ".png")), (LOCALISATION, (".npz",))):
            for file in sorted((Path(run) / folder).glob("*.*")):
                if file.suffix in kinds:
                    put_file(file, out / folder / file.name)
    return out
