"""Random checkpoints of four architectures through the whole path: load, inspect, batch, score."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny
from lad_reasoner import Failure, Inspector, Verdict, load_model
from lad_reasoner.answers import parse_response
from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, fingerprint, load_checkpoint
from lad_reasoner.judges.vlm.decoding import Reply, StructuredDecoding
from lad_reasoner.judges.vlm.judge import VlmJudge
from lad_reasoner.judges.vlm.transformers_engine import TransformersEngine, count_votes
from lad_reasoner.prompts import PROMPT_VERSION, QUESTION, REASONING_TOKENS, build_messages, build_prompt

ARCHITECTURES: dict[str, Callable[[Path], Path]] = {
    "qwen2.5-vl": tiny.save_qwen,
    "qwen3-vl": tiny.save_qwen3,
    "llava": tiny.save_llava,
    "idefics3": tiny.save_idefics,
}
# Different sizes, so that the prompts of Qwen and Idefics differ in length and the shorter ones are padded.
SIZES = [(96, 64), (40, 120), (64, 64), (150, 90), (33, 31)]
QUERIES = [tiny.picture(seed, *size) for seed, size in enumerate(SIZES, 1)]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return cache(lambda name: ARCHITECTURES[name](tmp_path_factory.mktemp(name)))


@pytest.fixture(params=list(ARCHITECTURES))
def checkpoint(request: pytest.FixtureRequest, folder_of: Callable[[str], Path]) -> Checkpoint:
    return load_checkpoint(folder_of(request.param))


@pytest.fixture
def qwen(folder_of: Callable[[str], Path]) -> Checkpoint:
    return load_checkpoint(folder_of("qwen2.5-vl"))


def judge(checkpoint: Checkpoint, **options: Any) -> VlmJudge:
    return VlmJudge(TransformersEngine(checkpoint, **{"reasoning_tokens": 24, **options}))


def ask(model: VlmJudge, queries: Sequence[Picture], references: int = 1) -> list[Judgement]:
    shown = tuple(read_picture(tiny.picture(100 + number)) for number in range(references))
    return model.judge([PicturePair(shown, query) for query in queries])


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_inspector_gives_the_same_verdict_as_with_evidence(
    name: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = folder_of(name)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, QUERIES, strict=False):
        image.save(path)
    inspector = Inspector(model=str(folder), references=[paths[0]])
    verdict = inspector.inspect(paths[1])
    assert isinstance(verdict, Verdict)
    assert (verdict.model, verdict.prompt_version) == (str(folder), f"{PROMPT_VERSION}, weights {fingerprint(folder)}")
    assert (verdict.query, verdict.references) == (str(paths[1]), (str(paths[0]),))
    assert verdict.anomalous == (verdict.answer == "yes") == (verdict.score >= 0.5)
    response = parse_response(verdict.response)
    assert response.structured
    assert (response.reasoning, response.answer) == (verdict.reasoning, verdict.answer)
    assert verdict.tokens > 5
    (other,) = inspector.inspect_many(paths[1:2])
    assert isinstance(other, Verdict)
    assert other.response == verdict.response


def test_a_query_gets_the_same_alone_and_in_a_batch(checkpoint: Checkpoint) -> None:
    pictures = [read_picture(image) for image in QUERIES]
    alone = [ask(judge(checkpoint), [picture])[0] for picture in pictures]
    together = ask(judge(checkpoint, batch_size=len(pictures)), pictures)
    in_twos = ask(judge(checkpoint, batch_size=2), pictures)
    scores = [judgement.score for judgement in alone]
    assert max(scores) - min(scores) > 0.05  # the query matters, so that the next lines can fail
    for batched in (together, in_twos):
        assert [judgement.score for judgement in batched] == pytest.approx(scores, abs=1e-3)
        assert [judgement.response for judgement in batched] == [judgement.response for judgement in alone]
        assert [judgement.tokens for judgement in batched] == [judgement.tokens for judgement in alone]


def test_pairs_with_references_of_their_own_share_a_batch(qwen: Checkpoint) -> None:
    pictures = [read_picture(image) for image in QUERIES]
    pairs = [
        PicturePair(tuple(pictures[at : at + 1 + at % 2]), pictures[-1]) for at in range(4)
    ]  # one or two references
    model = judge(qwen, batch_size=2)
    together = model.judge(pairs)
    assert len({judgement.score for judgement in together}) == 4  # the reference matters
    for pair, judgement in zip(pairs, together, strict=True):
        (alone,) = model.judge([pair])
        assert judgement.score == pytest.approx(alone.score, abs=1e-3)
        assert judgement.response == alone.response


def test_the_inspector_judges_in_batches_and_gives_the_same(qwen: Checkpoint, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(len(QUERIES))]
    for path, image in zip(paths, QUERIES, strict=True):
        image.save(path)
    in_batches = judge(qwen, batch_size=3)
    sizes: list[int] = []
    judge_pairs = in_batches.judge
    in_batches.judge = lambda pairs: sizes.append(len(pairs)) or judge_pairs(pairs)  # type: ignore
    inspector = Inspector(in_batches, [tiny.picture(100)])
    together = list(inspector.inspect_many(paths))
    assert sizes == [3, 2]
    for path, verdict in zip(paths, together, strict=True):
        alone = inspector.inspect(path)
        assert isinstance(verdict, Verdict)
        assert verdict.score == pytest.approx(alone.score, abs=1e-3)
        changing = {"score", "seconds"}
        assert verdict.model_dump(exclude=changing) == alone.model_dump(exclude=changing)


def test_a_picture_that_the_model_cannot_take_fails_alone(qwen: Checkpoint) -> None:
    queries = [QUERIES[0], tiny.picture(9, 3400, 16), QUERIES[1]]  # Qwen's processor refuses so long a picture
    inspector = Inspector(judge(qwen), [tiny.picture(100)])
    first, long, last = inspector.inspect_many(queries)
    assert isinstance(first, Verdict)
    assert isinstance(last, Verdict)
    assert isinstance(long, Failure)
    assert "cannot take these pictures" in long.error
    assert "\n" not in long.error
    assert first.response == inspector.inspect(QUERIES[0]).response
    with pytest.raises(InputError, match="cannot take these pictures"):
        inspector.inspect(queries[1])


def test_references_matter(checkpoint: Checkpoint) -> None:
    query = read_picture(QUERIES[0])
    (one,), (three,) = ask(judge(checkpoint), [query]), ask(judge(checkpoint), [query], references=3)
    assert abs(one.score - three.score) > 1e-4  # type: ignore[operator]


def test_score_is_the_models_own_probability(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read again from one plain forward pass: neither the mask nor the checkpoint's own sampling settings touch it."""
    engine = TransformersEngine(checkpoint, reasoning_tokens=12)
    pair = [tiny.picture(100), QUERIES[0]]
    replies, written = StructuredDecoding.replies, []
    monkeypatch.setattr(StructuredDecoding, "replies", lambda own: written.extend(own.written()) or replies(own))
    (reply,) = engine.respond([pair])

    ending = engine.grammar.full
    chosen = ending.yes if parse_response(reply.text).answer == "yes" else ending.no
    inputs = dict(engine._prepare([pair]))
    ids = [*inputs["input_ids"][0].tolist(), *written[0].ids]
    before_answer = torch.tensor([ids[: -len(chosen.rest) - 2]])
    assert before_answer[0].tolist()[-len(ending.prefix) :] == list(ending.prefix)
    added = before_answer.shape[1] - inputs["input_ids"].shape[1]
    inputs["input_ids"] = before_answer
    inputs["attention_mask"] = torch.ones_like(before_answer)
    if "mm_token_type_ids" in inputs:
        inputs["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, added))
    with torch.inference_mode():
        odds = checkpoint.model(**inputs).logits[0, -1].double().softmax(-1)
    yes, no = odds[ending.yes.variants].sum(), odds[ending.no.variants].sum()
    assert reply.score == pytest.approx(float(yes / (yes + no)), abs=1e-4)
    assert reply.tokens == added + 1 + len(chosen.rest)


def test_votes(qwen: Checkpoint) -> None:
    pictures = [read_picture(image) for image in QUERIES[:3]]
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    voted = ask(judge(qwen, votes=5, batch_size=2), pictures)
    assert torch.equal(torch.rand(3), expected)  # sampling leaves the program's own random numbers alone
    engine = TransformersEngine(qwen, votes=5, batch_size=2, reasoning_tokens=24)
    for picture, judgement in zip(pictures, voted, strict=True):
        votes = engine._vote([tiny.picture(100), picture.image])
        assert judgement.score == pytest.approx(sum(vote.score for vote in votes) / 5)
        for vote in votes:  # none answers by lot
            assert (parse_response(vote.text).answer == "yes") == (vote.score >= 0.5)
    for judgement in voted:
        response = parse_response(judgement.response)
        assert response.structured
        assert (response.answer == "yes") == (judgement.score >= 0.5)
    again = ask(judge(qwen, votes=5, batch_size=2), pictures[1:])
    assert [j.response for j in again] == [j.response for j in voted[1:]]
    assert judge(qwen, votes=5).batch_size == 1  # the votes of a query are a batch of their own
    replies = TransformersEngine(qwen, reasoning_tokens=24, seed=3)._respond_in_batches(
        [[tiny.picture(100), QUERIES[0]]] * 4, sample=True
    )
    assert len({reply.text for reply in replies}) > 1  # they are sampled


@pytest.mark.parametrize(
    ("scores", "score", "chosen"),
    [
        ((0.9, 0.2, 0.1), 0.4, 1),
        ((0.1, 0.9, 0.8), 0.6, 1),
        ((0.2, 0.8), 0.5, 1),
        ((0.0, 0.4), 0.2, 0),
        ((1.0,), 1.0, 0),
    ],
)
def test_counting_votes(scores: tuple[float, ...], score: float, chosen: int) -> None:
    answers = ["yes" if one >= 0.5 else "no" for one in scores]
    replies = [
        Reply(f"<think>r{number}</think><answer>{answer}</answer>", one, 10)
        for number, (answer, one) in enumerate(zip(answers, scores, strict=True))
    ]
    counted = count_votes(replies)
    assert counted.score == pytest.approx(score)
    assert counted.text == replies[chosen].text
    assert counted.tokens == 10 * len(replies)


def test_the_temperature_of_a_checkpoint_softens_scores_and_changes_no_answer(qwen: Checkpoint) -> None:
    pictures = [read_picture(image) for image in QUERIES[:3]]
    plain = ask(judge(qwen), pictures)
    qwen.model.config.score_temperature = 3.0
    softened = ask(judge(qwen), pictures)
    for before, after in zip(plain, softened, strict=True):
        assert before.response == after.response
        odds = before.score / (1 - before.score)
        assert after.score / (1 - after.score) == pytest.approx(odds ** (1 / 3), rel=1e-4)
    for wrong in (0, -1.0, "2", None, float("nan")):
        qwen.model.config.score_temperature = wrong
        assert [one.score for one in ask(judge(qwen), pictures)] == [one.score for one in plain]


def test_prompts_are_padded_on_the_left_and_begin_once(checkpoint: Checkpoint) -> None:
    engine = TransformersEngine(checkpoint)
    inputs = engine._prepare([[tiny.picture(100), query] for query in QUERIES])
    assert bool(inputs["attention_mask"][:, -1].all())
    tokenizer = checkpoint.processor.tokenizer
    if "CLIP" not in type(checkpoint.processor.image_processor).__name__:  # its pictures all take the same room
        assert not bool(inputs["attention_mask"].all())
    if tokenizer.bos_token_id is not None:
        assert (inputs["input_ids"] == tokenizer.bos_token_id).sum(1).tolist() == [1] * len(QUERIES)


def test_a_template_that_opens_the_reasoning_does_not_open_it_twice(qwen: Checkpoint) -> None:
    qwen.processor.chat_template = tiny.QWEN_TEMPLATE.replace("assistant\n", "assistant\n<think>\n")
    assert "<think>" in qwen.processor.apply_chat_template(build_messages(1), add_generation_prompt=True)
    engine = TransformersEngine(qwen)
    assert engine._prompt(2).endswith("assistant\n")
    assert "<think>" in engine._prompt(2)  # the instruction still names it


def test_the_checkpoints_own_settings_are_left_as_they_were(qwen: Checkpoint) -> None:
    own = qwen.model.generation_config
    ask(judge(qwen), [read_picture(QUERIES[0])])
    assert qwen.model.generation_config is own
    assert own.repetition_penalty == 1.3


def test_placeholders_and_special_tokens_can_never_be_written(checkpoint: Checkpoint) -> None:
    tokenizer, never = checkpoint.processor.tokenizer, TransformersEngine(checkpoint).grammar.never
    names = [
        name for name in tokenizer.get_added_vocab() if re.search(r"image|video|vision|row_|global|im_start", name)
    ]
    assert names
    assert all(never[tokenizer.convert_tokens_to_ids(name)] == -torch.inf for name in names)
    assert (never == 0).sum() > 300


def test_too_little_memory_is_one_line(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError

    engine = judge(checkpoint)
    monkeypatch.setattr(checkpoint.model, "generate", fail)
    monkeypatch.setattr(checkpoint.model, "get_output_embeddings", lambda: fail)
    with pytest.raises(MachineError, match="lower batch_size or max_pixels"):
        ask(engine, [read_picture(QUERIES[0])])


def test_unusable_options(qwen: Checkpoint, folder_of: Callable[[str], Path]) -> None:
    for options in ({"votes": 0}, {"batch_size": 0}, {"reasoning_tokens": 0}, {"temperature": 0.0}):
        with pytest.raises(InputError):
            TransformersEngine(qwen, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="backbone"):
        load_model(str(folder_of("qwen2.5-vl")), backbone="x")


def test_options_reach_the_engine(folder_of: Callable[[str], Path]) -> None:
    made = load_model(str(folder_of("llava")), votes=3, max_pixels=56 * 56)
    assert isinstance(made, VlmJudge)
    assert isinstance(made.engine, TransformersEngine)
    assert (made.engine.votes, made.engine.checkpoint.max_pixels) == (3, 56 * 56)
    assert made.name == f"{folder_of('llava')} (3 votes)"


def test_transformers_is_imported_only_when_a_checkpoint_is_loaded() -> None:
    code = "import sys, lad_reasoner.judges.vlm.transformers_engine; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_prompt() -> None:
    assert QUESTION == "Can you find any anomaly in the query image compared to the reference?"  # the paper's
    assert QUESTION in build_prompt(1)
    assert "first 3 images" in build_prompt(3)
    assert "compared to the references?" in build_prompt(3)
    for references in (1, 3):
        (message,) = build_messages(references)
        assert [part["type"] for part in message["content"]] == ["image"] * (references + 1) + ["text"]
        assert all(tag in build_prompt(references) for tag in ("<think>", "</think>", "<answer>", "</answer>"))
    with pytest.raises(ValueError, match="at least one reference"):
        build_prompt(0)


def test_the_budget_of_a_reasoning_is_the_one_it_was_trained_with(qwen: Checkpoint, tmp_path: Path) -> None:
    assert TransformersEngine(qwen).reasoning_tokens == REASONING_TOKENS
    folder = tiny.save_qwen(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "reasoning_tokens": 31}))
    assert TransformersEngine(load_checkpoint(folder)).reasoning_tokens == 31
    assert TransformersEngine(load_checkpoint(folder), reasoning_tokens=12).reasoning_tokens == 12


