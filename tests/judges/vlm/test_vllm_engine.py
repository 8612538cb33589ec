"""vLLM as an engine: what is sent, what is read of its outputs, and, where it can be had, the same texts as ours.

The last test needs a Python with vLLM, which wants a torch of its own: LAD_VLLM_PYTHON names it. There vLLM's CPU build
answered as the engine in this process does.
"""

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lad_reasoner.answers import parse_response
from lad_reasoner.errors import InputError, MachineError, MissingExtraError
from lad_reasoner.judges import load_judge
from lad_reasoner.judges.vlm import vllm_engine
from lad_reasoner.judges.vlm.grammar import CHARACTERS, response_regex
from lad_reasoner.judges.vlm.judge import load_checkpoint_judge
from lad_reasoner.judges.vlm.vllm_engine import VllmEngine, read_output

SRC = Path(__file__).parents[3] / "src"
PYTHON = os.environ.get("LAD_VLLM_PYTHON", "")


def output(pieces: Sequence[str], alternatives: dict[str, float], finish: str = "stop") -> Any:
    """As vLLM gives it: a dictionary of token ids a place; `alternatives` to the token that is `yes` or `no`."""
    logprobs = []
    for place, piece in enumerate(pieces):
        at_answer = piece in ("yes", "no")
        words = alternatives if at_answer else {piece: 0.9}
        found = {100 * place + number: word for number, word in enumerate(dict.fromkeys((piece, *words)))}
        logprobs.append(
            {
                identity: SimpleNamespace(decoded_token=word, logprob=math.log(words.get(word, 0.01)))
                for identity, word in found.items()
            }
        )
    ids = [100 * place for place in range(len(pieces))]
    text = "".join(pieces[:-1] if finish == "stop" else pieces)
    return SimpleNamespace(text=text, token_ids=ids, logprobs=logprobs, finish_reason=finish)


WHOLE = ["<think>", "All", " there", "</th", "ink><answer>", "no", "</answer>", "<|im_end|>"]


def test_text_score_and_tokens_of_an_output() -> None:
    reply = read_output(output(WHOLE, {"no": 0.6, "yes": 0.2, " Yes": 0.1, "maybe": 0.1}))
    assert reply is not None
    assert reply.text == "<think>All there</think><answer>no</answer>"
    assert reply.score == pytest.approx(0.3 / 0.9)
    assert reply.tokens == len(WHOLE) - 1  # without the end of the text
    assert read_output(output(WHOLE[:3], {}, "length")) is None


def test_the_answer_is_that_of_all_spellings_together() -> None:
    reply = read_output(output(WHOLE, {"no": 0.4, "yes": 0.3, " Yes": 0.15}))
    assert reply is not None
    assert reply.score == pytest.approx(0.45 / 0.85)
    assert reply.text == "<think>All there</think><answer>yes</answer>"


class StandIn:
    """Takes vLLM's calls, and answers with given outputs."""

    def __init__(self, answers: Sequence[Sequence[Any]]) -> None:
        self.answers, self.calls, self.options = iter(answers), [], {}  # type: ignore[var-annotated]

    def LLM(self, **options: Any) -> Any:  # noqa: N802 - its name there
        self.options = options
        return self

    def SamplingParams(self, **fields: Any) -> Any:  # noqa: N802
        return fields

    def StructuredOutputsParams(self, *, regex: str) -> Any:  # noqa: N802
        return regex

    def generate(self, prompts: list[dict[str, Any]], sampling: dict[str, Any], use_tqdm: bool) -> list[Any]:
        assert use_tqdm is False
        self.calls.append((prompts, sampling))
        return [SimpleNamespace(outputs=[each]) for each in next(self.answers)]


def engine(monkeypatch: pytest.MonkeyPatch, answers: Sequence[Sequence[Any]], **options: Any) -> VllmEngine:
    monkeypatch.setattr(vllm_engine, "require", lambda module, extra: StandIn(answers) if module == "vllm" else made)
    made = StandIn(())
    return VllmEngine("micro", **options)


PAIR = [Image.new("RGB", (64, 48), shade) for shade in ("grey", "red")]


def test_prompt_pictures_and_grammar_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(monkeypatch, [[output(WHOLE, {"no": 0.9, "yes": 0.1})] * 2], reasoning_tokens=30)
    replies = made.respond([PAIR, PAIR])
    assert [parse_response(reply.text).answer for reply in replies] == ["no", "no"]
    assert made.llm.options["trust_remote_code"] is False and made.llm.options["enable_prefix_caching"]
    ((prompts, sampling),) = made.llm.calls
    assert [prompt["multi_modal_data"]["image"] for prompt in prompts] == [PAIR, PAIR]
    assert prompts[0]["prompt"].count("<|image_pad|>") == 2 and prompts[0]["prompt"].endswith("assistant\n")
    assert sampling["temperature"] == 0 and sampling["max_tokens"] == 30 + vllm_engine.TAG_TOKENS
    assert sampling["structured_outputs"] == response_regex(30)
    # micro's scores are softened by the temperature in its config, as in the engine in this process.
    softened = 1 / (1 + math.exp(math.log(9) / made.checkpoint.score_temperature))
    assert replies[0].score == pytest.approx(softened)


