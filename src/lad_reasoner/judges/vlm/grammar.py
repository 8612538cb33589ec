"""What a tokenizer can write, seen through the response grammar: which tokens end the reasoning, which never may.

Everything is matched on decoded text, because tokenizers cut the tags as they like: into several tokens, or merged with
their neighbours (`.</`, `><`). What is forced is the tokenizer's own way of writing the whole end, as it would stand in
training data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from lad_reasoner.answers import TAGS, parse_response
from lad_reasoner.errors import InputError
from lad_reasoner.judges.vlm.checkpoint import Checkpoint

END, ANSWER = "</think>", "<answer>"
FILLER = "..."  # the reasoning of a model that wrote nothing but white space

_PARTS = frozenset(tag[:length] for tag in TAGS for length in range(1, len(tag)))
_LONGEST_PART = max(map(len, _PARTS))
_MARKER = re.compile(r"<.*>|\[.*\]", re.DOTALL)
_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


@dataclass(frozen=True)
class Choice:
    """One of the two answers: the token that starts it, what follows that, and all tokens that mean it (ids)."""

    first: int
    rest: tuple[int, ...]
    variants: torch.Tensor


@dataclass(frozen=True)
class Ending:
    """The ids up to the answer, and the two answers."""

    prefix: tuple[int, ...]
    yes: Choice
    no: Choice


@dataclass(frozen=True)
class State:
    """Where a reasoning stands: the half-written tag at its end, and whether all before that is white space."""

    part: str
    blank: bool


@dataclass(frozen=True)
class Close:
    """The reasoning is over: what is still to be written before the answer, and the answers."""

    prefix: tuple[int, ...]
    ending: Ending


class Grammar:
    """The response grammar for one tokenizer.

    `size` is the width of the logits, `ends` are the ids that end a text, the first of them is the one that gets
    written; `placeholders` are further ids that may never be written. Raises `InputError` when the tokenizer cannot
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
        self._anchor = self._encode("x")[-1]
        self.full = self._ending(END)
        self.short = self._ending("")
        self._tails = self._aligned_tails()
        self._pieces: list[str | None] = tokenizer.convert_ids_to_tokens(list(range(min(len(tokenizer), size))))
        self._texts: dict[int, str] = {}
        self._closers = [token for token, piece in enumerate(self._pieces) if piece is not None and ">" in piece]
        self._forbidden: dict[State, torch.Tensor] = {}
        self.end_ids = self._tensor([token for token in self.ends if token < size])
        self.never = self._find_never(placeholders)
        self._check()

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids, special tokens included."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def text(self, token: int) -> str:
        """What this token adds to a text; the replacement character stands for a part of a character."""
        if token not in self._texts:
            alone = self.decode([self._anchor])
            self._texts[token] = self.decode([self._anchor, token])[len(alone) :]
        return self._texts[token]

    def state(self, content: str) -> State:
        """Where a reasoning with this content stands."""
        lower = content.lower()
        for length in range(min(_LONGEST_PART, len(lower)), 0, -1):
            if lower[-length:] in _PARTS:
                return State(content[-length:], not content[:-length].strip())
        return State("", not content.strip())

    def forbidden(self, state: State) -> torch.Tensor:
        """The ids that would make the response unreadable here: a foreign tag, or the end of an empty reasoning."""
        if state not in self._forbidden:
            ids = [token for token in self._closers if not self._allowed(state, self.text(token))]
            self._forbidden[state] = self._tensor(ids)
        return self._forbidden[state]

    def close(self, content: str) -> Close | None:
        """How to go on if this reasoning holds the end tag; None if it does not."""
        position = content.find(END)
        if position < 0:
            return None
        tail = content[position + len(END) :]
        if tail in self._tails:
            return Close(self._tails[tail], self.full)
        return Close(self.short.prefix, self.short)

    def overlap(self, ids: list[int]) -> int:
        """How many of the last ids already are the start of the full ending, token by token."""
        prefix = list(self.full.prefix)
        return next((n for n in range(min(len(prefix) - 1, len(ids)), 0, -1) if ids[-n:] == prefix[:n]), 0)

    def _allowed(self, state: State, text: str) -> bool:
        if "\ufffd" in text and ">" in text:
            return False  # half a character glued to the end of a tag: the tag would show only when it is too late
        joined = state.part + text
        found = [tag for tag in TAGS for _ in range(joined.lower().count(tag))]
        if not found:
            return True
        position = joined.find(END)
        if found != [END] or position < 0:
            return False
        tail = joined[position + len(END) :]
        empty = state.blank and not joined[:position].strip()
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

        for write in (together, apart):
            yes, no = write("yes"), write("no")
            split = next((n for n, (a, b) in enumerate(zip(yes, no, strict=False)) if a != b), -1)
            # The ids must part at the word, not before it: `r>` `yes` and `r` `>no` would measure how tags are cut.
            parted = [self.decode(ids[: split + 1]).partition(ANSWER)[2].strip() for ids in (yes, no)]
            if split >= 0 and all(parted):
                meanings = [self._meanings(write, word, yes[:split]) for word in ("yes", "no")]
                shared = (meanings[0] & meanings[1]) - {yes[split], no[split]}
                return Ending(
                    tuple(yes[:split]),
                    *(
                        Choice(ids[split], tuple(ids[split + 1 :]), self._tensor(sorted(meaning - shared)))
                        for ids, meaning in zip((yes, no), meanings, strict=True)
                    ),
                )
        raise InputError("this tokenizer cannot write <answer>yes</answer>; the model cannot be used")

    def _meanings(self, write: Callable[[str], list[int]], word: str, prefix: list[int]) -> set[int]:
        """First tokens of all spellings of the word that follow the same prefix."""
        words = [space + spelt for space in ("", " ", "\n") for spelt in (word, word.capitalize(), word.upper())]
        written = [ids for ids in map(write, words) if ids[: len(prefix)] == prefix]
        return {ids[len(prefix)] for ids in written if ids[len(prefix)] < self.size}

    def _tensor(self, ids: list[int]) -> torch.Tensor:
        return torch.tensor(ids, dtype=torch.long, device=self.device)

    def _aligned_tails(self) -> dict[str, tuple[int, ...]]:
        """What may stand behind the end tag inside one token -> the ids that then complete the prefix."""
        prefix = self.full.prefix
        tails: dict[str, tuple[int, ...]] = {}
        for count in range(1, len(prefix) + 1):
            text = self.decode(prefix[:count]).lstrip()
            if text.startswith(END):
                tails.setdefault(text[len(END) :], prefix[count:])
        return tails

    def _find_never(self, placeholders: Iterable[int]) -> torch.Tensor:
        """Additive mask (size,): special tokens, markers of pictures and tools, and ids without a token."""
        own = {*self.start, *self.filler}
        for ending in (self.full, self.short):
            own |= {*ending.prefix, ending.yes.first, *ending.yes.rest, ending.no.first, *ending.no.rest}
        never = {token for token, piece in enumerate(self._pieces) if piece is None}
        never |= {token for text, token in self.tokenizer.get_added_vocab().items() if _MARKER.fullmatch(text)}
        never |= {*self.tokenizer.all_special_ids, *placeholders, *self.ends}
        if any(_BYTE_PIECE.fullmatch(self._pieces[token] or "") for token in own):
            # Bytes of a half-written character would swallow a tag that is written in bytes, too.
            never |= {
                token
                for token, piece in enumerate(self._pieces)
                if piece and _BYTE_PIECE.fullmatch(piece) and int(piece[3:-1], 16) >= 128
            }
        mask = torch.zeros(self.size, device=self.device)
        mask[len(self._pieces) :] = -torch.inf
        mask[[token for token in never - own if 0 <= token < self.size]] = -torch.inf
        return mask

    def _check(self) -> None:
        """Raises `InputError` unless all that is forced decodes to structured responses."""
        begun = [*self.start, *self.filler]
        for lead, ending in (([], self.full), (self._encode(END), self.short)):
            for word, choice in (("yes", ending.yes), ("no", ending.no)):
                ids = [*begun, *lead, *ending.prefix, choice.first, *choice.rest]
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
    """All ids that end a text, the one that ends a turn first."""
    ends: list[int] = []
    for source in (model.generation_config, tokenizer, model.config.get_text_config()):
        found = getattr(source, "eos_token_id", None)
        ends += found if isinstance(found, list) else [found] if found is not None else []
    return list(dict.fromkeys(ends))


def _placeholder_ids(config: Any) -> list[int]:
    """Ids that stand for pictures or films, by their names in the config, such as `vision_start_token_id`."""
    fields = config.to_dict().items()
    return [
        value
        for name, value in fields
        if isinstance(value, int) and re.fullmatch(r"(image|video|vision|audio|boi|eoi).*(token_id|token_index)", name)
    ]
