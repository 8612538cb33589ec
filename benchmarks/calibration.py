"""Does a model say when it is unsure? The temperature of its scores, and what votes add to them.

    python benchmarks/calibration.py --model micro [--number 20] [--votes 5] [--write]

The temperature is fitted on MiniLOCO's training products, on pairs of a seed that nothing was trained on, and measured
on the evaluation products. `--write` puts it into the model's config.json (`score_temperature`). One greedy response
has one score; of several sampled reasonings the share of yes and the mean of the scores are compared. A temperature
changes the order of no scores, so that their AUROC stays what it is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import numpy as np
from rendered import Pair, draw_pairs
from sklearn.metrics import roc_auc_score

from lad_reasoner.files.whole import write_whole
from lad_reasoner.judges.vlm.calibration import calibration_error, fit_temperature
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, find_folder, load_checkpoint
from lad_reasoner.judges.vlm.decoding import soften
from lad_reasoner.judges.vlm.transformers_engine import Pictures, TransformersEngine
from lad_reasoner.miniloco import EVALUATION, TRAINING


def draw(products: Sequence[str], number: int) -> tuple[list[Pictures], list[str]]:
    """`number` good and as many logical queries of each product: pictures, and labels."""
    pairs: list[Pair] = [pair for product in products for pair in draw_pairs(product, number)]
    pictures = [[pair.reference.image, pair.query.image] for pair in pairs]
    return pictures, ["yes" if pair.anomalous else "no" for pair in pairs]


def row(name: str, scores: Sequence[float], labels: Sequence[str]) -> str:
    """Calibration error, Brier score, log loss, AUROC and balanced accuracy of these scores."""
    score, yes = np.asarray(scores), np.asarray(labels) == "yes"
    likelihood = np.clip(np.where(yes, score, 1 - score), 1e-9, None)
    right = (score >= 0.5) == yes
    balanced = (right[yes].mean() + right[~yes].mean()) / 2
    values = [100 * calibration_error(scores, labels), np.mean((score - yes) ** 2), -np.log(likelihood).mean()]
    values += [100 * roc_auc_score(yes, scores), 100 * balanced]
    cells = [f"{value:.{digits}f}" for value, digits in zip(values, (1, 3, 3, 1, 1), strict=True)]
    return f"| {name} | {' | '.join(cells)} |"


def plain(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint without a temperature of its own."""
    vars(checkpoint.model.config).pop("score_temperature", None)
    return checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="micro")
    parser.add_argument("--number", type=int, default=20, help="good and logical queries of each product")
    parser.add_argument("--votes", type=int, default=5, help="sampled reasonings; 0 leaves them out")
    parser.add_argument("--write", action="store_true", help="write the temperature into the model's folder")
    given = parser.parse_args()
    checkpoint = plain(load_checkpoint(given.model))
    engine = TransformersEngine(checkpoint)
    pictures, labels = draw(TRAINING, given.number)
    fitted_on = [reply.score for reply in engine.respond(pictures)]
    temperature = round(fit_temperature(fitted_on, labels), 2)
    print(f"score_temperature {temperature}, from {len(labels)} pairs of training products\n")
    print("| | calibration error, % | Brier | log loss | AUROC | balanced accuracy |\n|---|---|---|---|---|---|")
    print(row("training products", fitted_on, labels))
    print(row("the same, softened", [soften(score, temperature) for score in fitted_on], labels))
    pictures, labels = draw(EVALUATION, given.number)
    scores = [reply.score for reply in engine.respond(pictures)]
    print(row("evaluation products", scores, labels))
    print(row("the same, softened", [soften(score, temperature) for score in scores], labels), flush=True)
    if given.votes:
        voting = TransformersEngine(checkpoint, votes=given.votes)
        votes = [[reply.score for reply in voting._vote(pair)] for pair in pictures]
        print(row(f"{given.votes} votes: share of yes", [np.mean(np.array(v) >= 0.5) for v in votes], labels))
        print(row("mean of the scores", [np.mean(vote) for vote in votes], labels))
        print(row("the same, softened", [soften(float(np.mean(vote)), temperature) for vote in votes], labels))
    if given.write:
        path = find_folder(given.model) / "config.json"
        fields = json.loads(path.read_text(encoding="utf-8")) | {"score_temperature": temperature}
        write_whole(path, json.dumps(dict(sorted(fields.items())), indent=2) + "\n")
        print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
