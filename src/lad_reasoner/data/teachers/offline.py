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
from lad_reasoner.miniloco import CATALOGUE
from lad_reasoner.miniloco.words import count_groups
from lad_reasoner.remote.prices import Bill
from lad_reasoner.text import first_problem, number_word

NO_FACTS = "the offline teacher writes about MiniLOCO's pictures only; this one has no scene facts"


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
    scene, question = facts["scene"], facts["question"]
    product, parts = product_of(scene["product"]), describe_parts(scene)
    defect = scene["defect_words"]
    if not defect:
        return {
            "describe": f"The picture shows a {product} with {parts}. Everything is in order.",
            "where": f"Nothing has to be pointed out: the {product} has {parts}, each where it belongs.",
            "kind": f"There is no anomaly of any kind. The {product} has {parts}, as it should.",
            "function": f"This {product} would do its job. With {parts}, it is complete and obeys its rule. "
            f"{_rule(scene)}",
            "anomaly": f"No, the {product} is as it should be. It has {parts}.",
        }[question]
    sentence = f"{defect[0].upper()}{defect[1:]}."
    where = describe_mask(read_mask(facts["masks"])) if facts["masks"] else ""
    place = f" Look {_in_words(where)}." if where else ""
    if scene["kind"] == "logical":
        kind = "the parts are intact, but the product breaks its rule."
        function = f"The product is not what it has to be, so its function suffers. {_rule(scene)}"
    else:
        kind = "the surface is not as it should be."
        function = "All parts are there and in their places, so it may still work, but it is not in good condition."
    return {
        "describe": f"The picture shows a {product} with {parts}. {sentence}{place}",
        "where": f"{sentence}{place or ' No single place can be pointed at.'}",
        "kind": f"This is a {scene['kind']} anomaly: {kind} {sentence}",
        "function": f"{sentence} {function}",
        "anomaly": f"Yes. {sentence} The {product} has {parts}.",
    }[question]


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


def _rule(scene: Mapping[str, Any]) -> str:
    return f"The rule is: {CATALOGUE[scene['product']].rule}"


def _fill(fill: Mapping[str, Any]) -> str:
    place = f" in {fill['place']}" if fill["place"] else ""
    return f"{fill['colour']} {fill['what']} up to {round(100 * fill['level'])} %{place}".strip()


def _in_words(where: str) -> str:
    """`upper left (3.1 %), centre (1.0 %); together 4.1 % of the picture` -> `in the upper left and the centre`."""
    head, several, _ = where.partition("; together")
    places = head.split(", ") if several else [where.rpartition(", ")[0]]
    names = dict.fromkeys(place.partition(" (")[0] for place in places)  # each once, in their order
    return _join([name if name.startswith(("around", "all")) else f"in the {name}" for name in names])
