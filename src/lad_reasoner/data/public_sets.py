"""What is known of the public data sets by name: licences, classes, defects; the table is public_sets.toml."""

from __future__ import annotations

from lad_reasoner.packaged import read_packaged

_TABLE = read_packaged(__file__, "public_sets.toml")
_MVTEC_AD = _TABLE["MVTec AD"]

LICENCES: dict[str, str] = {dataset: facts["licence"] for dataset, facts in _TABLE.items()}
UNKNOWN_LICENCE = "unknown"

# Class of MVTec AD -> names of its defects.
MVTEC_AD: dict[str, frozenset[str]] = {name: frozenset(defects) for name, defects in _MVTEC_AD["classes"].items()}
# (class, defect) of MVTec AD whose anomalies are logical.
LOGICAL = frozenset((name, defect) for name, defects in _MVTEC_AD["logical"].items() for defect in defects)
# DS-MVTec's pill/image/good/000…021 show metal nuts, whose good test pictures are 000…021.
WRONG_IN_DS_MVTEC = frozenset(("pill", "good", f"{number:03d}") for number in range(22))

VISA: frozenset[str] = frozenset(_TABLE["VisA"]["classes"])
LOCO: frozenset[str] = frozenset(_TABLE["MVTec LOCO AD"]["classes"])
LOCO_ROOTS: frozenset[str] = frozenset(_TABLE["MVTec LOCO AD"]["roots"])
MVTEC_AD_2: frozenset[str] = frozenset(_TABLE["MVTec AD 2"]["classes"])
REAL_IAD: frozenset[str] = frozenset(_TABLE["Real-IAD"]["classes"])
BTECH: frozenset[str] = frozenset(_TABLE["BTech"]["classes"])
PUBLIC_CLASSES: frozenset[str] = frozenset(name for facts in _TABLE.values() for name in facts.get("classes", ()))
