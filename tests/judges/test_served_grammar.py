"""The grammar that services are sent: the same as the parser's and this process's, found once, and told."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.chat_server import ECHO, Act, Behaviour, ChatServer, ignore_grammar
from helpers.command_line import run
from helpers.grammar_servers import decode, gbnf_as_regex, obeying, refusal, refuse_unknown, sent_form
from helpers.planted import lamps
from lad_reasoner.answers import TAGS, is_visible, parse_response
from lad_reasoner.cli.app import app
from lad_reasoner.errors import InputError, MachineError, ServiceError
from lad_reasoner.evaluation.benchmark import open_benchmark
from lad_reasoner.evaluation.run import Run, read_run, write_metrics
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges.evidence.judge import WithEvidence
from lad_reasoner.judges.hosted import HostedJudge
from lad_reasoner.judges.served_grammar import FORMS, GBNF, REGEX, VISIBLE, find_form, read_json
from lad_reasoner.judges.server_check import check_server
from lad_reasoner.judges.trivial import always_no
from lad_reasoner.remote.prices import Prices
from lad_reasoner.service.api import create_app
from lad_reasoner.service.runtime import Runtime
from lad_reasoner.service.setup import create_station

FREE = "No difference. The answer is no."
GOOD = "<think>All there.</think><answer>no</answer>"
AS_JSON = json.dumps({"reasoning": "All there.", "yes_or_no": "no"})


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# ---- the grammar itself


@given(st.from_regex(REGEX, fullmatch=True))
@settings(max_examples=80, deadline=None)
def test_whatever_the_regular_expression_accepts_is_structured(text: str) -> None:
    assert parse_response(text).structured, text


PIECES = (*TAGS, "<Think>", "</THINK>", "<thin\u212a>", "<", "</", "<thin", "k>", "a", " ", "\n", "\u200b", "字")


def test_grammar_and_parser_agree_on_every_combination_of_parts_of_tags() -> None:
    notations = re.compile(REGEX), re.compile(gbnf_as_regex(GBNF))
    structured = 0
    for count in range(5):
        for parts in itertools.product(PIECES, repeat=count):
            text = f"<think>{''.join(parts)}</think><answer>no</answer>"
            expected = parse_response(text).structured
            structured += expected
            for notation in notations:
                assert (notation.fullmatch(text) is not None) == expected, text
    assert structured > 1000


def test_tags_in_all_letters_and_only_visible_characters() -> None:
    letters = set("".join(TAGS)) - set("<>/")
    capitals = {chr(code) for code in range(0x110000) if chr(code).lower() in letters}
    for letter in capitals:
        tag = "<answer>".replace(letter.lower(), letter) + "<think>".replace(letter.lower(), letter)
        assert not re.fullmatch(REGEX, f"<think>a{tag}</think><answer>no</answer>"), letter
    shown = re.compile(f"[{VISIBLE}]")
    assert all(is_visible(chr(code)) for code in range(0x110000) if shown.match(chr(code)))


@pytest.mark.parametrize(
    ("text", "response"),
    [
        (AS_JSON, GOOD),
        (
            '{"reasoning": "<think>a</think>", "yes_or_no": "yes"}',
            "<think>‹think›a‹/think›</think><answer>yes</answer>",
        ),
        ('{"reasoning": " ", "yes_or_no": "yes"}', '{"reasoning": " ", "yes_or_no": "yes"}'),
        ('{"reasoning": "a", "yes_or_no": "maybe"}', '{"reasoning": "a", "yes_or_no": "maybe"}'),
        ("[1]", "[1]"),
        (GOOD, GOOD),
    ],
)
def test_objects_become_responses(text: str, response: str) -> None:
    assert read_json(text) == response


def test_the_grammar_that_is_asked_for_first_has_an_end() -> None:
    asked: dict[str, dict[str, Any]] = {}

    def ask(fields: dict[str, Any]) -> str:
        asked.update(fields)
        return ECHO

    assert find_form(ask) == "ignored"
    assert asked.keys() == FORMS.keys()
    notations = asked["regex"], gbnf_as_regex(asked["grammar"])
    assert asked["structured_outputs"] == {"regex": notations[0]} and asked["guided_regex"] == notations[0]
    for notation, whole in zip(notations, (REGEX, gbnf_as_regex(GBNF)), strict=True):
        assert "*" not in re.sub(r"\[[^]]*\]", "", notation)
        for reasoning in ("hello", "ab < c, 字", "a" * 10):
            assert re.fullmatch(notation, f"<think>{reasoning}</think><answer>no</answer>")
        assert not re.fullmatch(notation, ECHO)
        rambling = f"<think>{'middle ' * 100}</think><answer>no</answer>"
        assert not re.fullmatch(notation, rambling) and re.fullmatch(whole, rambling)


@given(st.sampled_from(["regex", "grammar"]), st.data())
@settings(max_examples=40, deadline=None)
def test_the_grammar_that_is_asked_for_first_is_part_of_the_whole(form: str, data: st.DataObject) -> None:
    asked: dict[str, Any] = {}
    find_form(lambda fields: asked.update(fields))
    pattern = gbnf_as_regex(asked[form]) if form == "grammar" else asked[form]
    text = data.draw(st.from_regex(pattern, fullmatch=True))
    assert re.fullmatch(REGEX, text) and parse_response(text).structured


# ---- servers


def constrained(body: dict[str, Any], before: int) -> Act:
    """A model that does not keep to the form unless it has to."""
    return Act("answer", decode(body, sent_form(body), (FREE, GOOD, AS_JSON)))


def judge(server: ChatServer, tmp_path: Path, **changes: Any) -> HostedJudge:
    settings = {"cache": tmp_path / "answers.jsonl", "timeout": 5.0, "patience": 5.0, "backoff": 0.01}
    return HostedJudge(server.url, "big", **{**settings, **changes})


def pair(red: int) -> PicturePair:
    def shade(value: int) -> Any:
        return read_picture(Image.new("RGB", (32, 24), (value, 90, 160)))

    return PicturePair((shade(7),), shade(red))


SERVERS: dict[str, tuple[Behaviour, str, int]] = {  # how it answers, the form, how often it is asked
    "vLLM": (obeying("structured_outputs"), "structured_outputs", 1),
    "an older vLLM": (obeying("guided_regex"), "guided_regex", 2),
    "SGLang": (obeying("regex"), "regex", 3),
    "llama.cpp": (obeying("grammar"), "grammar", 4),
    "JSON schemas only": (obeying("response_format"), "response_format", 5),
    "JSON schemas only, refuses unknown fields": (obeying("response_format", strict=True), "response_format", 5),
    "llama.cpp behind a strict router": (obeying("grammar", strict=True), "grammar", 4),
}


@pytest.mark.parametrize(("probe", "form", "asked"), SERVERS.values(), ids=SERVERS)
def test_the_grammar_is_sent_to_servers_that_obey_it(tmp_path: Path, probe: Behaviour, form: str, asked: int) -> None:
    with ChatServer(constrained, probe=probe) as server:
        first = judge(server, tmp_path)
        assert [one.answer for one in first.judge([pair(3), pair(250)])] == ["no", "no"]
        assert first.judge([pair(4)])[0].response == GOOD
        again = judge(server, tmp_path)
        assert again.judge([pair(3), pair(5)])[0].response == GOOD
        assert len(server.probes) == asked  # once for both judges
        assert len(server.bodies) == 4
    assert all(sent_form(body) == form and body[form] == FORMS[form][form] for body in server.bodies)
    (note,) = again.notes
    assert note.startswith(f"big was asked at {server.url}; its responses are held to ")
    assert ("JSON schema" if form == "response_format" else f"sent as `{form}`") in note


NONE: dict[str, tuple[Behaviour, str]] = {
    "ignores unknown fields": (ignore_grammar, "it ignores the response grammar"),
    "refuses unknown fields": (refuse_unknown, "it rejects the response grammar"),
    "keeps to another form": (lambda body, before: Act("answer", '{"reasoning": "hello"}'), "it ignores"),
    "empty reasoning": (lambda body, before: Act("answer", "<think></think><answer>yes</answer>"), "it ignores"),
}


@pytest.mark.parametrize(("probe", "words"), NONE.values(), ids=NONE)
def test_where_the_grammar_is_not_obeyed_it_is_not_sent_and_this_is_said(
    tmp_path: Path, probe: Behaviour, words: str
) -> None:
    with ChatServer(constrained, probe=probe) as server:
        first = judge(server, tmp_path)
        assert first.judge([pair(3)])[0].answer == "invalid"
        judge(server, tmp_path).judge([pair(4)])
        assert len(server.probes) == 5
    assert [sent_form(body) for body in server.bodies] == ["", ""]
    assert words in first.notes[0]
    assert "may be invalid" in first.notes[0]


def test_a_server_that_does_not_keep_to_it_after_all_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ChatServer(lambda body, before: Act("answer", FREE), probe=obeying("regex")) as server:
        asked = judge(server, tmp_path)
        assert [one.answer for one in asked.judge([pair(3), pair(4)])] == ["invalid", "invalid"]
    said = "big was sent the response grammar as regex, but does not always keep to it."
    assert asked.notes[1:] == (said,)
    assert caplog.text.count(said) == 1


def breaking(failures: int | None) -> Behaviour:
    """A server that breaks at log-probabilities under a grammar: always, or so many times."""
    told = {"no": math.log(0.75), "yes": math.log(0.25)}
    begins = GOOD.index("no</answer>")
    written = [(GOOD[:begins], {}), ("no", told), (GOOD[begins + 2 :], {})]
    broke = 0

    def act(body: dict[str, Any], before: int) -> Act:
        nonlocal broke
        if body.get("logprobs") and sent_form(body) and (failures is None or broke < failures):
            broke += 1
            return Act("status", '{"message": "Internal Server Error"}', status=500)
        return Act("answer", GOOD, written=written)

    return act


def test_a_server_that_breaks_at_logprobs_under_the_grammar_gives_no_score(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As SGLang does: minus infinity, which the grammar gives to other words, is no number in JSON."""
    with ChatServer(breaking(None), probe=obeying("regex")) as server:
        asked = judge(server, tmp_path)
        found = asked.judge([pair(red) for red in range(3, 11)])
        assert [(one.answer, one.score) for one in found] == [("no", None)] * 8
        before = len(server.bodies)
        assert asked.judge([pair(20)])[0].answer == "no"
        assert len(server.bodies) == before + 1  # it is not asked for them again
    answered = [body for body in server.bodies if not body.get("logprobs")]
    assert len(answered) == 8 + 1 + 1  # the pairs, and one to find out
    assert not any("top_logprobs" in body for body in answered)
    said = "big breaks (status 500) where log-probabilities are asked for under the response grammar: they are left out"
    assert asked.notes[1:] == (f"{said}, and there is no score.",)
    assert caplog.text.count(said) == 1
    assert "the service does not take logprobs, top_logprobs" in asked.receipt()