def test_the_answer_after_a_reasoning_that_was_cut_off_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = output(["<think>", "All", " the", "</th"], {}, "length")
    ending = output(["yes", "</answer>", "<|im_end|>"], {"yes": 0.75, "no": 0.25})
    made = engine(monkeypatch, [[output(WHOLE, {"no": 0.9, "yes": 0.1}), cut], [ending]])
    first, second = made.respond([PAIR, PAIR])
    assert not first.forced and second.forced
    assert second.text == "<think>All the</think><answer>yes</answer>"
    assert second.score > 0.5 and second.tokens == 4 + 2
    prompts, sampling = made.llm.calls[1]
    assert len(prompts) == 1 and prompts[0]["prompt"].endswith("assistant\n<think>All the</think><answer>")
    assert re.fullmatch(sampling["structured_outputs"], "no</answer>")


def test_a_reasoning_without_a_word_gets_some(monkeypatch: pytest.MonkeyPatch) -> None:
    ending = output(["no", "</answer>", "<|im_end|>"], {"no": 0.75, "yes": 0.25})
    made = engine(monkeypatch, [[output(["<think>", " ", " "], {}, "length")], [ending]])
    assert made.respond([PAIR])[0].text == "<think>...</think><answer>no</answer>"
    silent = engine(monkeypatch, [[output(["<think>", "a"], {}, "length")], [output(["ye"], {}, "length")]])
    with pytest.raises(MachineError, match=r"micro \(vllm\): vLLM gave no answer .* leave out -M engine=vllm"):
        silent.respond([PAIR])


def test_a_budget_of_pixels_reaches_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine(monkeypatch, ()).llm.options["mm_processor_kwargs"] is None
    size = engine(monkeypatch, (), max_pixels=30_000).llm.options["mm_processor_kwargs"]["size"]
    assert size["longest_edge"] == 30_000


def test_it_is_named_with_its_engine_and_refuses_what_it_does_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine(monkeypatch, ()).name == "micro (vllm)"
    with pytest.raises(InputError, match="engine vllm: does not take votes, reasoning as given; leave it out"):
        load_judge("micro", engine="vllm", votes=3, reasoning="never")
    with pytest.raises(InputError, match="engine=fast: Input should be 'transformers' or 'vllm'"):
        load_judge("micro", engine="fast")
    with pytest.raises(InputError, match="engine fast: must be transformers, vllm"):
        load_checkpoint_judge("micro", engine="fast")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="reasoning_tokens and batch_size must be at least 1"):
        engine(monkeypatch, (), reasoning_tokens=0)


def test_the_extra_is_named_where_vllm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"vllm is not installed; run: pip install .*\[vllm\]"):
        load_judge("micro", engine="vllm")


SCRIPT = """
import json, sys
from lad_reasoner.files.pictures import read_picture
from lad_reasoner.judge import PicturePair
from lad_reasoner.judges import load_judge
from lad_reasoner.miniloco import EVALUATION, draw_picture

def draw(product, split, kind, number):
    return read_picture(draw_picture(product, split, kind, number, size=224, seed=5).image)

if __name__ == "__main__":
    pairs = []
    for number, product in enumerate(EVALUATION):
        reference = draw(product, "train", "good", 0)
        pairs += [PicturePair((reference,), draw(product, "test", kind, number)) for kind in ("good", "logical")]
    answers = {}
    for tokens in (None, 12):
        judge = load_judge("micro", reasoning_tokens=tokens, **json.loads(sys.argv[1]))
        answers[str(tokens)] = [(each.response, each.score, each.tokens) for each in judge.judge(pairs)]
        if "engine" not in json.loads(sys.argv[1]):
            continue
        del judge
    print(json.dumps(answers))
"""


def ask(python: str, **options: Any) -> dict[str, list[Any]]:
    """The answers of micro in a process of this Python."""
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_LOGGING_LEVEL": "ERROR"}
    environment = {**os.environ, **settings, "PYTHONPATH": str(SRC)}
    command = [python, "-c", SCRIPT, json.dumps(options)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr[-2000:]
    answers: dict[str, list[Any]] = json.loads(run.stdout.splitlines()[-1])
    return answers


@pytest.mark.slow  # two starts of vLLM
@pytest.mark.skipif(not PYTHON, reason="no Python with vLLM: LAD_VLLM_PYTHON is not set")
def test_vllm_writes_what_the_engine_in_this_process_writes() -> None:
    theirs, ours = ask(PYTHON, engine="vllm", dtype="float32"), ask(sys.executable)
    for (text, score, tokens), (own_text, own_score, own_tokens) in zip(theirs["None"], ours["None"], strict=True):
        assert (text, tokens) == (own_text, own_tokens)
        assert score == pytest.approx(own_score, abs=0.1)  # float32 in another order, made smaller by the temperature
    for text, _, _ in theirs["12"]:
        response = parse_response(text)
        assert response.structured and len(response.reasoning) <= 12 * CHARACTERS
