"""Earlier reasonings, which the next one is expected to resemble: they save passes of the model, not its choices.

    follower = Follower(drafts)
    proposed = follower.propose(8)         # read in one pass with the last token
    follower.follow(ids, count, len(proposed))

This is speculative decoding with earlier responses in the role of the small model. The paper has nothing of the kind.
"""

from __future__ import annotations

from collections.abc import Sequence

AHEAD, MOST_AHEAD = 8, 32  # tokens of a draft that are proposed at first, and at most
MATCHED = 3  # last tokens by which a response finds a place in the drafts
MOST_KEPT = 2048  # tokens of drafts


class Drafts:
    """Reasonings that others may follow; the last ones, `MOST_KEPT` tokens at most."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.after: dict[tuple[int, ...], int] = {}  # the last tokens of a text -> the place behind them
        self.begin = 0  # of the last one

    def add(self, ids: Sequence[int]) -> None:
        """Keep one more."""
        if len(self.ids) + len(ids) > MOST_KEPT:
            self.ids, self.after = [], {}
        self.begin = len(self.ids)
        self.ids += ids
        for place in range(self.begin + MATCHED, len(self.ids) + 1):
            self.after[tuple(self.ids[place - MATCHED : place])] = place


class Follower:
    """Follows drafts: it proposes tokens, and the model decides.

    Responses about the same references say the same of many things. Several tokens are read in one pass; those that
    the model would have chosen as well are kept, so that the response is the same as without. Where the response leaves
    the draft, it is expected to go on like the draft one token later, else like the drafts behind the same last tokens.
    """

    def __init__(self, drafts: Drafts) -> None:
        self.drafts = drafts
        self.place = drafts.begin if drafts.ids else -1  # of the token that is expected next
        self.ahead = AHEAD  # tokens to propose
        self.lost = not drafts.ids

    def propose(self, most: int) -> list[int]:
        """The next tokens, at most so many."""
        if self.lost:
            return []
        return self.drafts.ids[self.place : self.place + max(0, min(self.ahead, most))]

    def follow(self, ids: Sequence[int], count: int, proposed: int) -> None:
        """`count` tokens came to `ids`, all but the last of them as they were proposed."""
        kept = self.drafts.ids
        self.place += count
        if not self.lost and self.place <= len(kept) and kept[self.place - 1] == ids[-1]:
            if count > proposed:  # none of the proposals was wrong
                self.ahead = min(2 * self.ahead, MOST_AHEAD)
            return
        if not self.lost and count > 1:
            self.ahead = AHEAD  # it was right up to here: one token differs
            return
        place = self.drafts.after.get(tuple(ids[-MATCHED:]))
        self.lost = place is None
        if place is not None:
            self.place, self.ahead = place, AHEAD
