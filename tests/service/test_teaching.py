"""Pictures that are accepted as normal: a preview on the archive, live, rolled back; a crash in between."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.served import grey_png
from helpers.stations import grey_station
from lad_reasoner.errors import InputError, MissingExtraError
from lad_reasoner.service import teaching
from lad_reasoner.service.archived import AbsentError, Change, Inspection, Opinion, StateError
from lad_reasoner.service.export import change_rows
from lad_reasoner.service.rule_sheet import AmountCheck, PlaceCheck, QuestionCheck
from lad_reasoner.service.runtime import LiveStation, Runtime
from lad_reasoner.service.station import FILE, Station, Zone
from lad_reasoner.service.teaching import (
    apply_change,
    discard_change,
    fit_limit,
    move_limit,
    propose_change,
    propose_rules,
    propose_zones,
    recover_changes,
    roll_back_change,
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A station; its reference is grey 100, its normals are 100 to 119."""
    return grey_station(tmp_path_factory.mktemp("teach"), judge="helpers.stations:NearestGrey")[0]


@pytest.fixture
def runtime(template: Path, tmp_path: Path) -> Iterator[Runtime]:
    shutil.copytree(template, tmp_path / "station")
    runtime = Runtime([tmp_path / "station"])
    yield runtime
    runtime.close()


def inspect(runtime: Runtime, shade: int, seed: int = 0) -> Inspection:
    order = runtime.order("station", grey_png(shade, seed), part=f"{shade}", who="line", seconds=10)
    return order.finish(order.future.result(10))


def wait(live: LiveStation, change: Change) -> Change:
    for _ in range(200):
        change = live.archive.change(change.id)
        if change.state != "preparing":
            return change
        time.sleep(0.05)
    raise AssertionError("no preview")


def accepted(live: LiveStation) -> list[str]:
    return sorted(path.relative_to(live.folder).as_posix() for path in live.folder.glob("*/accepted-*"))


def test_to_the_references_and_back(runtime: Runtime) -> None:
    live = runtime.station("station")
    false_alarm, same_again, defect = (inspect(runtime, shade) for shade in (160, 162, 250))
    for inspection in (false_alarm, same_again):
        assert inspection.outcome == "anomalous"
        live.archive.review(inspection.id, Opinion.GOOD, who="Ada")
    before = live.file()

    change = propose_change(runtime, live, "references", [false_alarm.id], who="Ada")
    assert change.state == "preparing"
    change = wait(live, change)
    assert change.state == "preview", change.preview
    # The accepted picture itself says nothing: it is left out.
    assert change.preview["judged"] == 2 and change.preview["unreadable"] == 0
    assert change.preview["changes"] == [
        {
            "id": same_again.id,
            "part": "162",
            "before": "anomalous",
            "after": "good",
            "scores": [same_again.verdict and round(same_again.verdict.score, 6), pytest.approx(0, abs=0.02)],
            "truth": "good",
        }
    ]
    assert change.preview["anomalous"] == [2, 1] and change.preview["known_false_alarms"] == [1, 0]
    assert live.file() == before and inspect(runtime, 163).outcome == "anomalous"  # nothing is live yet

    assert apply_change(live, change.id, who="Ada").state == "live"
    assert accepted(live) == [f"references/accepted-{change.id}-{false_alarm.id}.png"]
    taught = inspect(runtime, 163)
    assert taught.outcome == "good" and taught.version == 2
    assert inspect(runtime, 250).outcome == "anomalous"
    assert Station.load(live.folder).references[-1] == accepted(live)[0]

    assert roll_back_change(live, change.id, who="Ada").state == "rolled back"
    assert live.file() == before and inspect(runtime, 163).outcome == "anomalous"
    actions = [line.action for line in reversed(live.archive.audit())]
    assert actions == [
        "station file",
        "feedback",
        "feedback",
        "preparing",
        "preview",
        "station file",
        "live",
        "station file",
        "rolled back",
    ]
    assert live.archive.broken_audit() is None and defect.outcome == "anomalous"