@pytest.mark.parametrize("failures", [1, 2])
def test_a_server_that_was_busy_at_first_is_still_asked_for_logprobs(tmp_path: Path, failures: int) -> None:
    with ChatServer(breaking(failures), probe=obeying("regex")) as server:
        asked = judge(server, tmp_path, concurrency=1)
        assert [one.score for one in asked.judge([pair(3), pair(4)])] == [0.25, 0.25]
        server.behave = breaking(3)  # it has answered such a request, so that these are faults of the moment
        assert asked.judge([pair(5)])[0].score == 0.25
    assert len(asked.notes) == 1


def test_a_server_that_breaks_without_logprobs_too_is_given_up(tmp_path: Path) -> None:
    behave = lambda body, before: Act("status", status=500)  # noqa: E731
    with ChatServer(behave, probe=obeying("regex")) as server:
        asked = judge(server, tmp_path, concurrency=1, patience=0.3)
        with pytest.raises(ServiceError, match=r"status 500.*; given up after 0 s of patience"):
            asked.judge([pair(3)])
        assert asked.dropped_parameters() == []
    with ChatServer(breaking(None), probe=obeying("regex")) as server:
        free = judge(server, tmp_path, grammar="free", concurrency=1, patience=0.3)
        assert free.judge([pair(3)])[0].score == 0.25


