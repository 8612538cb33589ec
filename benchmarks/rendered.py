"""Judges and trivial baselines on MiniLOCO's evaluation products: good and anomalous pictures, with references.

    python benchmarks/rendered.py --model micro --number 100

NUMBER good and NUMBER logical (or --defects structural) queries a product, each with another reference. The seed is
used nowhere in training, and the products are never trained on. Pixel difference and colour histogram get the
threshold that suits the test labels best, which flatters them; the judges' verdicts are as they come. Faithfulness is
the share of claimed numbers, colours and fill levels that are true, by the facts of the two pictures. Counts are the
numbers of parts that `evidence` says, places the ninths of the picture in which it says that such parts are missing
or too many: some of the defect is there. Bottles hold one of three juices, connectors have two, three or five clamps.
The last line leaves out the pairs whose references show the query's variety in none of them: nothing that a judge
sees then tells another variety from a defect.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from sklearn.metrics import roc_auc_score

from lad_reasoner.answers import parse_response
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.inspector import load_model
from lad_reasoner.judge import Judge, Judgement, PicturePair
from lad_reasoner.judges.trivial import colour_difference, pixel_difference
from lad_reasoner.miniloco import EVALUATION, Rendered, draw_picture
from lad_reasoner.miniloco.words import check_claims, count_groups
from lad_reasoner.text import place_words

Defects = Literal["logical", "structural"]

SEED = 20261122
NUMBER_OF_PARTS = re.compile(r"The query has (\d+) [a-z ]+ parts? and (?:the|each) reference (\d+):")
CLAMPS = re.compile(r"connector with (\d) clamps")
PLACES_OF_PARTS = re.compile(r"\d too (?:few|many), at ([a-z ]+)\.")
COLUMNS = (
    "product",
    "pairs",
    "balanced accuracy",
    "TPR",
    "TNR",
    "AUROC",
    "structured",
    "faithfulness",
    "counts true",
    "places true",
)


@dataclass(frozen=True)
class Pair:
    """References, a query, and whether the query is anomalous."""

    references: tuple[Rendered, ...]
    query: Rendered
    anomalous: bool

    @property
    def reference(self) -> Rendered:
        """The first, or the only one."""
        return self.references[0]


def draw_pairs(
    product: str, number: int, *, defects: Defects = "logical", references: int = 1, size: int = 224, seed: int = SEED
) -> Iterator[Pair]:
    """`number` good queries and `number` with such defects in turn, each with references of its own."""
    for index in range(number):
        for turn, kind in enumerate(("good", defects)):
            first = (2 * index + turn) * references
            shown = tuple(
                draw_picture(product, "train", "good", first + each, size=size, seed=seed) for each in range(references)
            )
            query = draw_picture(product, "test", kind, index, size=size, seed=seed)
            yield Pair(shown, query, kind != "good")


def best_balanced_accuracy(scores: Sequence[float], anomalous: Sequence[bool]) -> float:
    """The highest that any threshold reaches, either way round."""
    values, labels = np.asarray(scores), np.asarray(anomalous)
    cuts = np.unique(values)
    balanced = [((values[labels] >= cut).mean() + (values[~labels] < cut).mean()) / 2 for cut in cuts]
    return float(max(*balanced, *(1 - b for b in balanced)))


def judge_pairs(judge: Judge, pairs: Sequence[Pair]) -> list[Judgement]:
    """The judge's judgement of each pair."""
    return judge.judge(
        [
            PicturePair(tuple(read_picture(each.image) for each in pair.references), read_picture(pair.query.image))
            for pair in pairs
        ]
    )


def check_counts(reasoning: str, pair: Pair) -> list[bool]:
    """Of each number of parts that `evidence` says: do some parts, by their name, have it in all pictures?"""
    numbers = [_numbers(drawn) for drawn in (pair.query, *pair.references)]
    said = [(int(found), int(expected)) for found, expected in NUMBER_OF_PARTS.findall(reasoning)]
    return [
        any(
            query == found and all(of_reference.get(name) == expected for of_reference in numbers[1:])
            for name, query in numbers[0].items()
        )
        for found, expected in said
    ]


def check_places(reasoning: str, pair: Pair) -> list[bool]:
    """Of each place where `evidence` says that parts are missing or too many: is some of the defect there?"""
    height, width = pair.query.mask.shape
    defect = {place_words(x / width, y / height) for y, x in np.argwhere(pair.query.mask).tolist()}
    said = [place for places in PLACES_OF_PARTS.findall(reasoning) for place in places.split(" and ")]
    return [place in defect for place in said]


def shows_variety(pair: Pair) -> bool:
    """Whether a reference has the juice, or connectors with as many clamps, that the query has; or it has neither."""
    of_query, *of_references = (_varieties(drawn) for drawn in (pair.query, *pair.references))
    return not of_query or any(of_query & shown for shown in of_references)


def _varieties(drawn: Rendered) -> set[str]:
    names = [each["what"] for each in (*drawn.facts["items"], *drawn.facts["fills"])]
    return {name for name in names if name.endswith(" juice") or CLAMPS.search(name)}


def _numbers(drawn: Rendered) -> Counter[str]:
    """Of the parts of each sort, of each kind, of all together, and of the levers that open connectors' clamps."""
    names = [item["what"] for item in drawn.facts["items"]]
    kinds = Counter(names) | Counter(name.partition(" with ")[0] for name in names)
    levers = sum(int(clamps) for name in names for clamps in CLAMPS.findall(name))
    return Counter(count_groups(drawn.facts)) | kinds | Counter({"parts": len(names), "levers": levers})


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
    counts = [true for r, pair in zip(responses, pairs, strict=True) for true in check_counts(r.reasoning, pair)]
    places = [true for r, pair in zip(responses, pairs, strict=True) for true in check_places(r.reasoning, pair)]
    cells = [
        name,
        str(len(pairs)),
        *(f"{value:.3f}" for value in ((tpr + tnr) / 2, tpr, tnr)),
        f"{roc_auc_score(labels, [j.score for j in judgements]):.3f}",
        f"{np.mean([r.structured for r in responses]):.3f}",
        f"{sum(true for true, _ in claims) / claimed:.3f}" if claimed else "–",
        *(f"{sum(checks)} of {len(checks)}" for checks in (counts, places)),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", action="append", default=[], help="evidence, micro, a folder, a hub name; repeatable"
    )
    parser.add_argument("--number", type=int, default=100, help="good and anomalous queries of each product")
    parser.add_argument("--defects", choices=get_args(Defects), default="logical")
    parser.add_argument("--references", type=int, default=1, help="of each query")
    parser.add_argument("--votes", type=int, help="responses sampled to each pair")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--wrong", type=int, default=0, help="also print so many wrong responses of each product")
    options = parser.parse_args()
    pairs = {
        name: list(
            draw_pairs(name, options.number, defects=options.defects, references=options.references, seed=options.seed)
        )
        for name in EVALUATION
    }
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
        everything = [each for product in EVALUATION for each in zip(pairs[product], judged[product], strict=True)]
        print(row("all", *zip(*everything, strict=True)))
        print(row("variety shown", *zip(*filter(lambda each: shows_variety(each[0]), everything), strict=True)))
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