def test_a_prompt_longer_than_the_context_names_the_references_that_fit(
    qwen: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qwen.model.config.get_text_config(), "max_position_embeddings", 400)
    model, query = judge(qwen), read_picture(tiny.picture(1))
    with pytest.raises(
        InputError, match=r"60 references .* its context has 400; give at most \d+ references"
    ) as caught:
        ask(model, [query], references=60)
    most = int(str(caught.value).split("at most ")[1].split()[0])
    with pytest.raises(InputError, match=f"give at most {most} references"):
        ask(model, [query], references=most + 1)
    assert parse_response(ask(model, [query], references=most)[0].response).structured
    monkeypatch.setattr(qwen.model.config.get_text_config(), "max_position_embeddings", 60)
    with pytest.raises(InputError, match="its context has 60; give a lower max_pixels"):
        ask(model, [query])


def test_too_many_references_are_refused_before_a_query_is_there(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint.model.config.get_text_config(), "max_position_embeddings", 400)
    many = [read_picture(tiny.picture(100 + number)) for number in range(60)]
    inspector, fitting = (Inspector(judge(checkpoint), [shown.image for shown in some]) for some in (many, many[:2]))

    def look(*_: object, **__: object) -> None:
        raise AssertionError("the model was asked")

    with monkeypatch.context() as patch:
        patch.setattr(type(checkpoint.model), "forward", look)
        with pytest.raises(InputError, match=r"60 references .* give at most \d+ references"):
            inspector.notes()
        fitting.notes()


