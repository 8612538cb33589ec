"""How often is a good part called anomalous? A limit that keeps a promise, from the scores of normal pictures.

    limit = conformal_limit(normals, 0.02)           # a new good part scores above it in at most 2 % of all cases
    p_value(normals, 0.83)                           # 0.01: so rarely does a good part score so high
    least_normals(0.02)                              # 49
    false_alarm_interval(60, 0.02)                   # what the rate may really be, for these 60 normals
    balanced_rate(normals, bad)                      # 0.14: the promise that errs least on good and bad parts together

Split conformal prediction (Vovk, Gammerman and Shafer 2005; Lei et al. 2018): if the normals and the new part are drawn
alike, the new score is equally likely to take any rank among them, whatever the judge and whatever the product. The
promise is a mean over all draws of the normals; for the normals at hand, the true rate has a Beta distribution (Vovk
2012), whose interval is `false_alarm_interval`. The normals must not be among the references.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import betaincinv

from lad_reasoner.errors import InputError
from lad_reasoner.records import LEVEL, Estimate, share_of
from lad_reasoner.text import counted

_ROUNDING = 1e-9  # 0.07 * 100 is 7.000000000000001


def least_normals(rate: float) -> int:
    """The least number of normals that can promise this rate: 19 for 5 %, 49 for 2 %, 99 for 1 %."""
    return math.ceil(1 / rate - 1 - _ROUNDING)


def least_rate(normals: int) -> float:
    """The lowest rate that so many normals can promise."""
    return 1 / (normals + 1)


def allowed_above(normals: int, rate: float) -> int:
    """How many of the normals may score above the limit; -1 if they are too few for the rate."""
    return math.floor((normals + 1) * rate + _ROUNDING) - 1


def conformal_limit(scores: Sequence[float], rate: float) -> float:
    """The score above which a part is called anomalous: for at most `rate` of all good parts.

    `scores` are those of normal pictures, `rate` is between 0 and 1. InputError if there are too few.
    """
    above = allowed_above(len(scores), rate)
    if above < 0:
        mend = f", or a rate of {_up(least_rate(len(scores)))} or more" if scores else ""
        raise InputError(
            f"{counted(len(scores), 'normal picture')} {'is' if len(scores) == 1 else 'are'} too few to promise "
            f"{_percent(rate)} false alarms at most; give {least_normals(rate)} or more{mend}"
        )
    return sorted(scores, reverse=True)[above]


def p_value(scores: Sequence[float], score: float) -> float:
    """The share of good parts that score at least as high, the part itself counted as one of them."""
    return (1 + sum(normal >= score for normal in scores)) / (len(scores) + 1)


def false_alarm_interval(normals: int, rate: float) -> Estimate:
    """The true rate of false alarms of a limit from so many normals: its mean, and the interval that holds it.

    Exact for scores without ties; ties lower the rate.
    """
    above = allowed_above(normals, rate)
    if above < 0:
        return Estimate(value=None)
    # The limit is the (above + 1)-largest of n scores: the mass beyond it is Beta(above + 1, n - above).
    a, b = above + 1, normals - above
    low = float(betaincinv(a, b, (1 - LEVEL) / 2))
    high = float(betaincinv(a, b, (1 + LEVEL) / 2))
    return Estimate(value=a / (a + b), interval=(low, high))


def balanced_rate(normals: Sequence[float], bad: Sequence[float]) -> float:
    """The promise that errs least on good and bad parts together: the found share of bad parts against its own rate.

    `bad` are the scores of some bad pictures. Of equally good promises it is the lowest.
    """
    ordered = sorted(normals, reverse=True)
    rates = [(above + 1) / (len(ordered) + 1) for above in range(len(ordered))]
    values = []
    for rate, limit in zip(rates, ordered, strict=True):
        found = sum(score > limit for score in bad) / len(bad)
        values.append(found - rate)
    return rates[values.index(max(values))]


def expected_misses(scores: Sequence[float], limit: float) -> Estimate:
    """The share of bad parts that pass, from the scores of some bad pictures."""
    return share_of(sum(score <= limit for score in scores), len(scores))


def _up(rate: float) -> str:
    """Rounded up, so that the rate that is shown can be promised."""
    return f"{math.ceil(1000 * rate - _ROUNDING) / 1000:.3f}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"
