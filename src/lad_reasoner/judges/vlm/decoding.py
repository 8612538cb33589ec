"""Structured decoding: every sampled response ends, follows the response grammar, and has a score.

`<think>` is forced. The reasoning is free; the model ends it, or its budget does. Then only yes or no may follow, then
the end of text. The paper names "structured decoding constraints guided by a predefined reasoning template" (section
4.2) without saying how. The score, P(yes) / (P(yes) + P(no)) at the answer, is ours: the paper reports fixed answers
only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from lad_reasoner.errors import MachineError
from lad_reasoner.judges.vlm.grammar import AnswerTokens, Ending, Grammar, ReasoningState


@dataclass(frozen=True)
class Reply:
    """A finished response.

    `score` is P(yes) / (P(yes) + P(no)) at the answer, from the logits before masking and temperature. `tokens` counts
    the whole response, tags included, without the end of text. `forced`: the reasoning was cut off at its budget.
    """

    text: str
    score: float
    tokens: int
    forced: bool = False


@dataclass(frozen=True)
class Written:
    """The ids of a finished response, the end of text last, and for each whether the model chose it.

    Chosen are the tokens of the reasoning, the first of an end that the model wanted, and the answer; the rest is
    forced.
    """

    ids: tuple[int, ...]
    chosen: tuple[bool, ...]
    forced: bool  # the reasoning was cut off at its budget


CERTAIN = 1e4  # a logit against 0 that no temperature in use leaves to chance
NOTHING = ReasoningState("", True)  # no reasoning yet
PLAIN = ReasoningState("", False)  # reasoning, and no tag begun


@dataclass
class Row:
    """One response being written: its tags, its reasoning, its end, its answer, its last tag."""

    queue: list[int]  # ids that come next, whatever the model says
    ids: list[int] = field(default_factory=list)
    chosen: list[bool] = field(default_factory=list)  # of each id: did the model have a choice?
    state: ReasoningState = NOTHING
    reasoned: int = 0  # tokens of the reasoning
    exit: tuple[int, ...] | None = None  # ids that end the reasoning if the first of them comes now
    ending: Ending | None = None  # set when the reasoning is over
    score: float = 0.5
    answered: bool = False
    forced: bool = False
    plain: bool = False  # in the middle of a reasoning, where all rows have the same choice

    def finish(self) -> None:
        """Write what is forced next; no logits are needed for it."""
        self.ids += self.queue
        self.chosen += [False] * len(self.queue)
        self.queue = []


class StructuredDecoding:
    """The choices of one batch of responses, greedy or sampled, whose rows go at their own pace.

    `budget` is the most tokens that a reasoning may have; without `reasons` the filler stands in for the reasoning, and
    the model chooses the answer alone. Without `samples_answer` the answer is that of the score, also where the
    reasoning is sampled. The prompt ends where the response begins. It is a logits processor for `generate`; a loop of
    our own calls `constrain` and `take` by turns. Beam search is not supported.
    """

    def __init__(self, grammar: Grammar, budget: int, *, reasons: bool = True, samples_answer: bool = True) -> None:
        if budget < 1:
            raise ValueError("a reasoning needs at least one token")
        self.grammar, self.budget, self.reasons, self.samples_answer = grammar, budget, reasons, samples_answer
        self.rows: list[Row] = []
        self._ending_ids = frozenset(grammar.full.prefix)

    @property
    def max_new_tokens(self) -> int:
        """The most tokens that a response can take, its end included."""
        grammar = self.grammar
        lengths: list[int] = []
        for ending in (grammar.full, grammar.short):
            rest = max(len(ending.yes.rest), len(ending.no.rest))
            lengths.append(len(ending.prefix) + 1 + rest)  # 1 is the token that begins the answer
        # Opening tag, reasoning, the filler of a blank one, ending with the answer, end of text.
        return len(grammar.start) + self.budget + len(grammar.filler) + max(lengths) + 1

    @property
    def beginning(self) -> tuple[int, ...]:
        """The ids that every response begins with."""
        grammar = self.grammar
        return grammar.start if self.reasons else (*grammar.start, *grammar.filler, *grammar.full.prefix)

    def begin(self, count: int) -> list[Row]:
        """The rows of `count` responses of which nothing is written."""
        ending = None if self.reasons else self.grammar.full
        self.rows = [Row(list(self.beginning), ending=ending) for _ in range(count)]
        return self.rows

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask the logits `scores` (rows, vocabulary); `input_ids` is (rows, prompt and tokens so far)."""
        if not self.rows:
            self.begin(len(input_ids))
        else:
            # The last column holds what was chosen from the logits of the call before.
            self.take(self.rows, input_ids[:, -1].tolist())
        return self.constrain(self.rows, scores)

    def take(self, rows: Sequence[Row], tokens: Sequence[int]) -> None:
        """Note the token that was chosen for each row."""
        for row, token in zip(rows, tokens, strict=True):
            self._take(row, token)

    def constrain(self, rows: Sequence[Row], scores: torch.Tensor) -> torch.Tensor:
        """The logits `scores` (rows, vocabulary) with all that the grammar forbids at -inf, in float32."""
        # In float32, so that sums and differences of 16-bit logits are not rounded again.
        raw = scores.float()
        grammar = self.grammar
        # Most rows are in the middle of their reasoning: these are masked together, the others one by one.
        masked = raw + grammar.never_in_reasoning  # (rows, vocabulary) + (vocabulary,)
        # To end the text is to end the reasoning: the wish moves to the first token of the end tag.
        # Below that token's own logit the model wants the token for itself, which may lead elsewhere.
        first = grammar.full.prefix[0]
        wish = raw[:, grammar.end_ids].amax(1)  # (rows,)
        wants = wish >= raw[:, first]
        masked[:, first] = torch.where(wants, wish, masked[:, first])
        # One wait for a GPU for both.
        broken, ends_now = torch.stack([raw.isnan().any(1), wants]).tolist()
        if any(broken):
            raise MachineError("the model's output is not a number; load it with dtype float32 or bfloat16")
        for number, (row, ends) in enumerate(zip(rows, ends_now, strict=True)):
            if row.plain:
                row.exit = grammar.full.prefix if ends else None
            else:
                masked[number] = raw[number] + grammar.never
                self._constrain(row, raw[number], masked[number])
        return masked

    def replies(self) -> list[Reply]:
        """The finished responses, in the order of the rows."""
        return [Reply(self.grammar.decode(row.ids), row.score, len(row.ids), row.forced) for row in self.rows]

    def written(self) -> list[Written]:
        """The ids of each row and which of them were chosen, in the order of the rows."""
        end = self.grammar.ends[0]
        # The end of text is forced: after the last tag nothing else may come.
        return [Written((*row.ids, end), (*row.chosen, False), row.forced) for row in self.rows]

    def _take(self, row: Row, token: int) -> None:
        """Note the token that was chosen for this row."""
        if row.queue:
            row.chosen.append(False)
            row.ids.append(row.queue.pop(0))
            return
        if row.answered:
            return  # the end of text, and the padding that `generate` writes while other rows go on
        row.chosen.append(True)
        row.ids.append(token)
        if row.ending is not None:
            answer = row.ending.yes if token == row.ending.yes.first else row.ending.no
            row.queue, row.answered = list(answer.rest), True
            return
        row.reasoned += 1
        if row.exit is not None and token == row.exit[0]:
            # Chosen, since the model wanted to end; the rest of the end tag follows by itself.
            row.queue, row.ending = list(row.exit[1:]), self.grammar.full
        else:
            self._read(row, token)
        if row.ending is None and row.reasoned >= self.budget:
            row.forced, row.ending = True, self.grammar.full
            # A reasoning of which nothing is visible is not structured, so a filler stands in for it.
            row.queue = [*(self.grammar.filler if row.state.blank else ()), *self._rest_of_ending(row)]
        # Behind a token of the end tag a part of the tag may be written already.
        row.plain = row.ending is None and row.state is PLAIN and token not in self._ending_ids

    def _read(self, row: Row, token: int) -> None:
        """Find out where the reasoning stands after this token."""
        text = self.grammar.text(token)
        if row.state is PLAIN and "<" not in text and "\ufffd" not in text:
            return  # most tokens: no tag begins, and decoding everything again would cost more the longer it gets
        # All ids together, because a character may be cut into several tokens.
        content = self.grammar.decode(row.ids).partition("<think>")[2]
        closing = self.grammar.closing(content)
        if closing is None:
            state = self.grammar.state(content)
            row.state = PLAIN if state == PLAIN else state
        else:
            row.queue, row.ending = list(closing.prefix), closing

    def _constrain(self, row: Row, raw: torch.Tensor, masked: torch.Tensor) -> None:
        """Change `masked` (vocabulary,) so that only what the grammar allows can be chosen for this row.

        `raw` (vocabulary,) are the logits as the model gave them.
        """
        grammar = self.grammar
        if row.queue:
            _force(masked, row.queue[0])
        elif row.answered:
            _force(masked, grammar.ends[0])
        elif row.ending is None:
            self._constrain_reasoning(row, raw, masked)
        else:
            yes, no = _strength(raw, row.ending.yes), _strength(raw, row.ending.no)
            # P(yes) / (P(yes) + P(no)): the normaliser of the softmax cancels.
            row.score = float(torch.sigmoid((yes - no).double()))
            # A greedy answer must agree with the score, even where both are equal, as 16-bit logits can be.
            lead = float(yes - no)
            lead = max(lead, 1e-6) if row.score >= 0.5 else min(lead, -1e-6)
            if not self.samples_answer:
                lead = math.copysign(CERTAIN, lead)
            # One token an answer; at temperature 1 a sampled answer is yes with probability `score`.
            masked.fill_(-torch.inf)
            masked[row.ending.yes.first], masked[row.ending.no.first] = lead, 0.0

    def _constrain_reasoning(self, row: Row, raw: torch.Tensor, masked: torch.Tensor) -> None:
        """Forbid what breaks the grammar inside a reasoning; let the model end it."""
        masked[self.grammar.forbidden(row.state)] = -torch.inf
        row.exit = None
        if row.state.blank:
            return  # an empty reasoning must not end
        # To end the text is to end the reasoning: the wish moves to the first token of the end tag.
        ending = self._rest_of_ending(row)
        wish = raw[self.grammar.end_ids].max()
        # Below that token's own logit the model wants the token for itself, which may lead elsewhere.
        if wish >= raw[ending[0]]:
            masked[ending[0]] = wish
            row.exit = ending

    def _rest_of_ending(self, row: Row) -> tuple[int, ...]:
        """The end of the reasoning up to the answer, less what of it is already written."""
        prefix = self.grammar.full.prefix
        if row.state.blank:
            return prefix  # a filler comes first
        # Tokens of the reasoning only: the opening tag may look like the start of the end tag.
        latest = row.ids[-min(row.reasoned, len(prefix)) :]
        return prefix[self.grammar.overlap(latest) :]


def soften(score: float, temperature: float) -> float:
    """The score whose logit is that of `score` divided by the temperature (calibration.py); 0.5 stays 0.5."""
    return float(torch.sigmoid(torch.tensor(score, dtype=torch.float64).logit() / temperature))


def _force(masked: torch.Tensor, token: int) -> None:
    """Leave this token alone possible in `masked` (vocabulary,)."""
    masked.fill_(-torch.inf)
    masked[token] = 0.0


def _strength(raw: torch.Tensor, answer: AnswerTokens) -> torch.Tensor:
    """Logit () of all ways to begin this answer together, from the logits `raw` (vocabulary,)."""
    # Probabilities of different tokens add up, so their logits do in logsumexp.
    return torch.logsumexp(raw[answer.variants], 0)
