"""The rule sheet: written from good pictures, checked on each query, and what a broken rule does."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers.chat_server import Act, ChatServer
from helpers.served import serving_here
from lad_reasoner.errors import InputError, MissingExtraError
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judges.evidence.labels import Text
from lad_reasoner.records import Checked
from lad_reasoner.service.api import create_app
from lad_reasoner.service.inspection import Decision, OpenStation
from lad_reasoner.service.rule_sheet import CountCheck, PlaceCheck, QuestionCheck, RuleSheet, TextCheck, TurnCheck
from lad_reasoner.service.rule_writing import write_rules
from lad_reasoner.service.rules import RuleChecker, broken_rules
from lad_reasoner.service.runtime import Runtime
from lad_reasoner.service.setup import create_station, make_rules
from lad_reasoner.service.station import FILE, Station
from lad_reasoner.service.summary import describe_rules

SIZE = 320, 240
PINS = tuple((150 + 24 * number, 190) for number in range(5))


class Reader:
    """In place of the reader of texts, which takes its time: reads the same words everywhere."""

    words: tuple[str, ...] = ()

    def read(self, picture: Picture) -> tuple[Text, ...]:
        return tuple(Text(each, 0.99, 0.1, 0.1, 0.2, 0.1) for each in self.words)


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> type[Reader]:
    monkeypatch.setattr(Reader, "words", ())
    for module in ("rules", "rule_writing"):
        monkeypatch.setattr(f"lad_reasoner.service.{module}.LabelReader", Reader)
    return Reader


def plate(seed: int = 0, *, pins: int = 5, connector: str = "red", shift: int = 0) -> Image.Image:
    """A grey plate with a connector at the lower left, a blue one at the upper right, and yellow pins; some noise."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", SIZE, (150, 150, 155))
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 15, 300, 225), fill=(45, 45, 48))
    draw.rectangle((40 + shift, 160, 100 + shift, 200), fill=connector)
    draw.rectangle((210 + shift, 40, 270 + shift, 80), fill=(30, 60, 200))
    for x, y in PINS[:pins]:
        draw.ellipse((x - 7 + shift, y - 7, x + 7 + shift, y + 7), fill=(240, 210, 20))
    noisy = np.asarray(image, np.int16) + rng.integers(-4, 5, (SIZE[1], SIZE[0], 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def pictures(tmp_path: Path, name: str, images: list[Image.Image]) -> list[Path]:
    (tmp_path / name).mkdir()
    paths = [tmp_path / name / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        image.save(path)
    return paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A station whose judge calls everything good."""
    references = pictures(tmp_path, "references", [plate(seed, shift=seed) for seed in range(3)])
    normals = pictures(tmp_path, "normals", [plate(10 + seed, shift=seed % 4) for seed in range(4)])
    create_station(tmp_path / "plate", references, normals, judge="always-no", max_false_alarms=0.3)
    return tmp_path / "plate"


def decide(folder: Path, image: Image.Image) -> Decision:
    (decision,) = OpenStation(folder).inspect([np.asarray(image)])
    assert isinstance(decision, Decision)
    return decision


def broken(decision: Decision) -> str:
    return "; ".join(f"{checked.rule}: {checked.seen}" for checked in broken_rules(decision.verdict.checks))


def test_rules_hold_on_good_pictures_and_break_on_what_they_name(folder: Path) -> None:
    station, held = make_rules(folder)
    assert station.rules is not None and {"amount", "count", "place"} <= {check.kind for check in station.rules.checks}
    assert held == ((7, 7),) * len(station.rules.checks)
    assert Station.load(folder) == station
    good = decide(folder, plate(99, shift=2))
    assert good.outcome == "good" and all(checked.holds for checked in good.verdict.checks)
    assert all(checked.score is not None and checked.score <= 0.5 for checked in good.verdict.checks)
    other = decide(folder, plate(99, connector="green"))
    assert "red at lower left" in broken(other) and "most is green" in broken(other)
    fewer = decide(folder, plate(99, pins=4))
    assert "5 separate yellow areas: 4" in broken(fewer)
    (count,) = [checked for checked in fewer.verdict.checks if checked.kind == "count" and not checked.holds]
    assert count.score is not None and count.score > 0.5
    assert fewer.verdict.headline.startswith(("Rule broken: ", "2 rules broken, first: "))


@pytest.mark.parametrize(
    ("means", "outcome", "answer"),
    [("note", "good", "no"), ("unsure", "unsure", "no"), ("anomalous", "anomalous", "yes")],
)
def test_the_station_says_what_a_broken_rule_means(folder: Path, means: Any, outcome: str, answer: str) -> None:
    make_rules(folder)
    make_rules(folder, broken=means)
    decision = decide(folder, plate(99, pins=4))
    assert (decision.outcome, decision.verdict.answer) == (outcome, answer)
    assert "rule" in decision.verdict.headline.casefold() and "Broken rules: " in decision.verdict.reasoning
    assert ("By its score alone the part is good" in decision.verdict.reasoning) == (means != "note")
    assert decide(folder, plate(98)).outcome == "good"


def test_the_sheet_is_edited_by_hand(folder: Path) -> None:
    make_rules(folder)
    text = (folder / FILE).read_text()
    assert text.count("[[rules.checks]]") >= 3
    (folder / FILE).write_text(text.replace('kind = "count"', 'kind = "count"\nnumer = 4', 1))
    with pytest.raises(InputError, match=r"rules\.checks\.\d+\.count\.numer"):
        Station.load(folder)
    (folder / FILE).write_text(text.replace("number = 5", "number = 4", 1))
    assert decide(folder, plate(99, pins=4)).verdict.headline.count("yellow areas") == 0
    assert make_rules(folder, clear=True)[0].rules is None


def test_what_good_pictures_do_not_agree_on_is_no_rule() -> None:
    good = [plate(seed, pins=4 + seed % 2, connector=("red", "green")[seed % 2]) for seed in range(6)]
    read = [read_picture(np.asarray(image)) for image in good]
    sheet = write_rules(read, read[0])
    kinds = [(check.kind, getattr(check, "colour", "")) for check in sheet.checks]
    assert ("count", "yellow") not in kinds and ("place", "red") not in kinds and ("place", "blue") in kinds
    with pytest.raises(InputError, match="rules need 3 good pictures"):
        write_rules(read[:2], read[0])


def test_a_part_that_lies_the_wrong_way_round_breaks_a_rule(folder: Path) -> None:
    station, _ = make_rules(folder)
    assert station.rules is not None
    (rule,) = [check for check in station.rules.checks if check.kind == "turn"]
    assert rule == TurnCheck(kind="turn", most=10.0)
    for degrees, seen in ((180, "turned 180 degrees"), (90, "turned 90 degrees anticlockwise"), (0, "not turned")):
        decision = decide(folder, plate(99, shift=2).rotate(degrees, fillcolor=(150, 150, 155)))
        (turn,) = [checked for checked in decision.verdict.checks if checked.kind == "turn"]
        assert (turn.rule, turn.seen, turn.holds) == ("turned by at most 10 degrees", seen, degrees == 0)
        assert decision.outcome == ("unsure" if degrees else "good")


def test_what_is_seen_of_a_turn_never_contradicts_its_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_picture(np.asarray(plate()))
    for most, turn, rule, seen in (
        (10.0, 10.4, "turned by at most 10 degrees", "turned 10.4 degrees clockwise"),
        (10.0, 10.02, "turned by at most 10 degrees", "turned 10.02 degrees clockwise"),
        (10.0, 9.6, "turned by at most 10 degrees", "turned 10 degrees clockwise"),
        (12.5, -12.8, "turned by at most 12.5 degrees", "turned 13 degrees anticlockwise"),
        (1.0, 0.3, "turned by at most 1 degree", "not turned"),
        (0.2, -0.3, "turned by at most 0.2 degrees", "turned 0.3 degrees anticlockwise"),
    ):
        checker = RuleChecker(RuleSheet(checks=(TurnCheck(kind="turn", most=most),)), first)
        monkeypatch.setattr(checker, "turn", lambda picture, turn=turn: turn)
        (checked,) = checker.check(first)
        assert (checked.rule, checked.seen, checked.holds) == (rule, seen, abs(turn) <= most)


def test_a_product_that_lies_at_any_angle_has_no_rule_of_its_turn() -> None:
    angles = (0, 180, 90, 0, 270, 180)
    images = [plate(seed).rotate(angle, fillcolor=(150, 150, 155)) for seed, angle in enumerate(angles)]
    read = [read_picture(np.asarray(image)) for image in images]
    assert "turn" not in {check.kind for check in write_rules(read, read[0]).checks}
    assert "turn" in {check.kind for check in write_rules([read[0], read[3], read[3]], read[0]).checks}


def test_a_rule_that_breaks_on_normal_pictures_is_left_out(tmp_path: Path) -> None:
    references = pictures(tmp_path, "references", [plate(seed) for seed in range(3)])
    normals = pictures(tmp_path, "normals", [plate(10 + seed, pins=4 + seed % 2) for seed in range(12)])
    create_station(tmp_path / "plate", references, normals, judge="always-no", max_false_alarms=0.1)
    station, held = make_rules(tmp_path / "plate")
    assert station.rules is not None and len(held) == len(station.rules.checks)
    rules = describe_rules(station, tmp_path / "plate", held)
    assert not any("yellow areas" in rule for rule in rules) and any("blue" in rule for rule in rules)


def test_two_places_of_the_same_words_are_counted_apart(tmp_path: Path) -> None:
    """Both are red and at the lower left; one of them is absent in a normal picture that no rule was written from."""

    def marked(seed: int, second: bool) -> Image.Image:
        image = plate(seed, connector="grey")
        drawn = ImageDraw.Draw(image)
        for left, there in ((10, True), (60, second)):
            drawn.rectangle((left, 180, left + 30, 230), fill=(200, 20, 20) if there else (128, 128, 128))
        return image

    references = pictures(tmp_path, "references", [marked(seed, True) for seed in range(3)])
    normals = pictures(tmp_path, "normals", [marked(10 + seed, seed != 25) for seed in range(30)])
    create_station(tmp_path / "plate", references, normals, judge="always-no", max_false_alarms=0.1)
    station, held = make_rules(tmp_path / "plate")
    rules = describe_rules(station, tmp_path / "plate", held)
    assert [rule.partition(". ")[2] for rule in rules if "red at" in rule] == [
        "red at lower left: holds on 33 of 33 good pictures",
        "red at lower left: holds on 32 of 33 good pictures",
    ]


def test_a_box_is_checked_where_it_was_found() -> None:
    """Its sides stand in the sheet in tenths of a pixel, rounded down here."""
    image = Image.new("RGB", (192, 144), (128, 128, 128))
    ImageDraw.Draw(image).rectangle((5, 5, 16, 16), fill=(200, 20, 20))
    first = Picture("first.png", image, 1000, 750)
    sheet = write_rules([first] * 3, first)
    [seen] = [each.seen for each in RuleChecker(sheet, first).check(first) if each.rule.startswith("red at")]
    assert seen == "100 % of it, most is red"


def test_a_box_may_lie_at_the_edge_and_a_count_may_be_none() -> None:
    first = read_picture(np.asarray(plate()))
    place = PlaceCheck(kind="place", colour="grey", box=(319.0, 239.0, 900.0, 900.0), least=0.5)
    none = CountCheck(kind="count", colour="pink", number=0, smallest=0.001)
    checked = RuleChecker(RuleSheet(checks=(place, none)), first).check(first)
    assert [each.holds for each in checked] == [True, True]


def test_texts_are_checked_letter_by_letter(reader: type[Reader]) -> None:
    good = [read_picture(np.asarray(plate(seed))) for seed in range(3)]
    reader.words = ("CTRL-7 rev B",)
    (text,) = [check for check in write_rules(good, good[0]).checks if check.kind == "text"]
    assert isinstance(text, TextCheck) and text.words == "CTRL-7 rev B"
    checker = RuleChecker(RuleSheet(checks=(text,)), good[0])
    for words, holds in (("ctrl 7 rev B", True), ("CTRL-7 rev 8", True), ("CTRL-9 rev C", False), ("", False)):
        reader.words = (words,)
        (checked,) = checker.check(good[0])
        assert checked.holds is holds and (checked.score or 0) > 0.5 - holds, words


def test_without_the_extra_texts_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise MissingExtraError("rapidocr", "ocr")

    for module in ("rules", "rule_writing"):
        monkeypatch.setattr(f"lad_reasoner.service.{module}.LabelReader", refuse)
    good = [read_picture(np.asarray(plate(seed))) for seed in range(3)]
    assert "text" not in {check.kind for check in write_rules(good, good[0]).checks}
    sheet = RuleSheet(checks=(TextCheck(kind="text", words="CTRL-7"),))
    (checked,) = RuleChecker(sheet, good[0]).check(good[0])
    assert checked.holds is None and checked.seen.startswith("not checked: rapidocr is not installed; run: pip")


def questioned(judge: ChatServer) -> RuleSheet:
    check = QuestionCheck(kind="question", question="Is the connector red?")
    return RuleSheet(model="vlm", server=judge.url, checks=(check,))


def test_a_question_is_put_to_a_model() -> None:
    first = read_picture(np.asarray(plate()))

    def behave(body: dict[str, Any], number: int) -> Act:
        return Act("answer", "<think>It is green.</think><answer>no</answer>")

    with ChatServer(behave) as server:
        (checked,) = RuleChecker(questioned(server), first).check(first)
        assert (checked.holds, checked.seen) == (False, "answered no")
        (text,) = [part["text"] for part in server.bodies[0]["messages"][0]["content"] if part["type"] == "text"]
        assert text.startswith("Is the connector red? ")
        (silent,) = RuleChecker(questioned(server), first, ask=False).check(first)
        assert silent.holds is None and "not checked" in silent.seen and len(server.bodies) == 1


def test_without_a_model_a_question_is_not_checked() -> None:
    first = read_picture(np.asarray(plate()))
    sheet = RuleSheet(checks=(QuestionCheck(kind="question", question="Is it red?"),))
    (checked,) = RuleChecker(sheet, first).check(first)
    assert checked == Checked(
        rule="Is it red? yes",
        kind="question",
        seen="not checked: only a vision-language model can answer it; give rules.model and rules.server",
    )


def test_a_model_writes_questions_and_only_true_ones_stay(folder: Path) -> None:
    asked = "1. Is there a red connector?\n- Are there six pins?\nThat is all."

    def behave(body: dict[str, Any], number: int) -> Act:
        (text,) = [part["text"] for part in body["messages"][0]["content"] if part["type"] == "text"]
        if "Write questions" in text:
            return Act("answer", asked)
        return Act("answer", f"<think>I look.</think><answer>{'no' if 'six' in text else 'yes'}</answer>")

    with ChatServer(behave) as server:
        station, _ = make_rules(folder, model="vlm", server=server.url)
        assert station.rules is not None
        questions = [check.question for check in station.rules.checks if isinstance(check, QuestionCheck)]
        assert questions == ["Is there a red connector?"]
        assert (station.rules.model, station.rules.server) == ("vlm", server.url)
        assert decide(folder, plate(99)).verdict.checks[-1].holds is True


def test_the_checks_stand_in_the_archive(folder: Path, tmp_path: Path) -> None:
    make_rules(folder)
    buffer = io.BytesIO()
    plate(99, pins=4).save(buffer, "PNG")
    with serving_here(create_app(Runtime([folder])), tmp_path / "log") as served:
        answer = served.inspect(buffer.getvalue(), station="plate").json
        assert answer["outcome"] == "unsure" and "separate yellow areas" in str(answer["verdict"]["checks"])
        kept = served.ask("GET", f"/v1/stations/plate/inspections/{answer['id']}").json
        assert kept["verdict"]["checks"] == answer["verdict"]["checks"]