def test_answers_with_and_without_the_grammar_are_kept_apart(tmp_path: Path) -> None:
    with ChatServer(constrained, probe=obeying("grammar")) as server:
        free = judge(server, tmp_path, grammar="free")
        assert free.judge([pair(3)])[0].response == FREE
        assert server.probes == []
        assert "responses are free and unchanged" in free.notes[0]
        assert judge(server, tmp_path).judge([pair(3)])[0].response == GOOD
        assert judge(server, tmp_path, grammar="free").judge([pair(3)])[0].response == FREE
        given_form = judge(server, tmp_path, cache=tmp_path / "other.jsonl", grammar="grammar")
        assert given_form.judge([pair(3)])[0].response == GOOD
    assert [sent_form(body) for body in server.bodies] == ["", "grammar", "grammar"]
    assert len(server.probes) == 4
    with pytest.raises(InputError, match="grammar is gbnf; give free or one of structured_outputs, guided_regex"):
        judge(server, tmp_path, grammar="gbnf")


def test_the_score_of_an_object(tmp_path: Path) -> None:
    begins = AS_JSON.rindex('no"')
    told = {"no": math.log(0.75), "yes": math.log(0.25)}
    written = [(AS_JSON[:begins], {}), ("no", told), ('"}', {})]
    with ChatServer(
        lambda body, before: Act("answer", AS_JSON, written=written), probe=obeying("response_format")
    ) as server:
        (found,) = judge(server, tmp_path).judge([pair(3)])
    assert (found.response, found.score) == (GOOD, pytest.approx(0.25))