def test_a_preview_looks_as_far_back_as_it_is_told(runtime: Runtime) -> None:
    live = runtime.station("station")
    parts = [inspect(runtime, shade, seed) for seed, shade in enumerate((160, 161, 162, 163))]
    for pictures in (2, 1000):
        change = wait(live, propose_change(runtime, live, "references", [parts[-1].id], who="Ada", pictures=pictures))
        assert change.preview["judged"] == min(pictures - 1, 3)
        rows = list(change_rows(change))
        assert [row[:4] for row in rows] == [[part.id, part.part, "anomalous", "good"] for part in parts[2::-1]][
            : len(rows)
        ]
        assert len(rows) == change.preview["judged"] and all(row[4] > row[5] for row in rows)
        discard_change(live, change.id, who="Ada")


def test_a_preview_that_takes_too_long_is_stopped(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    live = runtime.station("station")
    number = inspect(runtime, 160).id
    inspect(runtime, 161)
    going, goes = threading.Event(), threading.Event()
    fit = teaching.outcome_of

    def wait_for_the_stop(*values: Any) -> Any:
        going.set()
        assert goes.wait(60)
        return fit(*values)

    monkeypatch.setattr(teaching, "outcome_of", wait_for_the_stop)
    change = propose_change(runtime, live, "references", [number], who="Ada")
    assert going.wait(60)
    assert discard_change(live, change.id, who="Ada").state == "discarded"
    goes.set()
    for thread in threading.enumerate():
        if thread.name == f"preview {change.id}":
            thread.join(60)
    stopped = live.archive.change(change.id)
    assert (stopped.state, stopped.preview, accepted(live)) == ("discarded", {}, [])
    monkeypatch.setattr(teaching, "outcome_of", fit)
    assert wait(live, propose_change(runtime, live, "references", [number], who="Ada")).state == "preview"


WHITE = AmountCheck(kind="amount", colour="white", least=0.0, most=0.2)


def test_other_rules_are_a_change_as_any_other(runtime: Runtime) -> None:
    live = runtime.station("station")
    bright = inspect(runtime, 110)
    assert bright.outcome == "good"
    before, limit = live.file(), live.open.station.limit
    grey = AmountCheck(kind="amount", colour="grey", least=0.0, most=0.2)
    change = wait(live, propose_rules(runtime, live, [WHITE, grey], broken="anomalous", base=live.version, who="Ada"))
    assert change.state == "preview", change.preview
    assert change.preview["rules"] == [
        ["no rule", "white covers 0.0 to 20.0 % of the picture"],
        ["no rule", "grey covers 0.0 to 20.0 % of the picture"],
    ]
    assert change.preview["broken"] == ["unsure", "anomalous"]
    assert [(each["before"], each["after"]) for each in change.preview["changes"]] == [("good", "anomalous")]
    apply_change(live, change.id, who="Ada")
    ruled = inspect(runtime, 110, 1)
    assert ruled.outcome == "anomalous" and ruled.verdict is not None
    assert ruled.verdict.headline.startswith("Rule broken: grey covers 0.0 to 20.0 % of the picture (")
    assert live.open.station.limit == limit
    with pytest.raises(InputError, match="the same as they are"):
        propose_rules(runtime, live, [WHITE, grey], broken="anomalous", base=live.version, who="Ada")
    away = PlaceCheck(kind="place", colour="grey", box=(900, 2, 9, 9), least=0.5)
    with pytest.raises(InputError, match="rule 2: box: outside of the first reference, "):
        propose_rules(runtime, live, [WHITE, away], broken="anomalous", base=live.version, who="Ada")
    with pytest.raises(StateError, match="changed meanwhile"):
        propose_rules(runtime, live, [], broken="note", base=1, who="Ada")

    off = grey.model_copy(update={"off": True})
    change = wait(live, propose_rules(runtime, live, [WHITE, off], broken="anomalous", base=live.version, who="Eve"))
    words = "grey covers 0.0 to 20.0 % of the picture"
    assert change.preview["rules"] == [[words, f"{words} (off)"]]
    apply_change(live, change.id, who="Eve")
    ruled = inspect(runtime, 110, 2)
    assert ruled.outcome == "good" and ruled.verdict is not None and len(ruled.verdict.checks) == 1
    for number in (change.id, change.id - 1):
        roll_back_change(live, number, who="Eve")
    assert live.file() == before
    who = [(line.who, line.action) for line in live.archive.audit() if line.action in ("live", "rolled back")]
    assert who == [("Eve", "rolled back"), ("Eve", "rolled back"), ("Eve", "live"), ("Ada", "live")]


def test_rules_are_written_anew_and_questions_stay(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_reader() -> None:
        raise MissingExtraError("rapidocr", "ocr")

    monkeypatch.setattr("lad_reasoner.service.rule_writing.LabelReader", no_reader)
    live = runtime.station("station")
    question = QuestionCheck(kind="question", question="Is it grey?")
    asked = wait(live, propose_rules(runtime, live, [question], broken="note", base=live.version, who="Ada"))
    apply_change(live, asked.id, who="Ada")
    change = wait(live, propose_rules(runtime, live, None, broken="note", base=live.version, who="Ada"))
    assert change.state == "preview", change.preview
    apply_change(live, change.id, who="Ada")
    sheet = live.open.station.rules
    assert sheet is not None and sheet.checks[-1] == question and len(sheet.checks) > 1
    assert {check.kind for check in sheet.checks[:-1]} <= {"amount", "count", "place", "turn"}


def test_to_the_calibration(runtime: Runtime) -> None:
    live = runtime.station("station")
    numbers = [inspect(runtime, shade).id for shade in (140, 141, 142)]
    for number in numbers[:2]:
        live.archive.review(number, Opinion.GOOD, who="Ada")
    change = wait(live, propose_change(runtime, live, "calibration", numbers[:2], who="Ada"))
    low, high = change.preview["limit"]
    assert high > low
    apply_change(live, change.id, who="Ada")
    station = live.open.station
    assert station.limit == high and len(station.normals) == 22 and len(station.references) == 1
    assert inspect(runtime, 139).outcome == "good"


def test_a_missed_defect_is_counted_in_the_preview(runtime: Runtime) -> None:
    live = runtime.station("station")
    missed, alarm = inspect(runtime, 105), inspect(runtime, 160)
    live.archive.review(missed.id, Opinion.MISSED, who="Ada")
    change = wait(live, propose_change(runtime, live, "references", [alarm.id], who="Ada"))
    assert change.preview["known_misses"] == [1, 1] and change.preview["judged"] == 1


def test_a_part_with_a_defect_is_not_normal(runtime: Runtime) -> None:
    """It became a reference, although a person had said that its defect was missed."""
    live = runtime.station("station")
    part = inspect(runtime, 105)
    live.archive.review(part.id, Opinion.MISSED, who="Ada")
    for target in ("references", "calibration"):
        with pytest.raises(InputError, match=f"inspection {part.id} has a defect, says Ada; say first that it is good"):
            propose_change(runtime, live, target, [part.id], who="Bob")
    live.archive.review(part.id, Opinion.GOOD, who="Ada")
    change = wait(live, propose_change(runtime, live, "references", [part.id], who="Bob"))
    # Its preview was made, and then someone looked at the part again.
    live.archive.review(part.id, Opinion.MISSED, who="Ada")
    with pytest.raises(InputError, match=f"inspection {part.id} has a defect, says Ada; .*, or discard the change"):
        apply_change(live, change.id, who="Bob")
    assert len(live.open.station.references) == 1
    live.archive.review(part.id, Opinion.GOOD, who="Ada")
    assert apply_change(live, change.id, who="Bob").state == "live"


def test_what_cannot_be_done_is_refused(runtime: Runtime) -> None:
    live = runtime.station("station")
    number, other = inspect(runtime, 160).id, inspect(runtime, 161).id
    with pytest.raises(AbsentError, match="no picture of inspection 99 is kept"):
        propose_change(runtime, live, "references", [number, 99], who="Ada")
    first = wait(live, propose_change(runtime, live, "references", [number], who="Ada"))
    second = wait(live, propose_change(runtime, live, "calibration", [number], who="Ada"))
    with pytest.raises(StateError, match="change 1 is preview, not live"):
        roll_back_change(live, first.id, who="Ada")
    apply_change(live, first.id, who="Ada")
    with pytest.raises(StateError, match="change 1 is live, not preview"):
        apply_change(live, first.id, who="Ada")
    with pytest.raises(StateError, match="the station changed since the preview of change 2"):
        apply_change(live, second.id, who="Ada")
    assert discard_change(live, second.id, who="Ada").state == "discarded"
    assert accepted(live) == [f"references/accepted-1-{number}.png"]
    twice = wait(live, propose_change(runtime, live, "calibration", [number], who="Ada"))
    same = f"the picture of inspection {number} is the same as references/accepted-1-{number}.png"
    assert twice.state == "discarded" and twice.preview == {"error": same}
    third = wait(live, propose_change(runtime, live, "calibration", [other], who="Ada"))
    apply_change(live, third.id, who="Ada")
    with pytest.raises(StateError, match="roll back the later change first"):
        roll_back_change(live, first.id, who="Ada")
    roll_back_change(live, third.id, who="Ada")
    assert roll_back_change(live, first.id, who="Ada").state == "rolled back"


def test_a_change_before_a_limit_by_hand_is_rolled_back_when_that_is_put_back(runtime: Runtime) -> None:
    """It named a later change, and there was none to roll back."""
    live = runtime.station("station")
    change = wait(live, propose_change(runtime, live, "references", [inspect(runtime, 160).id], who="Ada"))
    apply_change(live, change.id, who="Ada")
    before = (live.folder / FILE).read_text()
    move_limit(live, 0.5, who="Ada")
    with pytest.raises(StateError, match=r"after change 1; that was by hand: put it back in station\.toml and reload"):
        roll_back_change(live, change.id, who="Ada")
    (live.folder / FILE).write_text(before)
    live.reload(who="Ada", why="reload")
    assert roll_back_change(live, change.id, who="Ada").state == "rolled back"


def test_a_file_that_was_edited_by_hand_is_not_written_over(runtime: Runtime) -> None:
    live = runtime.station("station")
    change = wait(live, propose_change(runtime, live, "references", [inspect(runtime, 160).id], who="Ada"))
    edited = live.file().replace("max_false_alarms = 0.1", "max_false_alarms = 0.2")
    (live.folder / FILE).write_text(edited)
    assert "was edited; reload" in live.problem()
    with pytest.raises(StateError, match="edited by hand; reload the station first"):
        apply_change(live, change.id, who="Ada")
    assert live.file() == edited
    (live.folder / FILE).write_text("nonsense")
    with pytest.raises(InputError, match="not valid TOML"):
        live.reload(who="Ada", why="reload")
    assert "the last good one is in use" in live.problem() and inspect(runtime, 101).outcome == "good"
    (live.folder / FILE).write_text(live.archive.version_file(live.version))
    renamed = live.folder.rename(live.folder.with_name("renamed"))  # was told to make a new station
    assert live.problem() == f"its folder {live.folder} is gone; put it back, or start the server with another"
    renamed.rename(live.folder)
    assert live.problem() == ""


def test_a_preview_that_fails_says_why_and_leaves_nothing(runtime: Runtime) -> None:
    live = runtime.station("station")
    number = inspect(runtime, 160).id
    (live.folder / "normals" / "0003.png").write_bytes(b"broken")
    change = wait(live, propose_change(runtime, live, "references", [number], who="Ada"))
    assert change.state == "discarded" and "normals/0003.png" in change.preview["error"]
    assert accepted(live) == [] and inspect(runtime, 101).outcome == "good"


def test_a_crash_leaves_a_change_whole_or_undone(runtime: Runtime) -> None:
    live = runtime.station("station")
    number = inspect(runtime, 160).id
    change = wait(live, propose_change(runtime, live, "references", [number], who="Ada"))
    # The crash comes after the file was written and before the change is noted as live.
    (live.folder / FILE).write_text(change.draft)
    live.archive.begin_change("references", [number], who="Ada", base=live.version)
    again = Runtime([live.folder])
    try:
        revived = again.station("station")
        recover_changes(revived)
        assert [each.state for each in revived.archive.changes()] == ["discarded", "live"]
        assert roll_back_change(revived, change.id, who="Ada").state == "rolled back"
        assert inspect(again, 163).outcome == "anomalous"
    finally:
        again.close()


@pytest.mark.parametrize(
    ("good", "bad", "limit", "fitted"),
    [
        ([0.1, 0.2], [0.8], None, None),  # the judge's own boundary is as good as any
        ([0.1, 0.2], [0.4, 0.8], None, 0.4),  # a miss: just below it
        ([0.1, 0.6], [0.8], None, 0.6),  # a false alarm
        ([0.1, 0.6], [0.8], 0.65, 0.65),
        ([0.1, 0.6], [0.8], 0.9, 0.8),
        ([0.1, 0.6], [], None, None),
        ([], [0.1], 0.3, 0.3),
    ],
)
def test_the_limit_that_fits_what_was_said(
    good: list[float], bad: list[float], limit: float | None, fitted: float | None
) -> None:
    found = fit_limit(good, bad, limit)
    assert found == (fitted if fitted is None else pytest.approx(fitted))
    boundary = 0.5 if found is None else found
    if good and bad:
        assert max(good) <= boundary < min(bad)


def test_the_limit_follows_what_was_said(tmp_path: Path) -> None:
    judge = "helpers.stations:NearestGrey"
    folder, _ = grey_station(tmp_path, normals=0, max_false_alarms=None, judge=judge, name="station")
    runtime = Runtime([folder])
    try:
        live = runtime.station("station")
        missed, *_ = [inspect(runtime, shade) for shade in (160, 101, 103, 250)]
        assert missed.outcome == "good"  # 60 of 255 are below one half
        live.archive.review(missed.id, Opinion.MISSED, who="Ada")
        with pytest.raises(InputError, match="target limit takes no inspections"):
            propose_change(runtime, live, "limit", [missed.id], who="Ada")
        with pytest.raises(InputError, match="target references takes at least one"):
            propose_change(runtime, live, "references", [], who="Ada")
        change = wait(live, propose_change(runtime, live, "limit", [], who="Ada"))
        assert change.preview["known_misses"] == [1, 0] and change.preview["limit"][0] is None
        assert [(row["before"], row["after"]) for row in change.preview["changes"]] == [("good", "anomalous")]
        apply_change(live, change.id, who="Ada")
        assert inspect(runtime, 161).outcome == "anomalous" and inspect(runtime, 102).outcome == "good"
        roll_back_change(live, change.id, who="Ada")
        assert live.open.station.limit is None
    finally:
        runtime.close()


def test_a_promised_limit_is_not_fitted(runtime: Runtime) -> None:
    with pytest.raises(InputError, match="its limit follows from its promise"):
        propose_change(runtime, runtime.station("station"), "limit", [], who="Ada")


SQUARE = Zone(kind="ignore", name="date", points=((0, 0), (16, 0), (16, 16), (0, 16)))


def draw(live: LiveStation, runtime: Runtime, *zones: Zone, base: int | None = None) -> Change:
    return propose_zones(
        runtime,
        live,
        zones,
        mm_per_pixel=None,
        fixed_camera=True,
        base=live.version if base is None else base,
        who="Ada",
    )


def test_other_zones_are_a_change_as_any_other(runtime: Runtime) -> None:
    live = runtime.station("station")
    inspect(runtime, 101)
    before = live.file()
    change = wait(live, draw(live, runtime, SQUARE))
    assert change.state == "preview" and change.preview["zones"] == [0, 1], change.preview
    assert live.file() == before
    apply_change(live, change.id, who="Ada")
    station = Station.load(live.folder)
    assert station.zones == (SQUARE,) and station.fixed_camera and station.scored_zones == station.zone_digest
    assert station.normals != live.archive.version_file(1) and inspect(runtime, 101).version == live.version
    roll_back_change(live, change.id, who="Ada")
    assert live.file() == before and accepted(live) == []


def test_zones_that_do_not_fit_change_nothing(runtime: Runtime, tmp_path: Path) -> None:
    live = runtime.station("station")
    (tmp_path / "secret.png").write_bytes(grey_png(9))
    outside = SQUARE.model_copy(update={"points": ((0, 0), (33, 0), (9, 9))})
    stranger = Zone(kind="ignore", mask="references/0001.png")
    tolerance = Zone(kind="check", points=SQUARE.points, max_shift_mm=1)
    for zone, problem in ((outside, "outside"), (stranger, "not one of this"), (tolerance, "mm_per_pixel")):
        with pytest.raises(InputError, match=problem):
            draw(live, runtime, zone)
    with pytest.raises(StateError, match="changed meanwhile"):
        draw(live, runtime, SQUARE, base=live.version + 1)
    everything = Zone(kind="ignore", points=((0, 0), (32, 0), (32, 32), (0, 32)))
    change = wait(live, draw(live, runtime, everything))
    assert change.state == "discarded" and "nothing of the picture" in change.preview["error"]
    assert live.open.station.zones == ()
