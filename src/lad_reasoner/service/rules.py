"""Writes the rules of a station from its good pictures, and checks each query rule by rule.

    sheet = write_rules(good, first)                 # only what all good pictures agree on
    checker = RuleChecker(sheet, first)
    for checked in checker.check(query):
        checked.rule, checked.holds, checked.score   # "red at the lower left", False, 0.83

Amounts, counts and places are those of everyday colours, on small pictures; places move with the part, unless it is
turned by more than some 15 degrees, for which there is a rule of its own. Texts need the extra `ocr`. A question in
words needs a vision-language model behind a service. What cannot be checked is said to be not checked, and why. Each
score is in [0, 1], 0.5 is where the rule breaks.
"""

from __future__ import annotations

import colorsys
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lad_reasoner.errors import InputError, LadError, MissingExtraError
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judgement
from lad_reasoner.judges.evidence.labels import ALLOWED, CONFIDENT, LabelReader, Text, compare_texts
from lad_reasoner.judges.evidence.registration import Similarity, find_turn, half_extent, isotropic_grid, register
from lad_reasoner.progress import Track, silent
from lad_reasoner.prompts import FORMAT
from lad_reasoner.records import Checked
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
from lad_reasoner.text import place_words, printable, turn_words

if TYPE_CHECKING:
    from lad_reasoner.judges.hosted import HostedJudge

logger = logging.getLogger(__name__)

SIDE = 192  # pixels of the long side on which colours are looked at
FEWEST = 3  # good pictures: two agree too easily
MOST_READ = 24  # good pictures that rules are written from
STEPS = 32  # levels of a channel: the names of colours are looked up
# Name -> hue in degrees at which the next one begins; after pink comes red again.
HUES = {"red": 16, "orange": 42, "yellow": 68, "green": 165, "turquoise": 195, "blue": 255, "purple": 300, "pink": 340}
LEAST_AMOUNT = 0.005  # of the picture: less of a colour is not counted on
LEAST_AREA, MOST_AREA = 0.004, 0.15  # of the picture: what is a place
MOST_PLACES = 8
MOST_COUNTED = 40
LEAST_TURN, MOST_TURN = 10.0, 40.0  # degrees: what a rule allows at least, and at most
LEAST_COUNTED = 0.0005  # of the picture: smaller areas tell nothing of the typical one
SPECK = 0.3  # of the typical area: smaller ones do not count
MOST_QUESTIONS, MOST_ANSWERED = 8, 8  # questions, and good pictures that each of them is tried on

QUESTIONS = (
    "These are pictures of good parts of one product. Write questions that an inspector asks of each picture to find "
    "a part that is wrong: how many of what there are, which colour, where, joined to what, which text. Each must be "
    "answered with yes for every good part. Write at most {most} questions, one a line, each with a question mark."
)