def test_a_length_limit_that_is_refused_does_not_hide_the_grammar(tmp_path: Path) -> None:
    def old(body: dict[str, Any], before: int) -> Act:
        if "max_completion_tokens" in body:
            return refusal("Unsupported parameter: max_completion_tokens")
        return obeying("regex")(body, before)

    with ChatServer(constrained, probe=old) as server:
        assert judge(server, tmp_path).judge([pair(3)])[0].response == GOOD
    assert sent_form(server.bodies[-1]) == "regex"


def test_reasoning_apart_from_the_text_is_part_of_the_response_to_the_question(tmp_path: Path) -> None:
    def parted(body: dict[str, Any], before: int) -> Act:
        reasoning, _, answer = obeying("regex")(body, before).text.partition("</think>")
        return Act("answer", answer, reasoning=reasoning.removeprefix("<think>"))

    with ChatServer(constrained, probe=parted) as server:
        assert judge(server, tmp_path).judge([pair(3)])[0].answer == "no"
    assert len(server.probes) == 3


def test_questions_for_the_grammar_are_billed_and_no_answers(tmp_path: Path) -> None:
    completion = {"choices": [{"message": {"content": "hm"}}], "usage": {"prompt_tokens": 30, "completion_tokens": 5}}
    billed = lambda body, before: Act("raw", json.dumps(completion))  # noqa: E731
    with ChatServer(constrained, probe=billed) as server:
        first, second = (judge(server, tmp_path, prices=Prices(2.0, 10.0)) for _ in range(2))
        first.judge([pair(3)])
        second.judge([pair(3)])
    assert (first.ledger.paid.answers, first.ledger.paid.input_tokens) == (1, 100 + 5 * 30)
    assert (second.ledger.paid.answers, second.ledger.recalled.answers) == (0, 1)
    assert second.ledger.recalled.input_tokens == 100 + 5 * 30
    with ChatServer(constrained, probe=billed) as server:
        poor = judge(server, tmp_path, cache=tmp_path / "b.jsonl", prices=Prices(2.0, 10.0), budget=1e-4)
        with pytest.raises(MachineError, match=r"the budget of 0\.0001 is spent"):
            poor.judge([pair(3)])
    assert server.bodies == []


DEAD = {
    "wrong key": (Act("status", status=401), "the key in the variable LAD_SERVER_KEY"),
    "out of patience": (Act("status", status=500), "given up after 0 s of patience"),
    "a page": (Act("raw", "<html>Sign in</html>"), "an answer that is not a chat completion"),
    "no such model": (Act("status", "no", status=404), "no model 'big' there"),
}


@pytest.mark.parametrize(("act", "words"), DEAD.values(), ids=DEAD)
def test_a_service_that_fails_at_the_question_ends_the_run(tmp_path: Path, act: Act, words: str) -> None:
    benchmark = open_benchmark("folder", lamps(tmp_path / "lamps"))
    with ChatServer(constrained, probe=lambda body, before: act) as server:
        asked = judge(server, tmp_path, patience=0.2)
        with pytest.raises(ServiceError, match=words):
            Run(tmp_path / "run", asked, benchmark)
        with pytest.raises(ServiceError):
            asked.judge([pair(3)])
    assert server.bodies == []
    assert not (tmp_path / "answers.grammar.json").exists()


def test_a_damaged_file_of_forms_is_found_anew(tmp_path: Path) -> None:
    with ChatServer(constrained, probe=obeying("structured_outputs")) as server:
        for content in ("{", "[]", '{"x": 3}'):
            (tmp_path / "answers.grammar.json").write_text(content)
            judge(server, tmp_path).judge([pair(3)])
        assert len(server.probes) == 3
        judge(server, tmp_path).judge([pair(4)])
        assert len(server.probes) == 3


