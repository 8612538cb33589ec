"""The engine vLLM, in this process: for GPUs, where its paged attention serves many queries at once.

    judge = load_judge("Qwen/Qwen2.5-VL-3B-Instruct", engine="vllm")

Prompt, pictures, grammar and budget of the reasoning are those of `TransformersEngine`. What was read of the references
is kept by vLLM itself (prefix caching). The grammar is sent as a regular expression, which cannot count tokens: a
reasoning may have as many characters as its budget of tokens has in English text. One that is longer in tokens is cut
off, and its answer is asked for in a second pass, as decoding in this process forces it. The score is that of the
answer's token, from vLLM's log-probabilities.

vLLM is an optional package (extra `vllm`), and reads weights and pictures itself. Its kernels round in another order
than Transformers': texts may differ where two words are nearly as probable.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

from PIL import Image

from lad_reasoner.errors import InputError, MachineError, require
from lad_reasoner.judges.completions import score_answer
from lad_reasoner.judges.vlm.checkpoint import Checkpoint, load_processor
from lad_reasoner.judges.vlm.decoding import Reply, soften
from lad_reasoner.judges.vlm.grammar import ANSWER, END, FILLER, response_regex
from lad_reasoner.judges.vlm.transformers_engine import write_prompt
from lad_reasoner.prompts import REASONING_TOKENS

EXTRA = "vllm"
BATCH_SIZE = 64  # pairs of one call; vLLM itself decides how many it runs together
TAG_TOKENS = 48  # at most, for the tags and the answer, however a tokenizer cuts them
ALTERNATIVES = 20  # tokens at the answer: vLLM gives no more unless told
ANSWER_REGEX = "(yes|no)</answer>"

Pictures = Sequence[Image.Image]  # references first, the query last


class VllmEngine:
    """A checkpoint in vLLM; see `TransformersEngine` for `respond`.

    `dtype` is vLLM's own word (`auto`: that of the file). InputError for a checkpoint that cannot be loaded,
    MissingExtraError without vLLM.
    """

    def __init__(
        self,
        name: str,
        *,
        max_pixels: int | None = None,
        reasoning_tokens: int | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
    ) -> None:
        self.vllm = require("vllm", EXTRA)
        checkpoint, folder = load_processor(name, max_pixels=max_pixels)
        self.checkpoint: Checkpoint = checkpoint
        self.name = f"{checkpoint.name} (vllm)"
        self.notes: tuple[str, ...] = (checkpoint.scope,) if checkpoint.scope else ()
        if reasoning_tokens is None:
            reasoning_tokens = checkpoint.reasoning_tokens or REASONING_TOKENS
        if min(reasoning_tokens, batch_size or 1) < 1:
            raise InputError("reasoning_tokens and batch_size must be at least 1")
        self.reasoning_tokens, self.batch_size = reasoning_tokens, batch_size or BATCH_SIZE
        try:
            self.llm = self.vllm.LLM(
                model=str(folder),
                dtype=dtype or "auto",
                enable_prefix_caching=True,
                trust_remote_code=False,
                mm_processor_kwargs=_budget(checkpoint, max_pixels),
            )
        except (ValueError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            raise MachineError(f"{name}: vLLM cannot load it ({reason}); leave out -M engine=vllm") from None
        self.parameters: int | None = None  # vLLM keeps the weights in a process of its own
        self._lock = threading.Lock()

    def respond(self, pairs: Sequence[Pictures]) -> list[Reply]:
        """One reply for each pair, in order. Raises `InputError` if the model cannot take so many pictures."""
        prompts = [self._prompt(pictures) for pictures in pairs]
        with self._lock:
            outputs = self._generate(prompts, response_regex(self.reasoning_tokens), self.reasoning_tokens + TAG_TOKENS)
            replies = [read_output(output.outputs[0]) for output in outputs]
            unfinished = [number for number, reply in enumerate(replies) if reply is None]
            begun = [_cut(outputs[number].outputs[0].text) for number in unfinished]
            continued = [
                {**prompts[number], "prompt": prompts[number]["prompt"] + text}
                for number, text in zip(unfinished, begun, strict=True)
            ]
            endings = self._generate(continued, ANSWER_REGEX, TAG_TOKENS) if continued else []
        for number, text, ending in zip(unfinished, begun, endings, strict=True):
            written = len(outputs[number].outputs[0].token_ids)
            reply = read_output(ending.outputs[0], text)
            replies[number] = replace(reply, tokens=reply.tokens + written, forced=True) if reply else None
        finished = [reply for reply in replies if reply is not None]
        if len(finished) < len(pairs):
            raise MachineError(f"{self.name}: vLLM gave no answer under the response grammar; leave out -M engine=vllm")
        temperature = self.checkpoint.score_temperature
        return [replace(reply, score=soften(reply.score, temperature)) for reply in finished]

    def check_references(self, references: Pictures) -> None:
        """Nothing is refused before the first query: vLLM counts the tokens of a prompt when it gets it."""

    def _prompt(self, pictures: Pictures) -> dict[str, Any]:
        fitted = [self.checkpoint.fit(image) for image in pictures]
        return {"prompt": self._text(len(pictures)), "multi_modal_data": {"image": fitted}}

    @cache  # noqa: B019 - an engine lives as long as its process
    def _text(self, pictures: int) -> str:
        return write_prompt(self.checkpoint.processor, pictures)

    def _generate(self, prompts: Sequence[dict[str, Any]], regex: str, tokens: int) -> list[Any]:
        options = {"temperature": 0.0, "max_tokens": tokens, "logprobs": ALTERNATIVES, "skip_special_tokens": False}
        structured = require("vllm.sampling_params", EXTRA).StructuredOutputsParams(regex=regex)
        sampling = self.vllm.SamplingParams(**options, structured_outputs=structured)
        try:
            return list(self.llm.generate(list(prompts), sampling, use_tqdm=False))
        except ValueError as error:  # a prompt that is longer than the context, or more pictures than it takes
            raise InputError(f"{self.name}: {' '.join(str(error).split())[:300]}; give a lower max_pixels") from None


def _budget(checkpoint: Checkpoint, max_pixels: int | None) -> dict[str, Any] | None:
    """vLLM makes its own picture processor; a budget that stands in ours must stand in that one, too."""
    if max_pixels is None or checkpoint.max_pixels is not None:
        return None
    size = checkpoint.processor.image_processor.size
    return {"size": {"shortest_edge": size["shortest_edge"], "longest_edge": size["longest_edge"]}}


def _cut(text: str) -> str:
    """The beginning of a response that was cut off, up to its answer: a half-written tag at its end is left out."""
    reasoning = text.removeprefix("<think>").partition("<")[0]
    return f"<think>{reasoning if reasoning.strip() else FILLER}{END}<answer>"


def read_output(output: Any, before: str = "") -> Reply | None:
    """The reply in one of vLLM's outputs, of which `before` was part of the prompt; None if it has no answer."""
    written = []
    for identity, alternatives in zip(output.token_ids, output.logprobs, strict=True):
        top = [SimpleNamespace(token=each.decoded_token, logprob=each.logprob) for each in alternatives.values()]
        chosen = alternatives[identity]
        written.append(SimpleNamespace(token=chosen.decoded_token, logprob=chosen.logprob, top_logprobs=top))
    asked = SimpleNamespace(token=before, logprob=0.0, top_logprobs=[])
    tokens: Any = [asked, *written]  # with the fields of a service's tokens
    # The last token of a finished one ends the text, and is no part of it.
    score = score_answer(tokens) if output.finish_reason == "stop" else None
    if score is None:
        return None
    # The spellings of a word count together, and the answer is that of the score, as in this process.
    text = (before + output.text).rpartition(ANSWER)[0] + f"{ANSWER}{'yes' if score >= 0.5 else 'no'}</answer>"
    return Reply(text, score, len(written) - 1)
