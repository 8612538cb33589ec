"""The response grammar for one tokenizer: which tokens end a reasoning, and which may never be written.

Tags are matched in decoded text, because tokenizers cut them as they like: into several tokens, or merged with their
neighbours (`.</`, `><`). Forced tokens are the tokenizer's own encoding of the whole ending, as in training data. A
reasoning may not end before something of it is visible (answers.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from lad_reasoner.answers import TAGS, is_visible, parse_response
from lad_reasoner.errors import InputError
from lad_reasoner.judges.vlm.checkpoint import Checkpoint

END, ANSWER = "</think>", "<answer>"
CHARACTERS = 4  # of English text in a token
FILLER = "..."  # the reasoning of a model that wrote nothing visible

_TAG_STARTS = frozenset(tag[:length] for tag in TAGS for length in range(1, len(tag)))  # `<`, `</`, `</t`, …
_LONGEST_START = max(map(len, _TAG_STARTS))
_MARKER = re.compile(r"<.*>|\[.*\]", re.DOTALL)  # added tokens such as <|image_pad|>, <tool_call>, [INST]
_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")  # how SentencePiece spells a byte outside its vocabulary


def response_regex(budget: int) -> str:
    """A regular expression of the response grammar for vLLM's structured outputs.

    The reasoning holds no `<`, and at most the characters of `budget` tokens, the same as decoding in this process
    allows. One of many short tokens can still be cut off.
    """
    return rf"<think>[^<]{{1,{CHARACTERS * budget}}}</think><answer>(yes|no)</answer>"


@dataclass(frozen=True)
class AnswerTokens:
    """One of the two answers in ids: the token that starts it, the tokens that follow, all tokens that mean it."""

    first: int
    rest: tuple[int, ...]
    variants: torch.Tensor  # (spellings,) ids of `yes`, ` Yes`, `YES`, …; their probabilities are summed


@dataclass(frozen=True)
class Ending:
    """The ids from the end of the reasoning up to the answer, and the two answers."""

    prefix: tuple[int, ...]
    yes: AnswerTokens
    no: AnswerTokens


@dataclass(frozen=True)
class ReasoningState:
    """Where a reasoning stands: the half-written tag at its end, and whether nothing before that is visible."""

    part: str
    blank: bool


class Grammar:
    """The response grammar for one tokenizer.

    `size` is the width of the logits. `ends` are the ids that end a text; the first of them is the one that gets
    written. `placeholders` are further ids that may never be written. Raises `InputError` when the tokenizer cannot
    write the tags.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        size: int,
        ends: Iterable[int],
        placeholders: Iterable[int] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        self.tokenizer, self.size, self.device = tokenizer, size, torch.device(device)
        self.ends = tuple(dict.fromkeys(ends))
        if not self.ends:
            raise InputError("the model names no end-of-text token; set eos_token_id in its generation_config.json")
        self.start = tuple(self._encode("<think>"))
        self.filler = tuple(self._encode(FILLER))
        # A token decoded alone may lose its leading space; behind a letter it keeps it.
        self._anchor = self._encode("x")[-1]
        self.full = self._ending(END)  # when the end tag itself is forced
        self.short = self._ending("")  # when the model has written the end tag
        self._tails = self._aligned_tails()
        self._pieces: list[str | None] = tokenizer.convert_ids_to_tokens(list(range(min(len(tokenizer), size))))
        self._texts: dict[int, str] = {}
        # Only these tokens can complete a tag, so only they are looked at in each state.
        self._closers = [token for token, piece in enumerate(self._pieces) if piece is not None and ">" in piece]
        self._forbidden: dict[ReasoningState, torch.Tensor] = {}
        self.end_ids = self._tensor([token for token in self.ends if token < size])
        self.never = self._find_never(placeholders)
        self._check()

    @cached_property
    def never_in_reasoning(self) -> torch.Tensor:
        """Additive mask (size,): `never`, and what is forbidden in a reasoning that has begun no tag."""
        mask = self.never.clone()
        mask[self.forbidden(ReasoningState("", False))] = -torch.inf
        return mask

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids, special tokens included."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def text(self, token: int) -> str:
        """The text that this token adds; a part of a character decodes to the replacement character."""
        if token not in self._texts:
            anchor = self.decode([self._anchor])
            self._texts[token] = self.decode([self._anchor, token])[len(anchor) :]
        return self._texts[token]

    def state(self, content: str) -> ReasoningState:
        """Where a reasoning with this content stands."""
        lower = content.lower()  # a tag in capitals must not be written either
        # At most one length matches: each start of a tag begins with `<` and holds no other.
        for length in range(min(_LONGEST_START, len(lower)), 0, -1):
            if lower[-length:] in _TAG_STARTS:
                return ReasoningState(content[-length:], not is_visible(content[:-length]))
        return ReasoningState("", not is_visible(content))

    def forbidden(self, state: ReasoningState) -> torch.Tensor:
        """(tokens,) ids that would break the grammar in this state: a wrong tag, or the end of an empty reasoning."""
        # There are few states: a start of a tag, as written, and a flag.
        if state not in self._forbidden:
            ids = [token for token in self._closers if not self._allowed(state, self.text(token))]
            self._forbidden[state] = self._tensor(ids)
        return self._forbidden[state]

    def closing(self, content: str) -> Ending | None:
        """The ending of a reasoning with the end tag, its prefix what is still missing; None if it has no end tag."""
        _, tag, tail = content.partition(END)
        if not tag:
            return None
        if tail in self._tails:
            return replace(self.full, prefix=self._tails[tail])  # the last token may have begun the next tag: `><`
        return self.short

    def overlap(self, ids: list[int]) -> int:
        """How many of the last ids already are the start of the full ending, token by token."""
        prefix = list(self.full.prefix)
        # Never all of the prefix: its next id is what the model's wish to end is moved to.
        for count in range(min(len(prefix) - 1, len(ids)), 0, -1):
            if ids[-count:] == prefix[:count]:
                return count
        return 0

    def _allowed(self, state: ReasoningState, text: str) -> bool:
        """Whether a token with this text may be written in this state."""
        if "\ufffd" in text and ">" in text:
            return False  # half a character glued to the end of a tag: the tag would show only when it is too late
        joined = state.part + text
        lower = joined.lower()
        tags = sum(lower.count(tag) for tag in TAGS)
        if tags == 0:
            return True
        before, tag, tail = joined.partition(END)
        if tags > 1 or not tag:
            return False  # another tag than the end tag, or the end tag in capitals
        empty = state.blank and not is_visible(before)
        return not empty and (not tail.strip() or tail in self._tails)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _ending(self, lead: str) -> Ending:
        """The lead, the answer tag, and the two answers. Raises `InputError` if the answers begin alike."""

        def together(word: str) -> list[int]:
            return self._encode(f"{lead}{ANSWER}{word}</answer>")

        def apart(word: str) -> list[int]:
            return self._encode(lead + ANSWER) + self._encode(f"{word}</answer>")

        # First as in training data; then apart, for tokenizers that merge the word with the text around it.
        for write in (together, apart):
            yes, no = write("yes"), write("no")
            differing = [place for place, pair in enumerate(zip(yes, no, strict=False)) if pair[0] != pair[1]]
            if not differing:
                continue
            split = differing[0]
            # The ids must part at the word, not before it: `r>` `yes` and `r` `>no` would measure how tags are cut.
            begun = [self.decode(ids[: split + 1]).partition(ANSWER)[2].strip() for ids in (yes, no)]
            if not all(begun):
                continue
            prefix = yes[:split]
            yes_ids, no_ids = self._spellings(write, "yes", prefix), self._spellings(write, "no", prefix)
            # A token that begins both, such as a space, says nothing about the answer.
            shared = (yes_ids & no_ids) - {yes[split], no[split]}
            return Ending(
                tuple(prefix),
                AnswerTokens(yes[split], tuple(yes[split + 1 :]), self._tensor(sorted(yes_ids - shared))),
                AnswerTokens(no[split], tuple(no[split + 1 :]), self._tensor(sorted(no_ids - shared))),
            )
        raise InputError("this tokenizer cannot write <answer>yes</answer>; the model cannot be used")

    def _spellings(self, write: Callable[[str], list[int]], word: str, prefix: list[int]) -> set[int]:
        """First tokens of all spellings of the word that follow the same prefix."""
        first_ids: set[int] = set()
        for space in ("", " ", "\n"):
            for spelling in (word, word.capitalize(), word.upper()):
                ids = write(space + spelling)
                # Where the prefix is cut otherwise, the word has no token of its own behind this prefix.
                if ids[: len(prefix)] == prefix and ids[len(prefix)] < self.size:
                    first_ids.add(ids[len(prefix)])
        return first_ids

    def _tensor(self, ids: list[int]) -> torch.Tensor:
        return torch.tensor(ids, dtype=torch.long, device=self.device)

    def _aligned_tails(self) -> dict[str, tuple[int, ...]]:
        """Text that may follow the end tag inside one token -> the ids that then complete the prefix."""
        prefix = self.full.prefix
        tails: dict[str, tuple[int, ...]] = {}
        for count in range(1, len(prefix) + 1):
            text = self.decode(prefix[:count]).lstrip()
            if text.startswith(END):
                tails.setdefault(text[len(END) :], prefix[count:])
        return tails

    def _find_never(self, placeholders: Iterable[int]) -> torch.Tensor:
        """Additive mask (size,): -inf for special tokens, markers of pictures and tools, and ids without a token."""
        # Tags may be added tokens themselves: forced tokens stay allowed.
        own = {*self.start, *self.filler}
        for ending in (self.full, self.short):
            own |= {*ending.prefix}
            for answer in (ending.yes, ending.no):
                own |= {answer.first, *answer.rest}
        never = {token for token, piece in enumerate(self._pieces) if piece is None}
        never |= {token for text, token in self.tokenizer.get_added_vocab().items() if _MARKER.fullmatch(text)}
        never |= {*self.tokenizer.all_special_ids, *placeholders, *self.ends}
        pieces = {token: piece for token, piece in enumerate(self._pieces) if piece and _BYTE_PIECE.fullmatch(piece)}
        if own & pieces.keys():
            # Bytes of a half-written character would swallow a tag that is written in bytes, too.
            never |= {token for token, piece in pieces.items() if int(piece[3:-1], 16) >= 128}
        mask = torch.zeros(self.size, device=self.device)
        mask[len(self._pieces) :] = -torch.inf  # logits are often wider than the vocabulary
        mask[[token for token in never - own if 0 <= token < self.size]] = -torch.inf
        return mask

    def _check(self) -> None:
        """Raises `InputError` unless all that is forced decodes to structured responses."""
        begun = [*self.start, *self.filler]
        for lead, ending in (([], self.full), (self._encode(END), self.short)):
            for word, answer in (("yes", ending.yes), ("no", ending.no)):
                ids = [*begun, *lead, *ending.prefix, answer.first, *answer.rest]
                if parse_response(self.decode(ids)).answer != word or max(*ids, *self.ends[:1]) >= self.size:
                    raise InputError("this tokenizer cannot write <think> and <answer>; the model cannot be used")


def make_grammar(checkpoint: Checkpoint, device: torch.device | str | None = None) -> Grammar:
    """The response grammar for a checkpoint; on its device unless another is given."""
    model, tokenizer = checkpoint.model, checkpoint.processor.tokenizer
    return Grammar(
        tokenizer,
        size=model.get_output_embeddings().weight.shape[0],  # often more than the tokenizer has
        ends=_end_ids(model, tokenizer),
        placeholders=_placeholder_ids(model.config),
        device=device or model.device,
    )


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """All ids that end a text, the one that ends a turn first; some occur twice."""
    ends: list[int] = []
    for source in (model.generation_config, tokenizer, model.config.get_text_config()):
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            ends += ids if isinstance(ids, list) else [ids]
    return ends


def _placeholder_ids(config: Any) -> list[int]:
    """Ids that stand for pictures or films, by their names in the config, such as `vision_start_token_id`."""
    names = re.compile(r"(image|video|vision|audio|boi|eoi).*(token_id|token_index)")
    return [value for name, value in config.to_dict().items() if isinstance(value, int) and names.fullmatch(name)]
