"""The engine runs a vision-language model; the judge turns references and a query into its prompt.

`respond(pairs)` gives one `Reply` of the response grammar for each pair of pictures (references first, the query last);
`name`, `batch_size` and `notes` are those of the judge (see `judge.py`). The answer is greedy, or a vote over several
sampled reasonings, whose score is the mean of theirs. The paper does not say how it decodes; greedy is ours.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from PIL import Image

from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.judges.vlm.checkpoint import Checkpoint
from lad_reasoner.judges.vlm.decoding import Reply, StructuredDecoding, soften
from lad_reasoner.judges.vlm.generation import Generator, why_not
from lad_reasoner.judges.vlm.grammar import make_grammar
from lad_reasoner.prompts import REASONING_TOKENS, build_messages
from lad_reasoner.text import listed

BATCH_SIZE = 8  # responses that are generated together
SMALL, SMALL_BATCH_SIZE = 100_000_000, 32  # weights of a model that spends its time around its products, not in them
# Score at first sight from which a reasoning is written: far below 0.5, so that few defects are missed.
FLAG_LIMIT = 0.1

Reasoning = Literal["always", "flagged", "never"]
Pictures = Sequence[Image.Image]  # references first, the query last


class TransformersEngine:
    """A checkpoint in this process.

    `batch_size` responses are generated together, by default more of a small model. With `votes` above one, that many
    are sampled at `temperature` with a fixed `seed`; each answers as its score says, and their mean is the score. The
    votes of a pair have batches of their own, so that a pair gets the same votes in any batch. The name then includes
    the number of votes, since it is another system.

    `reasoning` "never" reads the score without a reasoning, in one pass; "flagged" does so first, and writes a
    reasoning, with the answer after it, only for scores from `flag_limit` on. The name then says so.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        votes: int = 1,
        reasoning_tokens: int | None = None,
        batch_size: int | None = None,
        reasoning: Reasoning = "always",
        flag_limit: float = FLAG_LIMIT,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        if reasoning_tokens is None:
            reasoning_tokens = checkpoint.reasoning_tokens or REASONING_TOKENS
        self.parameters = sum(weight.numel() for weight in checkpoint.model.parameters())
        if batch_size is None:
            batch_size = SMALL_BATCH_SIZE if self.parameters < SMALL else BATCH_SIZE
        if min(votes, reasoning_tokens, batch_size) < 1:
            raise InputError("votes, reasoning_tokens and batch_size must be at least 1")
        if temperature <= 0:
            raise InputError("temperature must be above 0; one vote is always greedy")
        if reasoning not in get_args(Reasoning):
            raise InputError(f"reasoning {reasoning}: must be {listed(get_args(Reasoning))}")
        if not 0 <= flag_limit <= 0.5:
            raise InputError(f"flag_limit {flag_limit:g}: must be from 0 to 0.5, the limit of the answer itself")
        if reasoning != "always" and votes > 1:
            raise InputError(f"reasoning {reasoning}: votes are about reasonings; leave votes out")
        self.name = checkpoint.name if votes == 1 else f"{checkpoint.name} ({votes} votes)"
        if reasoning != "always":
            self.name += f" (reasoning {reasoning})"
        self.reasoning, self.flag_limit = reasoning, flag_limit
        self.checkpoint = checkpoint
        self.notes: tuple[str, ...] = (checkpoint.scope,) if checkpoint.scope else ()
        self.votes, self.reasoning_tokens, self.responses_at_once = votes, reasoning_tokens, batch_size
        self.batch_size = batch_size if votes == 1 else 1  # pairs
        self.temperature, self.seed = temperature, seed
        self.grammar = make_grammar(checkpoint)
        reason = why_not(checkpoint.model)
        self.generator = None if reason else Generator(checkpoint)
        if reason:
            self.notes += (f"the references are read again for every query: {reason} cannot keep what it has read",)
        self._prompts: dict[int, str] = {}
        # Generation temporarily changes the model's settings and the random state: one thread at a time.
        self._lock = threading.Lock()

    def respond(self, pairs: Sequence[Pictures]) -> list[Reply]:
        """One reply for each pair, in order. Raises `InputError` if the model cannot take so many pictures."""
        with self._lock:
            if self.votes > 1:
                replies = [count_votes(self._vote(pair)) for pair in pairs]
            else:
                replies = self._respond_in_batches(pairs, sample=False)
            # After the votes are counted, so that no temperature changes an answer.
            return [self._soften(reply) for reply in replies]

    def _soften(self, reply: Reply) -> Reply:
        """With the score that the checkpoint's temperature makes of it."""
        temperature = self.checkpoint.score_temperature
        return reply if temperature == 1 else replace(reply, score=soften(reply.score, temperature))

    def _vote(self, pair: Pictures) -> list[Reply]:
        """The sampled replies to a pair."""
        device = self.checkpoint.model.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            return self._respond_in_batches([pair] * self.votes, sample=True)

    def _respond_in_batches(self, pairs: Sequence[Pictures], *, sample: bool) -> list[Reply]:
        size = self.responses_at_once
        # Pairs of the same size fill up a batch without padding; a pair's reply does not depend on its neighbours.
        order = sorted(range(len(pairs)), key=lambda number: sum(_pixels(image) for image in pairs[number]))
        replies: dict[int, Reply] = {}
        for start in range(0, len(pairs), size):
            chosen = order[start : start + size]
            made = self._generate([pairs[number] for number in chosen], sample=sample)
            replies.update(zip(chosen, made, strict=True))
        return [replies[number] for number in range(len(pairs))]

    @torch.inference_mode()
    def _generate(self, pairs: Sequence[Pictures], *, sample: bool) -> list[Reply]:
        decoding = StructuredDecoding(self.grammar, self.reasoning_tokens, samples_answer=False)
        glance = StructuredDecoding(self.grammar, self.reasoning_tokens, reasons=False)
        try:
            if self.generator is None:
                return self._generate_apart(pairs, decoding, glance, sample=sample)
            first = decoding if self.reasoning == "always" else glance
            batch = self.generator.begin(
                pairs,
                first.beginning,
                self._prompt,
                lambda pictures, lengths: self._check_length(pictures, lengths, decoding.max_new_tokens),
                room=decoding.max_new_tokens,
            )
            batch.write(first, self.temperature if sample else None)
            flagged = self._find_flagged(first)
            if flagged:
                batch.keep(flagged)
                batch.write(decoding)
        except torch.OutOfMemoryError:
            raise MachineError(
                f"{self.name}: not enough memory for {len(pairs)} pairs at once; lower batch_size or max_pixels"
            ) from None
        return _replace(first.replies(), flagged, decoding)

    def _find_flagged(self, glance: StructuredDecoding) -> list[int]:
        """The rows that need a reasoning after the answers at first sight."""
        if self.reasoning != "flagged":
            return []
        return [number for number, row in enumerate(glance.rows) if row.score >= self.flag_limit]

    def _generate_apart(
        self, pairs: Sequence[Pictures], decoding: StructuredDecoding, glance: StructuredDecoding, *, sample: bool
    ) -> list[Reply]:
        """Generate by Transformers' own loop, each pair with all of its prompt."""
        first = decoding if self.reasoning == "always" else glance
        self._run_transformers(pairs, first, sample=sample)
        flagged = self._find_flagged(first)
        if flagged:
            self._run_transformers([pairs[number] for number in flagged], decoding, sample=sample)
        return _replace(first.replies(), flagged, decoding)

    def _run_transformers(self, pairs: Sequence[Pictures], decoding: StructuredDecoding, *, sample: bool) -> None:
        import transformers

        make_config: Any = transformers.GenerationConfig
        model = self.checkpoint.model
        config = make_config(
            do_sample=sample,
            temperature=self.temperature if sample else None,
            top_k=0 if sample else None,
            max_new_tokens=decoding.max_new_tokens,
            eos_token_id=list(self.grammar.ends),
            pad_token_id=self.checkpoint.processor.tokenizer.pad_token_id,
        )
        inputs = self._prepare(pairs)
        self._check_length(list(map(len, pairs)), inputs["attention_mask"].sum(dim=1).tolist(), decoding.max_new_tokens)
        with _only(model, config):
            model.generate(**inputs, generation_config=config, logits_processor=[decoding])

    def _prepare(self, pairs: Sequence[Pictures]) -> Any:
        checkpoint = self.checkpoint
        prompts = [self._prompt(len(pair)) for pair in pairs]
        bos = checkpoint.processor.tokenizer.bos_token
        try:
            inputs = checkpoint.processor(
                text=prompts,
                images=[[checkpoint.fit(image) for image in pair] for pair in pairs],
                padding=True,
                return_tensors="pt",
                # Some templates begin with this token; a second one must not be added.
                add_special_tokens=not (bos and prompts[0].startswith(bos)),
            )
        except ValueError as error:
            raise InputError(f"{self.name}: cannot take these pictures ({error})") from None
        return inputs.to(checkpoint.model.device, dtype=checkpoint.model.dtype)

    def check_references(self, references: Pictures) -> None:
        """Raise InputError if these references and a query, as large as the last of them, do not fit into the context.

        Nothing is computed with the model.
        """
        decoding = StructuredDecoding(self.grammar, self.reasoning_tokens, samples_answer=False)
        pictures = [*references, references[-1]]
        with self._lock:
            length = int(self._prepare([pictures])["attention_mask"].sum())
        self._check_length([len(pictures)], [length], decoding.max_new_tokens)

    def _check_length(self, pictures: Sequence[int], lengths: Sequence[int], new_tokens: int) -> None:
        """Raise InputError if a prompt and its response are longer than the context that the model was made for.

        `pictures` of each prompt, and its `lengths` in tokens.
        """
        context = getattr(self.checkpoint.model.config.get_text_config(), "max_position_embeddings", None)
        for count, length in zip(pictures, lengths, strict=True):
            if not isinstance(context, int) or length + new_tokens <= context:
                continue
            text = self._text_tokens(count)
            each = math.ceil((length - text) / count)  # tokens of one picture, beside its place in the text
            fitting = count - 1
            while fitting and self._text_tokens(fitting + 1) + each * (fitting + 1) + new_tokens > context:
                fitting -= 1
            mend = f"give at most {fitting} references, or" if fitting else "give"
            raise InputError(
                f"{self.name}: {count - 1} references and a query are {length} tokens, the response up to "
                f"{new_tokens}, and its context has {context}; {mend} a lower max_pixels"
            )

    def _text_tokens(self, pictures: int) -> int:
        """Tokens of the prompt, with one for each picture."""
        return len(self.checkpoint.processor.tokenizer(self._prompt(pictures))["input_ids"])

    def _prompt(self, pictures: int) -> str:
        if pictures not in self._prompts:
            self._prompts[pictures] = write_prompt(self.checkpoint.processor, pictures)
        return self._prompts[pictures]


