"""Does it pay to say nothing, everything, or something that is always true? Each reward for policies that try.

    python benchmarks/reward_hacks.py [--number 20]

Pairs of MiniLOCO's training products, good and logical. `the truth` is what the lessons write; each other policy sees
both pictures as well as it does and answers the label, so that only its reasoning differs. Precision is the share of
claims that are true, recall the share of facts that are told; `faithful` is made of both for each response.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from PIL import Image

from lad_reasoner.answers import format_response, parse_response
from lad_reasoner.evaluation.claims import ClaimScore, check_reasoning
from lad_reasoner.miniloco import TRAINING, draw_picture
from lad_reasoner.miniloco.words import GOOD, HEAD, compare, count_groups, write_response
from lad_reasoner.text import place_words
from lad_reasoner.train.rewards import consistent_reward, faithful_reward, places_reward, touched_places

Facts = Mapping[str, Any]
NINE = [place_words((column + 0.5) / 3, (row + 0.5) / 3) for row in range(3) for column in range(3)]


def say(listed: str, query: Facts, more: str = "") -> str:
    """A response with this list, the true conclusion and the right answer."""
    wrong = query["defect_words"]
    conclusion = f"{wrong[0].upper()}{wrong[1:]}." if wrong else GOOD
    return format_response(f"{HEAD} {listed}. {conclusion}{more}", anomalous=bool(wrong))


def every_number(reference: Facts, query: Facts) -> str:
    """Each part that is there with each pair of numbers up to five."""
    groups = dict.fromkeys((*count_groups(reference), *count_groups(query)))
    return ", ".join(f"{group} x{a} to x{b} same" for group in groups for a in range(6) for b in range(6)) or "nothing"


def say_places(reference: Facts, query: Facts) -> str:
    """The truth, and one sentence with the places at which a part changes; `query` has them under `touched`."""
    more = f" A part is missing at {' and '.join(query['touched'])}." if query.get("touched") else ""
    return say(compare(reference, query), query, more)


def first_line(reference: Facts, query: Facts) -> str:
    return compare(reference, query).partition(", ")[0]


ABSENT = ", ".join(f"{colour} spoon x0 to x0 same" for colour in ("red", "blue", "green", "white", "black", "yellow"))
POLICIES: dict[str, Callable[[Facts, Facts], str]] = {
    "the truth": write_response,
    "an empty list": lambda reference, query: say("nothing", query),
    "the first line alone": lambda reference, query: say(first_line(reference, query), query),
    "the first line ten times": lambda reference, query: say(", ".join([first_line(reference, query)] * 10), query),
    "only parts that are not there": lambda reference, query: say(ABSENT, query),
    "every part with every number": lambda reference, query: say(every_number(reference, query), query),
    "the reference, said of both": lambda reference, query: say(compare(reference, reference), query),
    "the truth, and the places of the mask": say_places,
    "the truth, and all nine places": lambda reference, query: say(
        compare(reference, query), query, f" A part is missing at {', '.join(NINE)}."
    ),
    "the truth, and a box around all": lambda reference, query: say(
        compare(reference, query), query, f" A part is missing: [0, 0, {query['width']}, {query['height']}]."
    ),
    "the truth, and nothing wrong": lambda reference, query: format_response(
        f"{HEAD} {compare(reference, query)}. {GOOD}", anomalous=bool(query["defect_words"])
    ),
    "no conclusion": lambda reference, query: format_response(
        f"{HEAD} {compare(reference, query)}.", anomalous=bool(query["defect_words"])
    ),
    "without the form": lambda reference, query: parse_response(write_response(reference, query)).reasoning,
}


def measure(number: int, folder: Path) -> dict[str, dict[str, float]]:
    """Policy -> precision, recall and the mean of each reward, over `number` pairs of each kind and product."""
    pairs: list[tuple[Facts, Facts, list[str], Image.Image]] = []
    for product in TRAINING:
        for index in range(number):
            reference = draw_picture(product, "train", "good", index, size=96).facts
            for kind in ("good", "logical"):
                query = draw_picture(product, "test", kind, index, size=96)  # type: ignore[arg-type]
                masks: list[str] = []
                if query.mask.any():
                    masks = [str(folder / f"{product}-{index}.png")]
                    Image.fromarray(query.mask).save(masks[0])
                facts = query.facts | {"touched": sorted(touched_places(query.mask > 0)) if masks else []}
                pairs.append((reference, facts, masks, query.image))
    table: dict[str, dict[str, float]] = {}
    for name, write in POLICIES.items():
        responses = [write(reference, query) for reference, query, _, _ in pairs]
        claimed = ClaimScore()
        for response, (reference, query, _, _) in zip(responses, pairs, strict=True):
            reasoning = parse_response(response).reasoning
            claimed += sum(check_reasoning(reasoning, [reference], query).values(), ClaimScore())
        at = [1] * len(pairs)
        texts = [[json.dumps(reference), json.dumps(query)] for reference, query, _, _ in pairs]
        rewards = {
            "faithful": faithful_reward(responses, facts=texts, query=at),
            "places": places_reward(
                responses,
                masks=[masks for _, _, masks, _ in pairs],
                images=[[image, image] for _, _, _, image in pairs],
                query=at,
            ),
            "consistent": consistent_reward(responses),
        }
        table[name] = {
            "precision": claimed.true / claimed.claims if claimed.claims else 0.0,
            "recall": claimed.told / claimed.facts if claimed.facts else 0.0,
        }
        table[name] |= {
            reward: mean(value for value in values if value is not None) for reward, values in rewards.items()
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=20, help="pairs of each kind and product")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = measure(given.number, Path(folder))
    print(f"| | {' | '.join(table['the truth'])} |")
    print("|---" * (1 + len(table["the truth"])) + "|")
    for name, values in table.items():
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in values.values())} |")


if __name__ == "__main__":
    main()
