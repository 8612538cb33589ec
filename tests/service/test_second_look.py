"""A second look at queries near the limit: who is asked, what is shown, and what decides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.chat_server import Act, ChatServer
from helpers.shots import shot
from helpers.stations import NearestGrey, grey_picture, grey_station
from lad_reasoner.cli.app import main
from lad_reasoner.errors import InputError
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.judges import load_judge
from lad_reasoner.judges.hosted import HostedJudge
from lad_reasoner.records import Box, Verdict
from lad_reasoner.runner import Judged
from lad_reasoner.service.inspection import Decision, OpenStation
from lad_reasoner.service.second_look import SecondLook, cut_places
from lad_reasoner.service.station import FILE

GOOD = shot("good", 0, split="train")


class Says:
    """Always the same; remembers the pairs."""

    name, prompt_version, batch_size, notes = "says", "says-1", 4, ()
    parameters: int | None = None

    def __init__(self, *answers: str) -> None:
        self.answers, self.pairs = answers or ("no",), list[PicturePair]()

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        self.pairs += pairs
        texts = [self.answers[number % len(self.answers)] for number in range(len(pairs))]
        return [
            Judgement.of(f"<think>I look.</think><answer>{text}</answer>", 0.9 if text == "yes" else 0.2)
            for text in texts
        ]


def first(score: float, *boxes: Box, pair: PicturePair | None = None) -> Judged:
    """A verdict of the first judge."""
    pair = pair or PicturePair((GOOD,), GOOD)
    answer: Any = "yes" if score >= 0.5 else "no"
    verdict = Verdict(
        query="q",
        references=("r",),
        answer=answer,
        anomalous=score >= 0.5,
        score=score,
        headline="first",
        reasoning="First.",
        response="",
        boxes=boxes,
        model="first",
        prompt_version="1",
        seconds=0,
    )
    return Judged(verdict, pair, Judgement(answer, score, boxes=boxes))


def test_only_near_the_limit() -> None:
    second = SecondLook(Says())
    for score, near in ((0.5, True), (0.6, True), (0.34, True), (0.7, False), (0.2, False), (1.0, False)):
        assert second.is_near(score, 0.5) == near, score
    assert second.is_near(0.3, 0.9, unsure_from=0.25) and not second.is_near(0.2, 0.9, unsure_from=0.25)
    far = first(0.95)
    assert second.look(far, limit=0.5) is far
    with pytest.raises(InputError, match=r"within is 0\.5"):
        SecondLook(Says(), within=0.5)


def test_both_verdicts_stand_and_what_decides_is_said() -> None:
    box = Box(x=100, y=60, width=40, height=30, strength=1.2)
    judged = SecondLook(Says("no")).look(first(0.55, box), limit=0.5)
    verdict = judged.verdict
    assert (verdict.answer, verdict.anomalous, verdict.score) == ("no", False, 0.55)
    assert verdict.headline == "Good at a second look, by says."
    assert verdict.second_look is not None and verdict.second_look.decides and verdict.second_look.score == 0.2
    assert verdict.reasoning.startswith("First. Second look by says at 1 place: no (0.2000). It decides, since")
    assert judged.judgement.answer == "no"
    boxes = (box, box.model_copy(update={"x": 200}))
    worst = SecondLook(Says("no", "yes")).look(first(0.45, *boxes), limit=0.5).verdict
    assert worst.anomalous and worst.second_look is not None and worst.second_look.places == 2
    silent = SecondLook(Says("maybe")).look(first(0.55, box), limit=0.5).verdict
    assert silent.anomalous and silent.headline == "first" and silent.second_look is not None
    assert not silent.second_look.decides and silent.reasoning.endswith("no valid answer. The first verdict stands.")
    refusing = SecondLook(Says("no"))
    refusing.judge.judge = lambda pairs: (_ for _ in ()).throw(InputError("status 400: refused"))  # type: ignore[method-assign]
    refused = refusing.look(first(0.55, box), limit=0.5).verdict
    assert refused.anomalous and refused.second_look is not None and refused.second_look.answer == "invalid"
    assert refused.reasoning.endswith("no valid answer (status 400: refused). The first verdict stands.")


def test_the_same_places_are_shown_also_if_the_part_has_moved() -> None:
    pixels = np.roll(np.asarray(GOOD.image), (12, -18), (0, 1))
    query = Picture("q", Image.fromarray(pixels), GOOD.width, GOOD.height)
    box = Box(x=150, y=100, width=60, height=60, strength=1)
    (pair,) = cut_places(PicturePair((GOOD,), query), [box])
    reference, shown = (np.asarray(picture.image, np.float32) for picture in (pair.references[0], pair.query))
    assert reference.shape == shown.shape == (120, 120, 3)
    assert (
        np.abs(reference - shown).mean()
        < 0.5 * np.abs(np.asarray(GOOD.image, np.float32)[70:190, 120:240] - shown).mean()
    )
    for edge in (Box(x=0, y=0, width=3, height=3, strength=1), Box(x=380, y=284, width=4, height=4, strength=1)):
        (pair,) = cut_places(PicturePair((GOOD,), query), [edge])
        assert min(pair.query.image.size) >= 95
    whole = PicturePair((GOOD,), query)
    assert cut_places(whole, []) == [whole]
    assert len(cut_places(PicturePair((GOOD,), query), [box] * 5)) == 3


def test_a_station_looks_again_in_its_unsure_zone(tmp_path: Path) -> None:
    folder, station = grey_station(tmp_path, judge="helpers.stations:Grey", max_unsure=0.3)
    assert station.limit is not None and station.unsure_from is not None
    text = (folder / FILE).read_text()
    (folder / FILE).write_text(f'{text}\n[second_look]\nmodel = "always-yes"\nwithin = 1.0\n')
    shade = 100 + round(255 * (station.limit + station.unsure_from) / 2)
    (decision,) = OpenStation(folder).inspect([grey_picture(tmp_path / "unsure.png", shade)])
    assert isinstance(decision, Decision) and decision.outcome == "anomalous" == decision.verdict.outcome
    assert decision.verdict.second_look is not None and decision.verdict.second_look.model == "always-yes"
    (clear,) = OpenStation(folder).inspect([grey_picture(tmp_path / "clear.png", 250)])
    assert isinstance(clear, Decision) and clear.verdict.second_look is None


def test_micro_and_a_service_are_asked_with_crops(tmp_path: Path) -> None:
    box = Box(x=100, y=60, width=40, height=30, strength=1.2)
    by_micro = SecondLook(load_judge("micro")).look(first(0.55, box), limit=0.5).verdict.second_look
    assert by_micro is not None and by_micro.answer in ("yes", "no") and by_micro.score is not None

    def behave(body: dict[str, Any], number: int) -> Act:
        return Act("answer", "<think>A scratch.</think><answer>yes</answer>")

    with ChatServer(behave) as server:
        judge = HostedJudge(server.url, "vlm", cache=tmp_path / "cache.jsonl")
        verdict = SecondLook(judge).look(first(0.45, box, box), limit=0.5).verdict
        assert verdict.anomalous and verdict.second_look is not None and verdict.second_look.reasoning == "A scratch."
        kinds = [part["type"] for part in server.bodies[0]["messages"][0]["content"]]
        assert kinds == ["image_url", "image_url", "text"]


def test_the_command_asks_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    reference = grey_picture(tmp_path / "good.png", 60)
    query = grey_picture(tmp_path / "q.png", 60 + 130)
    words = ["inspect", "-r", str(reference), str(query), "--model", "helpers.stations:Grey", "--json"]
    monkeypatch.setattr("sys.argv", ["lad-reasoner", *words, "--second-look", "always-no"])
    with pytest.raises(SystemExit) as left:
        main()
    line = json.loads(capsys.readouterr().out)
    assert (left.value.code or 0) == 0 and not line["anomalous"] and line["score"] > 0.5
    assert line["second_look"]["model"] == "always-no" and line["second_look"]["decides"]


def test_what_is_to_be_known_of_the_second_judge_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(NearestGrey, "notes", ("made for grey",))
    said = "second look by nearest-grey: made for grey"
    reference = grey_picture(tmp_path / "good.png", 60)
    words = ["inspect", "-r", str(reference), str(grey_picture(tmp_path / "q.png", 80)), "--model", "always-no"]
    monkeypatch.setattr("sys.argv", ["lad-reasoner", *words, "--second-look", "helpers.stations:NearestGrey"])
    with pytest.raises(SystemExit):
        main()
    assert f"note: {said}\n" in capsys.readouterr().err
    folder, _ = grey_station(tmp_path, judge="helpers.stations:Grey")
    assert said not in OpenStation(folder).notes()
    text = (folder / FILE).read_text()
    (folder / FILE).write_text(f'{text}\n[second_look]\nmodel = "helpers.stations:NearestGrey"\n')
    assert said in OpenStation(folder).notes()
