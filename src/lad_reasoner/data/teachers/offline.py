"""The offline teacher: answers questions about MiniLOCO's pictures from the facts of their scenes; it asks nobody.

It is a `teacher.Teacher`, so training data can be built without any service; its answers pass the same checks. It
writes only what the facts, the product's rule and the mask say. A picture without facts stays unanswered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from lad_reasoner.data.masks import describe_mask, read_mask
from lad_reasoner.data.sets.questions import product_of
from lad_reasoner.data.teachers.teacher import Answered, CostEstimate, Outcome, Request, Unanswered
from lad_reasoner.miniloco.families.free import find_product
from lad_reasoner.miniloco.words import count_groups
from lad_reasoner.packaged import read_packaged
from lad_reasoner.remote.prices import Bill
from lad_reasoner.text import first_problem, number_word

NO_FACTS = "the offline teacher writes about MiniLOCO's pictures only; this one has no scene facts"

# Kind of the picture -> question -> answer with places for the facts.
ANSWERS: dict[str, dict[str, str]] = read_packaged(__file__, "offline.toml")


class OfflineTeacher:
    """Writes from facts: free of charge, and the same answer every time."""

    def __init__(self) -> None:
        self.name = "offline"
        self.paid, self.recalled = Bill(cost=0.0), Bill(cost=0.0)

    def estimate(self, requests: Sequence[Request]) -> CostEstimate:
        """The cost is 0."""
        return CostEstimate(len(requests), 0, 0, Bill(cost=0.0))

    def ask_many(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """In the order of the requests."""
        for index, request in enumerate(requests):
            yield index, self._answer(request)

    def _answer(self, request: Request) -> Outcome:
        facts = request.facts
        if facts.get("scene") is None:
            return Unanswered("malformed", NO_FACTS)
        content = {"anomalous": facts["label"] == "yes", "answer": write_answer(facts)}
        try:
            return Answered(request.schema.model_validate(content, context=dict(facts)), self.name)
        except ValidationError as error:
            complaint = first_problem(error)
            return Unanswered("malformed", complaint, (complaint,))


def write_answer(facts: Mapping[str, Any]) -> str:
    """The answer to `facts["question"]` about the scene `facts["scene"]`, a line of MiniLOCO's facts.jsonl.

    The place comes from the files `facts["masks"]`.
    """
    scene = facts["scene"]
    defect = scene["defect_words"] or ""
    where = describe_mask(read_mask(facts["masks"])) if defect and facts["masks"] else ""
    place = f" Look {_in_words(where)}." if where else ""
    return ANSWERS[scene["kind"] if defect else "good"][facts["question"]].format(
        product=product_of(scene["product"]),
        parts=describe_parts(scene),
        rule=find_product(scene["product"]).rule,
        sentence=f"{defect[:1].upper()}{defect[1:]}.",
        place=place,
        place_or_none=place or " No single place can be pointed at.",
    )


def describe_parts(scene: Mapping[str, Any]) -> str:
    """`two steel nuts, one red washer and milk up to 60 %`; every number comes from the facts."""
    parts = [f"{number_word(number)} {_plural(group, number)}" for group, number in count_groups(scene).items()]
    parts += [_fill(fill) for fill in scene["fills"]]
    return _join(parts) or "no loose parts"


def _join(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _plural(group: str, number: int) -> str:
    if number == 1 or group.endswith("s"):
        return group
    if group.endswith(("x", "ch", "sh")):
        return f"{group}es"
    return f"{group[:-1]}ies" if group.endswith("y") and group[-2] not in "aeiou" else f"{group}s"


def _fill(fill: Mapping[str, Any]) -> str:
    place = f" in {fill['place']}" if fill["place"] else ""
    return f"{fill['colour']} {fill['what']} up to {round(100 * fill['level'])} %{place}".strip()


def _in_words(where: str) -> str:
    """`upper left (3.1 %), centre (1.0 %); together 4.1 % of the picture` -> `in the upper left and the centre`."""
    head, several, _ = where.partition("; together")
    places = head.split(", ") if several else [where.rpartition(", ")[0]]
    names = dict.fromkeys(place.partition(" (")[0] for place in places)  # each once, in their order
    return _join([name if name.startswith(("around", "all")) else f"in the {name}" for name in names])
