"""An estimate is a number with its 95 % interval: what evaluation measures, and what a review finds.

share_of(45, 60).percent()              # "75.0"
share_of(45, 60).percent_interval()     # "[62.8, 84.2]"
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from lad_reasoner.records import Record

LEVEL = 0.95


class Estimate(Record):
    """A number between 0 and 1 (MCC and differences: -1 and 1) and its 95 % interval; None where not defined."""

    value: float | None
    interval: tuple[float, float] | None = None

    def percent(self) -> str:
        """As in the paper's Table 1: `60.4`; `–` where it is not defined."""
        return "–" if self.value is None else _percent(self.value)

    def percent_interval(self) -> str:
        """`[57.6, 63.2]`, or `–`."""
        return "–" if self.interval is None else f"[{', '.join(map(_percent, self.interval))}]"


def _percent(value: float) -> str:
    """One decimal, halves away from zero as in Table 1 (56.25 is printed 56.3), and never -0.0."""
    return str(Decimal(repr(100 * value)).quantize(Decimal("0.1"), ROUND_HALF_UP) + 0)


def share_of(part: int, whole: int) -> Estimate:
    """`part / whole` of things drawn independently, with Wilson's interval; not defined where `whole` is 0."""
    if not whole:
        return Estimate(value=None)
    from scipy.stats import binomtest  # late: its import takes half a second of every command

    interval = binomtest(part, whole).proportion_ci(LEVEL, method="wilson")
    return Estimate(value=part / whole, interval=(float(interval.low), float(interval.high)))