@dataclass(frozen=True, eq=False)
class _Seen:
    """One picture by its colours: which colour each cell has, an index of `COLOURS`, (rows, columns)."""

    colours: NDArray[np.uint8]

    @classmethod
    def of(cls, image: Image.Image) -> _Seen:
        factor = SIDE / max(image.size)
        size = max(8, round(image.width * factor)), max(8, round(image.height * factor))
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX))
        return cls(_palette()[tuple((pixels // (256 // STEPS)).transpose(2, 0, 1))])

    def amount(self, colour: str) -> float:
        return float((self.colours == COLOURS.index(colour)).mean())

    def areas(self, colour: str) -> NDArray[np.float64]:
        """Shares of the picture of the separate areas of a colour, largest first."""
        labels, count = ndimage.label(self.colours == COLOURS.index(colour), structure=np.ones((3, 3)))
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:] / labels.size
        return np.sort(areas)[::-1]

    def moved(self, move: Similarity, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """The colours where the first reference, of this shape, has its cells; (rows, columns)."""
        points = move.apply(isotropic_grid(*shape))
        fractions = (points / half_extent(*shape) + 1) / 2  # the two grids may differ by a cell in their aspects
        height, width = self.colours.shape
        rows = (fractions[..., 1] * height).astype(int).clip(0, height - 1)
        columns = (fractions[..., 0] * width).astype(int).clip(0, width - 1)
        found: NDArray[np.uint8] = self.colours[rows, columns]
        return found


@lru_cache(1)
def _palette() -> NDArray[np.uint8]:
    """The colour of each cell of RGB, (STEPS, STEPS, STEPS)."""
    step = 256 // STEPS
    table = np.empty((STEPS, STEPS, STEPS), np.uint8)
    for red, green, blue in np.ndindex(table.shape):
        middle = ((level * step + step // 2) / 255 for level in (red, green, blue))
        table[red, green, blue] = COLOURS.index(_name_colour(*middle))
    return table


def _name_colour(red: float, green: float, blue: float) -> str:
    """The colour of `COLOURS`, from channels in [0, 1].

    Coarser than the words of `evidence`, and apart from them: what a station counts as red must not change with those.
    """
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if value < 0.16:
        return "black"
    if saturation < 0.14 or saturation * value < 0.09:
        return "white" if value > 0.9 else "grey"
    name = next((name for name, end in HUES.items() if hue * 360 < end), "red")
    if (name == "orange" and value < 0.72) or (name == "red" and value < 0.5 and saturation < 0.75):
        return "brown"
    return name


class RuleChecker:
    """Checks queries by a sheet; `first` is the first reference. With `ask` false no question is put to a model."""

    def __init__(self, sheet: RuleSheet, first: Picture, *, ask: bool = True) -> None:
        self.sheet, self.first, self.ask = sheet, first, ask
        self._small = _thumbnail(first.image, first.image.size)
        self._shape = _Seen.of(first.image).colours.shape

    def check(self, query: Picture) -> tuple[Checked, ...]:
        """Each rule that is not off, in the order of the sheet."""
        kinds = {check.kind for check in self.sheet.active}
        seen = _Seen.of(query.image)
        placed = seen.moved(self.locate(query), self._shape) if "place" in kinds else seen.colours
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
        seen: _Seen,
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
            return _checked(rule, check.kind, abs(turn) / check.most, turn_words(round(turn)))
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
        return f"turned by at most {check.most:g} degrees"
    if isinstance(check, TextCheck):
        return f"the text “{printable(check.words)}”"
    return f"{printable(check.question)} {check.answer}"


def _checked(rule: str, kind: str, ratio: float, seen: str) -> Checked:
    """`ratio` is what was seen in units of what is allowed: at 1 the rule breaks."""
    return Checked(rule=rule, kind=kind, holds=ratio <= 1, score=round(ratio / (1 + ratio), 4), seen=seen)


def _ratio(value: float, least: float, most: float) -> float:
    """How far a value lies from the middle of its range, in units of half the range."""
    return abs(value - (least + most) / 2) / max(1e-6, (most - least) / 2)


def _thumbnail(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """At the aspect of `size`, which registration needs to be that of the reference."""
    factor = SIDE / max(size)
    width, height = (max(16, round(side * factor)) for side in size)
    return image.resize((width, height), Image.Resampling.BOX)


# ---- writing


def write_rules(
    good: Sequence[Picture],
    first: Picture,
    *,
    model: str = "",
    server: str = "",
    track: Track = silent,
) -> RuleSheet:
    """The rules that all `good` pictures agree on, the first reference `first` among them.

    A rule is kept if the same rule, made from all pictures but one, holds on that one, whichever it is. With `model`
    and `server` questions are written, too, and those kept that are answered with yes for each picture. InputError for
    fewer than FEWEST pictures.
    """
    if len(good) < FEWEST:
        raise InputError(f"rules need {FEWEST} good pictures, references and normals together; there are {len(good)}")
    good = list(good)[:MOST_READ]
    checker = RuleChecker(RuleSheet(), first)
    seen, placed, turns, texts = [], [], list[float](), list[tuple[Text, ...]]()
    try:
        reader: LabelReader | None = LabelReader()
    except MissingExtraError as error:
        logger.warning("no rules of texts: %s", error)
        reader = None
    for picture in track(good, len(good), "Looking for rules"):
        seen.append(_Seen.of(picture.image))
        placed.append(seen[-1].moved(checker.locate(picture), checker._shape))
        turns.append(checker.turn(picture))
        if reader is not None:
            texts.append(reader.read(picture))
    checks: list[Check] = [*_amounts(seen), *_counts(seen), *_places(np.stack(placed), first), *_turns(turns)]
    checks += _texts(texts)
    if model:
        checks += _questions(good, model, server, track)
    return RuleSheet(model=model, server=server, checks=tuple(checks))


def _left_out(values: Sequence[float], rule: Callable[[Sequence[float]], Any]) -> Iterator[tuple[float, Any]]:
    """Each value, and the rule that all others make."""
    for index, value in enumerate(values):
        yield value, rule([*values[:index], *values[index + 1 :]])


def _amounts(seen: Sequence[_Seen]) -> list[Check]:
    checks: list[Check] = []
    for colour in COLOURS:
        values = [each.amount(colour) for each in seen]
        if np.mean(values) < LEAST_AMOUNT or max(values) - min(values) > np.mean(values):
            continue
        if all(low <= left <= high for left, (low, high) in _left_out(values, _range)):
            low, high = _range(values)
            checks.append(AmountCheck(kind="amount", colour=colour, least=round(low, 4), most=round(high, 4)))  # type: ignore[arg-type]
    return checks


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = max(0.5 * (high - low), 0.15 * float(np.mean(values)), 0.002)
    return max(0.0, low - margin), min(1.0, high + margin)


def _counts(seen: Sequence[_Seen]) -> list[Check]:
    """Counts that are the same in all pictures, also if smaller and if only larger areas count."""
    checks: list[Check] = []
    for colour in COLOURS:
        areas = [each.areas(colour) for each in seen]
        large = np.concatenate([each[each >= LEAST_COUNTED] for each in areas])
        if not len(large):
            continue
        smallest = SPECK * float(np.median(large))
        counts = {int((each >= factor * smallest).sum()) for each in areas for factor in (0.6, 1.0, 1.5)}
        if len(counts) == 1 and 2 <= (number := counts.pop()) <= MOST_COUNTED:
            checks.append(CountCheck(kind="count", colour=colour, number=number, smallest=round(smallest, 6)))  # type: ignore[arg-type]
    return checks


def _places(placed: NDArray[np.uint8], first: Picture) -> list[Check]:
    """Boxes around connected cells that have one colour in all pictures; `placed` is (pictures, rows, columns)."""
    rows, columns = placed.shape[1:]
    agreed = (placed == placed[0]).all(0)
    found: list[tuple[float, Check]] = []
    for index, colour in enumerate(COLOURS):
        labels, _ = ndimage.label(agreed & (placed[0] == index))
        for number, box in enumerate(ndimage.find_objects(labels), 1):
            area = float((labels[box] == number).mean()) * (labels[box].size / labels.size)
            if not LEAST_AREA <= area <= MOST_AREA:
                continue
            inside = placed[:, box[0], box[1]] == index  # (pictures, rows, columns)
            shares = [float(share) for share in inside.mean((1, 2))]
            if min(shares) < 0.5 or not all(left >= least for left, least in _left_out(shares, _least)):
                continue
            x = box[1].start / columns * first.width
            y = box[0].start / rows * first.height
            width = (box[1].stop - box[1].start) / columns * first.width
            height = (box[0].stop - box[0].start) / rows * first.height
            sides = tuple(round(float(side), 1) for side in (x, y, width, height))
            check = PlaceCheck(kind="place", colour=colour, box=sides, least=round(_least(shares), 3))  # type: ignore[arg-type]
            found.append((area, check))
    return [check for _, check in sorted(found, key=lambda pair: -pair[0])[:MOST_PLACES]]


def _least(shares: Sequence[float]) -> float:
    return max(0.0, min(shares) - max(0.5 * (max(shares) - min(shares)), 0.1))


def _turns(turns: Sequence[float]) -> list[Check]:
    """No rule for a product that may lie at any angle, nor for one that looks the same from several sides."""
    sizes = np.abs(turns).tolist()
    most = _most_turn(sizes)
    if most > MOST_TURN or any(left > allowed for left, allowed in _left_out(sizes, _most_turn)):
        return []
    return [TurnCheck(kind="turn", most=round(most, 1))]


def _most_turn(sizes: Sequence[float]) -> float:
    return max(LEAST_TURN, 2 * max(sizes))


def _texts(texts: Sequence[tuple[Text, ...]]) -> list[Check]:
    """The texts of the first picture that all pictures show."""
    if not texts:
        return []
    sure = [text.words for text in texts[0] if text.confidence >= CONFIDENT]
    shown = [words for words in sure if not any(letters_missing(words, others) for others in texts)]
    return [TextCheck(kind="text", words=printable(words)) for words in shown]


def letters_missing(words: str, texts: Sequence[Text]) -> int:
    """Letters of a text that were not read; 0 if so few that it may be a reading error."""
    wanted = Text(words, 1.0, 0.0, 0.0, 1.0, 1.0)
    missing = [change for change in compare_texts([(wanted,)], texts) if change.kind == "missing"]
    return missing[0].letters if missing else 0


def _questions(good: Sequence[Picture], model: str, server: str, track: Track) -> list[Check]:
    from lad_reasoner.judges.hosted import HostedJudge

    judge = HostedJudge(server, model)
    pictures = [picture.image for picture in good[:MOST_ANSWERED]]
    completion = judge.request(pictures[:4], QUESTIONS.format(most=MOST_QUESTIONS))
    lines = [line.strip(" \t-*0123456789.)") for line in completion.text.splitlines()]
    questions = [printable(line) for line in lines if line.endswith("?") and 3 < len(line) <= 300][:MOST_QUESTIONS]
    if not questions:
        logger.warning("%s wrote no question", printable(model))

    def holds(question: str) -> bool:
        return all(ask(judge, [image], f"{question} {FORMAT}").answer == "yes" for image in pictures)

    asked = track(questions, len(questions), "Asking")
    return [QuestionCheck(kind="question", question=question) for question in asked if holds(question)]
