"""The kinds of pictures that `--kinds` chooses from."""

from __future__ import annotations

from typing import get_args

from lad_reasoner.records import Kind

UNKNOWN_KIND = "other"  # of an anomalous picture whose source does not say what kind of anomaly it shows
SAMPLE_KINDS = (*get_args(Kind), UNKNOWN_KIND)