# ---- what people see


def test_the_form_stands_in_runs_and_verdicts(tmp_path: Path) -> None:
    root = lamps(tmp_path / "lamps", good=1, bad=1)
    options = ["--model", "big", "--server"]
    with ChatServer(constrained, probe=obeying("structured_outputs")) as server:
        done = run("eval", "--benchmark", "folder", "--root", root, "--out", tmp_path / "run", *options, server.url)
        assert done.returncode == 0, done.stderr
        query = next((root / "lamp/test").rglob("*.png"))
        shown = run("inspect", *options, server.url, "--reference", root / "lamp/train/good/000.png", query, "--json")
    words = "held to the grammar of a model in this process, sent as `structured_outputs`"
    assert done.stderr.count(words) == 1
    assert words in read_run(tmp_path / "run").settings.notes[0]
    assert any(words in note for note in write_metrics(tmp_path / "run")[1].notes)
    assert [path.name for path in (tmp_path / "run").glob("answers.*.json")] == ["answers.grammar.json"]
    assert shown.stderr.count(words) == 1
    assert words in json.loads(shown.stdout)["notes"][0]


def test_the_check_of_a_server_says_how_the_grammar_is_sent(tmp_path: Path) -> None:
    def act(body: dict[str, Any], before: int) -> Act:
        if "colour of the first" in body["messages"][0]["content"][-1]["text"]:
            return Act("answer", "Red, blue.")
        return constrained(body, before)

    results = {}
    for form in ("grammar", "response_format"):
        with ChatServer(act, probe=obeying(form)) as server:
            found = {finding.name: finding for finding in check_server(server.url, "big")}
        results[form] = found["grammar"].result
        assert found["grammar"].good
    with ChatServer(act, probe=refuse_unknown) as server:
        refused = {finding.name: finding for finding in check_server(server.url, "big")}["grammar"]
    assert results == {form: f"sent as `{form}`: 3 of 3 responses" for form in results}
    assert (refused.result, refused.good) == ("sent, but refused: 0 of 3 responses", False)
    assert not (tmp_path / "cache").exists()


def test_a_judge_with_evidence_says_it_too(tmp_path: Path) -> None:
    with ChatServer(constrained, probe=obeying("grammar")) as server:
        both = WithEvidence(judge(server, tmp_path), always_no())
        both.prepare()
    assert "sent as `grammar`" in both.notes[0]
    assert both.notes[-1].startswith("Map and boxes come from always-no")
    WithEvidence(always_no(), always_no()).prepare()


def test_watch_and_serve_say_the_form_at_their_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lad_reasoner.service.server.serve", lambda *_, **__: None)
    root = lamps(tmp_path / "lamps", good=1, bad=0)
    with ChatServer(constrained, probe=obeying("grammar")) as server:
        options = {"server": server.url, "cache": str(tmp_path / "answers.jsonl")}
        monkeypatch.setenv("LAD_TRUSTED", options["cache"])
        station = tmp_path / "station"
        create_station(station, [root / "lamp/train/good/000.png"], judge="big", options=options)
        capsys.readouterr()
        words = "held to the grammar of a model in this process, sent as `grammar`."
        for verb in (
            ["watch", "--once", "--station", str(station), str(root / "lamp/test/good")],
            ["serve", str(station)],
            ["serve", "--model", "big", "--server", server.url],
        ):
            with contextlib.suppress(SystemExit):
                app(verb, standalone_mode=False)
            assert capsys.readouterr().err.count(words) == 1, verb
        runtime = Runtime([station])
        runtime.notes()
        with TestClient(create_app(runtime), base_url="http://localhost") as client:
            card = client.get("/v1/stations/station").json()
        assert words in card["notes"][0]
    dead = Runtime([station])  # the form is in the file beside the answers
    assert any(words in note for note in dead.notes())
    dead.close()
    (tmp_path / "answers.grammar.json").unlink()
    monkeypatch.setattr(HostedJudge, "prepare", fail)
    unknown = Runtime([station])  # it serves all the same: each picture asks again
    assert unknown.notes() == ["station: the service is away"]
    unknown.close()


def fail(_: Any) -> None:
    raise ServiceError("the service is away")
