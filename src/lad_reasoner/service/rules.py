"""Checks queries rule by rule by the sheet of a station, which `rule_writing.py` writes.

    checker = RuleChecker(sheet, first)
    for checked in checker.check(query):
        checked.rule, checked.holds, checked.score   # "red at the lower left", False, 0.83

Amounts, counts and places are those of everyday colours, on small pictures; places move with the part, unless it is
turned by more than some 15 degrees, for which there is a rule of its own. Texts need the extra `ocr`. A question in
words needs a vision-language model behind a service. What cannot be checked is said to be not checked, and why. Each
score is in [0, 1], 0.5 is where the rule breaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lad_reasoner.errors import LadError, MissingExtraError
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judgement
from lad_reasoner.judges.evidence.labels import ALLOWED, LabelReader, Text, compare_texts
from lad_reasoner.judges.evidence.registration import Similarity, find_turn, register
from lad_reasoner.prompts import FORMAT
from lad_reasoner.records import Checked
from lad_reasoner.service.everyday_colours import SIDE, ColourCells
from lad_reasoner.service.rule_sheet import (
    COLOURS,
    AmountCheck,
    Check,
    CountCheck,
    PlaceCheck,
    QuestionCheck,
    RuleSheet,
    TextCheck,
    TurnCheck,
)
from lad_reasoner.text import degree_words, place_words, printable, turn_words

if TYPE_CHECKING:
    from lad_reasoner.judges.hosted import HostedJudge


class RuleChecker:
    """Checks queries by a sheet; `first` is the first reference. With `ask` false no question is put to a model."""

    def __init__(self, sheet: RuleSheet, first: Picture, *, ask: bool = True) -> None:
        self.sheet, self.first, self.ask = sheet, first, ask
        self._small = _thumbnail(first.image, first.image.size)
        self.shape = ColourCells.of(first.image).colours.shape

    def check(self, query: Picture) -> tuple[Checked, ...]:
        """Each rule that is not off, in the order of the sheet."""
        kinds = {check.kind for check in self.sheet.active}
        seen = ColourCells.of(query.image)
        placed = seen.moved(self.locate(query), self.shape) if "place" in kinds else seen.colours
        texts: tuple[Text, ...] | str = ""
        if "text" in kinds:
            try:
                texts = self._reader.read(query)
            except MissingExtraError as error:
                texts = str(error)
        return tuple(self._check(check, seen, placed, texts, query) for check in self.sheet.active)

    def locate(self, picture: Picture) -> Similarity:
        """Leads from the first reference to the picture."""
        if picture is self.first:
            return Similarity()
        return register(self._small, _thumbnail(picture.image, self.first.image.size))

    def turn(self, picture: Picture) -> float:
        """Degrees by which the picture is turned clockwise against the first reference."""
        return find_turn(self._small, _thumbnail(picture.image, self.first.image.size))

    def _check(
        self,
        check: Check,
        seen: ColourCells,
        placed: NDArray[np.uint8],
        texts: tuple[Text, ...] | str,
        query: Picture,
    ) -> Checked:
        rule = describe_check(check, self.first)
        if isinstance(check, QuestionCheck):
            return self._ask(check, rule, query)
        if isinstance(check, TextCheck):
            if isinstance(texts, str):
                return Checked(rule=rule, kind=check.kind, seen=f"not checked: {texts}")
            letters = letters_missing(check.words, texts)
            return _checked(rule, check.kind, letters / (ALLOWED + 0.5), "read" if letters <= ALLOWED else "not read")
        if isinstance(check, AmountCheck):
            amount = seen.amount(check.colour)
            return _checked(rule, check.kind, _ratio(amount, check.least, check.most), f"{100 * amount:.1f} %")
        if isinstance(check, CountCheck):
            number = int((seen.areas(check.colour) >= check.smallest).sum())
            return _checked(rule, check.kind, 2.0 * abs(number - check.number), f"{number}")
        if isinstance(check, TurnCheck):
            turn = self.turn(query)
            return _checked(rule, check.kind, abs(turn) / check.most, turn_words(_round_turn(turn, check.most)))
        cells = self._inside(check, placed)
        share = float((cells == COLOURS.index(check.colour)).mean())
        most = COLOURS[int(np.bincount(cells.ravel(), minlength=len(COLOURS)).argmax())]
        ratio = (1 - share) / max(1e-6, 1 - check.least)
        return _checked(rule, check.kind, ratio, f"{100 * share:.0f} % of it, most is {most}")

    def _inside(self, check: PlaceCheck, placed: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rows, columns = placed.shape
        x, y, width, height = check.box
        # Rounded, since the box of a rule was written in tenths of a pixel; at least one cell.
        left = min(round(x / self.first.width * columns), columns - 1)
        top = min(round(y / self.first.height * rows), rows - 1)
        right = max(left + 1, round((x + width) / self.first.width * columns))
        bottom = max(top + 1, round((y + height) / self.first.height * rows))
        return placed[top:bottom, left:right]

    def _ask(self, check: QuestionCheck, rule: str, query: Picture) -> Checked:
        why = ""
        if not self.ask:
            why = "no question is put to a model here"
        elif not (self.sheet.model and self.sheet.server):
            why = "only a vision-language model can answer it; give rules.model and rules.server"
        else:
            try:
                judgement = ask(self._model, [query.image], f"{check.question} {FORMAT}")
            except LadError as error:
                why = str(error)
            else:
                why = judgement.reason
        if why:
            return Checked(rule=rule, kind=check.kind, seen=f"not checked: {printable(why)}")
        holds = judgement.answer == check.answer
        score = judgement.score
        if score is not None:  # of yes
            score = 1 - score if check.answer == "yes" else score
        return Checked(rule=rule, kind=check.kind, holds=holds, score=score, seen=f"answered {judgement.answer}")

    @cached_property
    def _reader(self) -> LabelReader:
        return LabelReader()

    @cached_property
    def _model(self) -> HostedJudge:
        from lad_reasoner.judges.hosted import HostedJudge

        return HostedJudge(self.sheet.server, self.sheet.model)


def ask(judge: HostedJudge, pictures: Sequence[Image.Image], prompt: str) -> Judgement:
    """The answer of a model behind a service; its score is that of a yes."""
    from lad_reasoner.judges.completions import join_reasoning, score_answer

    completion = judge.request(pictures, prompt)
    return Judgement.of(join_reasoning(completion.text, completion.reasoning), score_answer(completion.written))


def broken_rules(checks: Sequence[Checked]) -> list[Checked]:
    """The rules that do not hold; what was not checked is none of them."""
    return [checked for checked in checks if checked.holds is False]


def name_broken(checks: Sequence[Checked]) -> str:
    """The broken rules as one sentence; empty if there are none."""
    broken = sorted(broken_rules(checks), key=lambda checked: -(checked.score or 0.0))
    if not broken:
        return ""
    first = f"{broken[0].rule} ({broken[0].seen})"
    return f"Rule broken: {first}." if len(broken) == 1 else f"{len(broken)} rules broken, first: {first}."


def describe_check(check: Check, first: Picture) -> str:
    """A rule in words."""
    if isinstance(check, AmountCheck):
        return f"{check.colour} covers {100 * check.least:.1f} to {100 * check.most:.1f} % of the picture"
    if isinstance(check, CountCheck):
        return f"{check.number} separate {check.colour} areas"
    if isinstance(check, PlaceCheck):
        x, y, width, height = check.box
        place = place_words((x + width / 2) / first.width, (y + height / 2) / first.height)
        return f"{check.colour} at {place}"
    if isinstance(check, TurnCheck):
        return f"turned by at most {degree_words(check.most)}"
    if isinstance(check, TextCheck):
        return f"the text “{printable(check.words)}”"
    return f"{printable(check.question)} {check.answer}"


def letters_missing(words: str, texts: Sequence[Text]) -> int:
    """Letters of a text that were not read; 0 if so few that it may be a reading error."""
    wanted = Text(words, 1.0, 0.0, 0.0, 1.0, 1.0)
    missing = [change for change in compare_texts([(wanted,)], texts) if change.kind == "missing"]
    return missing[0].letters if missing else 0


def _checked(rule: str, kind: str, ratio: float, seen: str) -> Checked:
    """`ratio` is what was seen in units of what is allowed: at 1 the rule breaks."""
    return Checked(rule=rule, kind=kind, holds=ratio <= 1, score=round(ratio / (1 + ratio), 4), seen=seen)


def _round_turn(turn: float, most: float) -> float:
    """In whole degrees; near the most that is allowed with as many digits as tell on which side it is."""
    rounded = (round(turn, digits) for digits in (0, 1, 2, 3))
    return next((each for each in rounded if (abs(each) > most) == (abs(turn) > most)), turn)


def _ratio(value: float, least: float, most: float) -> float:
    """How far a value lies from the middle of its range, in units of half the range."""
    return abs(value - (least + most) / 2) / max(1e-6, (most - least) / 2)


def _thumbnail(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """At the aspect of `size`, which registration needs to be that of the reference."""
    factor = SIDE / max(size)
    width, height = (max(16, round(side * factor)) for side in size)
    return image.resize((width, height), Image.Resampling.BOX)
