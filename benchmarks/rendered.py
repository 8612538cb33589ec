"""Judges and trivial baselines on MiniLOCO's evaluation products: good and logical pictures, one reference each.

    python benchmarks/rendered.py --model micro --number 100

NUMBER good and NUMBER logical queries a product, each with another reference. The seed is used nowhere in training, and
the products are never trained on. Pixel difference and colour histogram get the threshold that suits the test labels
best, which flatters them; the judges' verdicts are as they come. Faithfulness is the share of claimed numbers, colours
and fill levels that are true, by the facts of the two pictures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from lad_reasoner.answers import parse_response
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.inspector import load_model
from lad_reasoner.judge import Judge, Judgement, PicturePair
from lad_reasoner.judges.trivial import colour_difference, pixel_difference
from lad_reasoner.miniloco import EVALUATION, Rendered, draw_picture
from lad_reasoner.miniloco.words import check_claims

SEED = 20261122
COLUMNS = ("product", "pairs", "balanced accuracy", "TPR", "TNR", "AUROC", "structured", "faithfulness")


@dataclass(frozen=True)
class Pair:
    """A reference, a query, and whether the query is anomalous."""

    reference: Rendered
    query: Rendered
    anomalous: bool


def draw_pairs(product: str, number: int, *, size: int = 224, seed: int = SEED) -> Iterator[Pair]:
    """`number` good and `number` logical queries in turn, each with a reference of its own."""
    for index in range(number):
        for turn, kind in enumerate(("good", "logical")):
            reference = draw_picture(product, "train", "good", 2 * index + turn, size=size, seed=seed)
            query = draw_picture(product, "test", kind, index, size=size, seed=seed)
            yield Pair(reference, query, kind == "logical")


def best_balanced_accuracy(scores: Sequence[float], anomalous: Sequence[bool]) -> float:
    """The highest that any threshold reaches, either way round."""
    values, labels = np.asarray(scores), np.asarray(anomalous)
    cuts = np.unique(values)
    balanced = [((values[labels] >= cut).mean() + (values[~labels] < cut).mean()) / 2 for cut in cuts]
    return float(max(*balanced, *(1 - b for b in balanced)))


def area(scores: Sequence[float], anomalous: Sequence[bool]) -> float:
    """AUROC: the share of (anomalous, good) pairs that are in the right order, ties half."""
    labels = np.asarray(anomalous)
    ranks, many = rankdata(scores), int(labels.sum())
    return float((ranks[labels].sum() - many * (many + 1) / 2) / (many * (len(labels) - many)))


def judge_pairs(judge: Judge, pairs: Sequence[Pair]) -> list[Judgement]:
    """The judge's judgement of each pair."""
    return judge.judge(
        [PicturePair((read_picture(pair.reference.image),), read_picture(pair.query.image)) for pair in pairs]
    )


def row(name: str, pairs: Sequence[Pair], judgements: Sequence[Judgement]) -> str:
    """One line of the table."""
    responses = [parse_response(judgement.response) for judgement in judgements]
    right = np.asarray(
        [(r.answer == "yes") == p.anomalous and r.structured for r, p in zip(responses, pairs, strict=True)]
    )
    labels = np.asarray([pair.anomalous for pair in pairs])
    tpr, tnr = right[labels].mean(), right[~labels].mean()
    claims = [
        check_claims(r.reasoning, pair.reference.facts, pair.query.facts)
        for r, pair in zip(responses, pairs, strict=True)
    ]
    claimed = sum(total for _, total in claims)
    cells = [
        name,
        str(len(pairs)),
        *(f"{value:.3f}" for value in ((tpr + tnr) / 2, tpr, tnr)),
        f"{area([j.score for j in judgements], labels.tolist()):.3f}",
        f"{np.mean([r.structured for r in responses]):.3f}",
        f"{sum(true for true, _ in claims) / claimed:.3f}" if claimed else "–",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", action="append", default=[], help="evidence, micro, a folder, a hub name; repeatable"
    )
    parser.add_argument("--number", type=int, default=100, help="good and logical queries of each product")
    parser.add_argument("--votes", type=int, help="responses sampled to each pair")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--wrong", type=int, default=0, help="also print so many wrong responses of each product")
    options = parser.parse_args()
    pairs = {name: list(draw_pairs(name, options.number, seed=options.seed)) for name in EVALUATION}
    for title, score in (("pixel difference", pixel_difference), ("colour histogram", colour_difference)):
        best = {}
        for name, some in pairs.items():
            scores = [score(pair.reference.image, pair.query.image) for pair in some]
            best[name] = best_balanced_accuracy(scores, [pair.anomalous for pair in some])
        each = ", ".join(f"{name} {value:.3f}" for name, value in best.items())
        print(f"{title}, best threshold: balanced accuracy {np.mean(list(best.values())):.3f} ({each})")
    for name in options.model:
        judge = load_model(name, votes=options.votes)
        start = time.perf_counter()
        judged = {product: judge_pairs(judge, some) for product, some in pairs.items()}
        seconds = time.perf_counter() - start
        total = sum(len(some) for some in pairs.values())
        print(f"\n{name}: {total} pairs, {seconds / total:.3f} s each\n\n| {' | '.join(COLUMNS)} |")
        print("|---" * len(COLUMNS) + "|")
        for product, some in pairs.items():
            print(row(product, some, judged[product]))
        print(row("all", [p for some in pairs.values() for p in some], [j for some in judged.values() for j in some]))
        for product, some in pairs.items() if options.wrong else ():
            print(f"\n{product}")
            wrong = [
                (pair, judgement.response)
                for pair, judgement in zip(some, judged[product], strict=True)
                if (parse_response(judgement.response).answer == "yes") != pair.anomalous
            ]
            for pair, response in wrong[: options.wrong]:
                print(f"  truth: {pair.query.facts['defect_words'] or 'good'}\n    {response}")


if __name__ == "__main__":
    main()
