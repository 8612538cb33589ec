"""Structured decoding: every sampled response ends, follows the response grammar, and has a score.

`<think>` is forced, the reasoning is free, its end is the model's own or comes when its tokens are spent, then only yes
or no may follow, then the end of text. The paper names "structured decoding constraints guided by a predefined
reasoning template" (section 4.2) without saying how. The score, P(yes) / (P(yes) + P(no)) at the answer, is not the
paper's, which reports fixed answers only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from lad_reasoner.errors import MachineError
from lad_reasoner.judges.vlm.grammar import Choice, Ending, Grammar, State


@dataclass(frozen=True)
class Reply:
    """A finished response.

    `score` is P(yes) / (P(yes) + P(no)) at the answer, from logits that nothing has masked or tempered. `tokens` counts
    all that was written, tags included, the end of text not. `forced`: the reasoning was cut off at its budget.
    """

    text: str
    score: float
    tokens: int
    forced: bool = False


@dataclass(frozen=True)
class Written:
    """The ids of a finished response, the end of text last, and of each whether the model chose it.

    Chosen are the tokens of the reasoning, the first of an end that the model wanted, and the answer; the rest is
    forced.
    """

    ids: tuple[int, ...]
    chosen: tuple[bool, ...]
    forced: bool  # the reasoning was cut off at its budget


NOTHING, PLAIN = State("", True), State("", False)  # no reasoning yet; reasoning, and no tag begun


@dataclass
class _Row:
    """One response being written: its tags, its reasoning, its end, its answer, its last tag."""

    queue: list[int]  # ids that come next, whatever the model says
    ids: list[int] = field(default_factory=list)
    chosen: list[bool] = field(default_factory=list)  # of each id: did the model have a choice?
    state: State = NOTHING
    reasoned: int = 0  # tokens of the reasoning
    exit: tuple[int, ...] | None = None  # ids that end the reasoning if the first of them comes now
    ending: Ending | None = None  # set when the reasoning is over
    score: float = 0.5
    answered: bool = False
    forced: bool = False


class StructuredDecoding:
    """A logits processor for one call of `generate`, greedy or sampling, over a batch whose rows go at their own pace.

    `budget` is the most tokens that a reasoning may have. The prompt ends where the response begins. Beam search and
    more than one token a step are not supported.
    """

    def __init__(self, grammar: Grammar, budget: int) -> None:
        if budget < 1:
            raise ValueError("a reasoning needs at least one token")
        self.grammar, self.budget = grammar, budget
        self.rows: list[_Row] = []

    @property
    def max_new_tokens(self) -> int:
        """The most tokens that a response can take, its end included."""
        grammar = self.grammar
        endings = (grammar.full, grammar.short)
        longest = max(len(e.prefix) + 1 + len(c.rest) for e in endings for c in (e.yes, e.no))
        return len(grammar.start) + self.budget + len(grammar.filler) + longest + 1

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask `scores` (rows, vocabulary); `input_ids` is (rows, tokens so far)."""
        if not self.rows:
            self.rows = [_Row(list(self.grammar.start)) for _ in range(len(input_ids))]
        else:
            for row, token in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
                self._take(row, token)
        raw = scores.float()
        if raw.isnan().any():
            raise MachineError("the model's output is not a number; load it with dtype float32 or bfloat16")
        masked = raw + self.grammar.never
        for number, row in enumerate(self.rows):
            self._constrain(row, raw[number], masked[number])
        return masked

    def replies(self) -> list[Reply]:
        """The finished responses, in the order of the rows."""
        return [Reply(self.grammar.decode(row.ids), row.score, len(row.ids), row.forced) for row in self.rows]

    def written(self) -> list[Written]:
        """What was written in each row, in the order of the rows."""
        end = self.grammar.ends[0]
        return [Written((*row.ids, end), (*row.chosen, False), row.forced) for row in self.rows]

    def _take(self, row: _Row, token: int) -> None:
        """Note the token that was chosen for this row; what follows the end of text is padding."""
        if not row.answered or row.queue:
            row.chosen.append(not row.queue)
        if row.queue:
            row.ids.append(row.queue.pop(0))
        elif row.ending is None:
            row.ids.append(token)
            row.reasoned += 1
            if row.exit is not None and token == row.exit[0]:
                row.queue, row.ending = list(row.exit[1:]), self.grammar.full
            else:
                self._read(row, token)
        elif not row.answered:
            row.ids.append(token)
            choice = row.ending.yes if token == row.ending.yes.first else row.ending.no
            row.queue, row.answered = list(choice.rest), True

    def _read(self, row: _Row, token: int) -> None:
        """See where the reasoning stands after this token."""
        text = self.grammar.text(token)
        if row.state == PLAIN and "<" not in text and "\ufffd" not in text:
            return  # most tokens: no tag begins, and decoding everything again would cost more the longer it gets
        content = self.grammar.decode(row.ids).partition("<think>")[2]
        close = self.grammar.close(content)
        if close is None:
            row.state = self.grammar.state(content)
        else:
            row.queue, row.ending = list(close.prefix), close.ending

    def _constrain(self, row: _Row, raw: torch.Tensor, masked: torch.Tensor) -> None:
        """Change `masked` (vocabulary,) so that only what the grammar allows can be chosen for this row."""
        grammar = self.grammar
        if row.ending is None and not row.queue and row.reasoned >= self.budget:
            row.forced, row.ending = True, grammar.full
            row.queue = [*(grammar.filler if row.state.blank else ()), *self._rest_of_ending(row)]
        if row.queue:
            _force(masked, row.queue[0])
        elif row.answered:
            _force(masked, grammar.ends[0])
        elif row.ending is None:
            masked[grammar.forbidden(row.state)] = -torch.inf
            row.exit = None
            if not row.state.blank:
                # To end the text is to end the reasoning: the wish moves to the first token of the end tag.
                ending = self._rest_of_ending(row)
                wish = raw[grammar.end_ids].max()
                if wish >= raw[ending[0]]:
                    masked[ending[0]] = wish
                    row.exit = ending
        else:
            yes, no = (_strength(raw, choice) for choice in (row.ending.yes, row.ending.no))
            row.score = float(torch.sigmoid((yes - no).double()))
            # A greedy answer must agree with the score, even where both are equal, as 16-bit logits can be.
            lead = float(yes - no)
            lead = max(lead, 1e-6) if row.score >= 0.5 else min(lead, -1e-6)
            masked.fill_(-torch.inf)
            masked[row.ending.yes.first], masked[row.ending.no.first] = lead, 0.0

    def _rest_of_ending(self, row: _Row) -> tuple[int, ...]:
        """The end of the reasoning up to the answer, less what of it is already written."""
        prefix = self.grammar.full.prefix
        if row.state.blank:
            return prefix  # a filler comes first
        latest = row.ids[-min(row.reasoned, len(prefix)) :]
        return prefix[self.grammar.overlap(latest) :]


def _force(masked: torch.Tensor, token: int) -> None:
    masked.fill_(-torch.inf)
    masked[token] = 0.0


def _strength(raw: torch.Tensor, choice: Choice) -> torch.Tensor:
    """Logit of all ways to begin this answer together."""
    return torch.logsumexp(raw[choice.variants], 0)