def write_prompt(processor: Any, pictures: int) -> str:
    """The text before the response, with a place for each of the pictures: references first, the query last."""
    messages = build_messages(pictures - 1)
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    # Templates of reasoning models end with the opening tag, which the grammar writes itself.
    return re.sub(r"<think>\s*\Z", "", text)


@contextmanager
def _only(model: Any, config: Any) -> Iterator[None]:
    """Generate with this config alone; the checkpoint's own would add its temperature or repetition penalty."""
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


def _replace(replies: list[Reply], numbers: Sequence[int], decoding: StructuredDecoding) -> list[Reply]:
    """The replies, those of these numbers replaced by the ones of `decoding`."""
    for number, reply in zip(numbers, decoding.replies(), strict=True) if numbers else ():
        replies[number] = reply
    return replies


def _pixels(image: Image.Image) -> int:
    return image.width * image.height


def count_votes(replies: Sequence[Reply]) -> Reply:
    """The mean of the scores, and the first response that answers as it says; 0.5 counts as yes, like any score.

    Each reply answers as its own score says, so there always is one.
    """
    score = sum(reply.score for reply in replies) / len(replies)
    chosen = next(reply for reply in replies if (reply.score >= 0.5) == (score >= 0.5))
    return Reply(chosen.text, score, sum(reply.tokens for reply in replies), chosen.forced)