def test_without_a_reasoning_only_the_answer_is_the_models(checkpoint: Checkpoint) -> None:
    model = judge(checkpoint, reasoning="never")
    pictures = [read_picture(image) for image in QUERIES]
    judgements = ask(model, pictures)
    assert model.name == f"{checkpoint.name} (reasoning never)"
    assert {judgement.reasoning for judgement in judgements} == {"..."}
    assert len({judgement.score for judgement in judgements}) == len(QUERIES)
    for picture, judgement in zip(pictures, judgements, strict=True):
        assert (judgement.answer == "yes") == (judgement.score >= 0.5)  # type: ignore[operator]
        assert ask(model, [picture])[0].score == pytest.approx(judgement.score, abs=1e-3)


def test_reasons_are_written_for_the_queries_that_are_flagged_at_first_sight(checkpoint: Checkpoint) -> None:
    pictures = [read_picture(image) for image in QUERIES]
    first, always = ask(judge(checkpoint, reasoning="never"), pictures), ask(judge(checkpoint), pictures)
    limit = min(0.5, sorted(judgement.score or 0 for judgement in first)[2])
    flagged = ask(judge(checkpoint, reasoning="flagged", flag_limit=limit), pictures)
    reasoned = [judgement.reasoning != "..." for judgement in flagged]
    assert reasoned == [judgement.score >= limit for judgement in first]  # type: ignore[operator]
    assert sum(reasoned) > 0
    for own, glance, whole, has_reasons in zip(flagged, first, always, reasoned, strict=True):
        expected = whole if has_reasons else glance
        assert own.response == expected.response
        assert own.score == pytest.approx(expected.score, abs=1e-3)


def test_what_is_not_flagged_is_good() -> None:
    engine = TransformersEngine(load_checkpoint("micro"), reasoning="flagged", flag_limit=0.5, reasoning_tokens=12)
    pairs = [[tiny.picture(100, 224, 224), tiny.picture(seed, 224, 224)] for seed in range(8)]
    for own in engine.respond(pairs):
        if "..." in own.text:
            assert own.score < 0.5
            assert parse_response(own.text).answer == "no"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reasoning": "often"}, "reasoning often: must be always, flagged, never"),
        ({"reasoning": "flagged", "flag_limit": 0.7}, "flag_limit 0.7: must be from 0 to 0.5"),
        ({"reasoning": "never", "votes": 3}, "votes are about reasonings"),
    ],
)
def test_unusable_reasoning(options: dict[str, Any], message: str, qwen: Checkpoint) -> None:
    with pytest.raises(InputError, match=message):
        TransformersEngine(qwen, **options)
