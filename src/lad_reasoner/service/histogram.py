"""The scores of a station's archive as the bars of a histogram, for the page on which the limit is moved."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from lad_reasoner.service.runtime import LiveStation

MOST_SCORES = 1000  # of the archive, the newest
BINS = 40
WIDTH, HEIGHT = 1000, 180  # of the drawing


def score_bars(live: LiveStation) -> dict[str, Any]:
    """What limit.html shows: bars of the parts that are known or held to be good, and of the others upon them."""
    station = live.open.station
    scores: dict[str, list[float]] = {"good": [], "bad": []}
    others = 0
    for inspection in live.archive.history(limit=MOST_SCORES):
        if inspection.score is None:
            continue
        if inspection.version != live.version:
            others += 1
        label = inspection.truth or inspection.outcome
        scores["bad" if label == "anomalous" else "good"].append(round(inspection.score, 6))
    counts = {name: np.histogram(values, BINS, (0, 1))[0].tolist() for name, values in scores.items()}
    both = list(zip(counts["good"], counts["bad"], strict=True))
    most = max(1, *map(sum, both))
    bars = []
    for number, (good, bad) in enumerate(both):
        bars.append({"x": WIDTH * number / BINS, "good": HEIGHT * good / most, "bad": HEIGHT * bad / most})
    return {
        "station": station,
        "version": live.version,
        "limit": station.boundary,
        "bars": bars,
        "width": WIDTH / BINS - 2,
        "scores": json.dumps(scores),
        "number": len(scores["good"]) + len(scores["bad"]),
        "others": others,
    }
