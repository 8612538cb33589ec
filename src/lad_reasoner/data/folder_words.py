"""What the names of folders and files say, for all layouts of data sets: split, kind, masks, sort of file.

    read_name("test_public")     # FolderName(split="test")
    read_name("ok_front")        # FolderName(has_kind=True, kind="good")
    read_name("ground_truth")    # FolderName(role="masks")
    mask_stems("000_GT")         # [("000", True)]

The words are in words.toml. A name says something if it is one of them, or one of them beside words that change
nothing (`fillers`), numbers and single letters: `train_1`, `Test_images`, `val2`, `testSet`, `train_good`. Any other
name, such as `test_strip`, says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from lad_reasoner.packaged import read_packaged
from lad_reasoner.records import Kind, Split

_NAMES = read_packaged(__file__, "words.toml")

Role = Literal["pictures", "masks", "maps", "unsorted"]


def _invert(names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Name -> what it stands for; None for `unknown`."""
    return {name: None if meaning == "unknown" else meaning for meaning in names for name in names[meaning]}


# Usual names of folders -> the kind of their pictures; None: anomalous, of unknown kind.
WORDS: dict[str, Kind | None] = _invert(_NAMES["kinds"])
LABELS: dict[str, Kind | None] = WORDS | _invert(_NAMES["labels"])
SPLITS: dict[str, Split] = _invert(_NAMES["splits"])
SHORT_SPLITS = frozenset(_NAMES["short"]["splits"])
ROLES: dict[str, Role] = _invert(_NAMES["roles"])
COLUMNS: dict[str, list[str]] = _NAMES["columns"]
OTHER_PICTURES = frozenset(_NAMES["names"]["other_pictures"])
ANNOTATIONS = frozenset(_NAMES["names"]["annotations"])

_FILLERS = frozenset(_NAMES["names"]["fillers"])
_PIECES = re.compile(r"[^\W\d_]+|\d+")
_NUMBER = re.compile(r"[+-]?\d{1,9}(?:[.,]\d{0,9})?")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")  # testSet, NotOK


def _mask_pattern(words: Sequence[str]) -> re.Pattern[str]:
    # Longest first, so that `ground_truth` is not read as a picture named `000_ground` with something at its end.
    either = "|".join(word.replace("_", "[ _-]?") for word in sorted(words, key=len, reverse=True))
    return re.compile(
        rf"(?P<last>.+)[ ._-](?:{either})(?:[ ._-]?\d{{1,3}})?|(?:{either})[ ._-](?P<first>.+)", re.IGNORECASE
    )


_MASKS = _mask_pattern(_NAMES["names"]["masks"])
_PERHAPS_MASKS = _mask_pattern(_NAMES["names"]["perhaps_masks"])
_ENDS = "|".join(end.replace("_", "[ _-]?") for end in _NAMES["names"]["drawn"])
_DRAWN = re.compile(rf"(?P<stem>.+)[ ._-](?P<end>{_ENDS})", re.IGNORECASE)
_SEPARATOR = re.compile(r"[ ._-]+")
_GLUED = re.compile(rf"(?P<stem>.+?)(?:{'|'.join(_NAMES['names']['masks'] + _NAMES['names']['perhaps_masks'])})")
_MASK_FOLDERS = frozenset(_NAMES["names"]["mask_folders"])


@dataclass(frozen=True)
class FolderName:
    """What the name of a folder says. `kind` counts if `has_kind`; it is None for anomalous of unknown kind."""

    split: Split | None = None
    has_kind: bool = False
    kind: Kind | None = None
    role: Role | None = None

    @property
    def is_silent(self) -> bool:
        """Whether it says nothing: it may be the name of a class or of a defect."""
        return self == _SILENT


_SILENT = FolderName()


def word(name: str) -> str:
    """`Not OK` -> `not_ok`: the form in which names are compared with the words above."""
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())


@lru_cache(maxsize=65536)
def read_name(name: str) -> FolderName:
    """See the module's docstring."""
    exact = word(name)
    known = _look_up(exact) or _look_up(exact.replace(".", ""))  # i.O., n.OK
    if known is not None:
        return known
    pieces = _PIECES.findall(word(_HUMP.sub("_", name)))
    telling = [piece for piece in pieces if piece not in _FILLERS and _tells(piece)]
    known = _look_up("_".join(telling))
    if known is not None and known.role is None:  # front_label is no folder of masks
        return known
    # train_good, ok_test, test_masks: a split at either end of another word
    for split, rest in ((telling[:1], telling[1:]), (telling[-1:], telling[:-1])):
        other = _look_up("_".join(rest))
        if split and split[0] in SPLITS and other is not None and other.split is None:
            return FolderName(SPLITS[split[0]], other.has_kind, other.kind, other.role)
    return _SILENT


def is_short_split(name: str) -> bool:
    """Whether a name says a split with two letters, which may be those of a product: `te`."""
    return word(name) in SHORT_SPLITS


def _tells(piece: str) -> bool:
    """Whether a piece of a name may change its meaning: letters and numbers do not, but the n of `n OK` does."""
    return not piece.isdigit() and (len(piece) > 1 or piece == "n" or not piece.isascii())


def _look_up(phrase: str) -> FolderName | None:
    if phrase in SPLITS:
        return FolderName(split=SPLITS[phrase])
    if phrase in WORDS:
        return FolderName(has_kind=True, kind=WORDS[phrase])
    return FolderName(role=ROLES[phrase]) if phrase in ROLES else None


def read_labels(cells: Sequence[str]) -> tuple[dict[str, Kind | None], str]:
    """What each text of a column of labels means, and a note on what had to be decided; unknown texts are left out.

    Numbers may have a decimal point (`1.0`). Of -1 and 1 the first is anomalous, as in scikit-learn, and 1 is good; -1
    beside 0 is unknown.
    """
    texts = dict.fromkeys(cells)
    forms = {text: _label_form(text) for text in texts}
    present = set(forms.values())
    labels: dict[str, Kind | None] = dict(LABELS)
    note = ""
    if "-1" in present and "0" not in present:
        labels["-1"] = None
        if "1" in present:
            labels["1"] = "good"
        note = "labels of -1 were taken as anomalous" + (", those of 1 as good" if "1" in present else "")
    return {text: labels[form] for text, form in forms.items() if form in labels}, note


def _label_form(text: str) -> str:
    text = text.strip().rstrip(".").replace("\u2212", "-")  # Excel's and Word's minus
    if _NUMBER.fullmatch(text):
        value = float(text.replace(",", "."))
        return str(int(value)) if value == int(value) else text
    return word(text)


def mask_stems(stem: str) -> Iterator[tuple[str, bool]]:
    """The stems of the picture that a file may be a mask of by its name: `000_mask` -> (`000`, True).

    False for an ending that ordinary pictures have, too: `bottle_label`.
    """
    for pattern, is_certain in ((_MASKS, True), (_PERHAPS_MASKS, False)):
        match = pattern.fullmatch(stem)
        if match is not None:
            yield match["last"] or match["first"], is_certain


def shorter_stems(name: str) -> list[str]:
    """`000_defect_msk.png` -> `["000_defect", "000"]`: stems that a file's name may extend, in lower case.

    `000mask.png` -> `["000"]`.
    """
    stem = Path(name).stem.casefold()
    stems = [stem[: match.start()] for match in reversed(list(_SEPARATOR.finditer(stem))) if match.start()]
    glued = _GLUED.fullmatch(stem)
    return [glued["stem"], *stems] if glued else stems


def may_hold_masks(folder: str) -> bool:
    """Whether the name of a folder has a word for masks among others: `mask_bin`. So may a product's: `face_mask`."""
    return not _MASK_FOLDERS.isdisjoint(_PIECES.findall(word(_HUMP.sub("_", folder))))


def split_drawn(stem: str) -> tuple[str, str]:
    """`000_heat_map` -> (`000`, `heat_map`) if the end says that it was drawn from a picture, else (the stem, `""`)."""
    match = _DRAWN.fullmatch(stem)
    return (match["stem"], match["end"]) if match else (stem, "")
