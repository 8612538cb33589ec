"""Which files of a data set are masks, and of which pictures.

    masks = MaskFiles(base, files)
    masks.pictures          # the files that are pictures
    masks.of(parts)         # the masks of one of them
    masks.refused           # masks of no picture, with the reason

A mask lies in a folder of masks (`ground_truth/`, `masks/`, `gt/` …), beside its picture with an ending
(`000_mask.png`, `000_GT.png` …), beside it with any other ending if its pixels are those of a mask (`000_msk.png`), or
beside it with its very name and another suffix (`000.jpg`, `000.png`). A folder with a word for masks among others
(`mask_bin/`) holds masks if its files look like masks. A mask belongs to the picture that has its name and the same
folders; splits, kinds and words such as `images` do not count: `mask/crack/00.png` is that of `NG/crack/00.jpg`.

Names alone do not always say what is a mask. Where an ordinary picture could have the name, the files decide: a mask
has few values, most of it is black.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lad_reasoner.data.folder_words import mask_stems, may_hold_masks, read_name, shorter_stems, split_drawn, word
from lad_reasoner.errors import ImageError
from lad_reasoner.files.opening import open_picture
from lad_reasoner.files.walk import Parts
from lad_reasoner.records import Split

NO_PICTURE = "are masks of no picture"
SEVERAL_PICTURES = "are masks that fit several pictures"
DRAWN = "are maps, not pictures, by the end of their name"
UNCLEAR = "may be masks or pictures (they lie beside a picture of their name)"

SAMPLED = 12  # files of one suffix and colour mode: if all are masks, or all pictures, so are the rest
FEW_VALUES = 8  # a label map has a value for each class
BLACK_SHARE, EXTREME_SHARE = 0.5, 0.95  # of a mask's pixels: black, and black or white; edges may be smoothed
UNCLEAR_SHARE = 0.8  # of a file's pixels black or white: below this it is a photograph

Key = tuple[Parts, str]  # folders that name class and defect, stem; without regard to case


class MaskFiles:
    """See the module's docstring. `candidates` are the files below `base` with a picture's suffix."""

    def __init__(self, base: Path, candidates: Sequence[Parts]) -> None:
        self.base = base
        self.refused: dict[Parts, str] = {}
        self._of: dict[Parts, list[str]] = {}
        self._by_look = self._find_folders_by_look(candidates)
        not_masks: frozenset[Parts] = frozenset()
        while True:
            self._sort(candidates, not_masks)
            wrong = self._find_classes_named_like_masks() - not_masks
            if not wrong:
                break
            not_masks |= wrong

    def of(self, parts: Parts) -> tuple[str, ...]:
        """The masks of a picture; none for one without."""
        return tuple(self._of.get(parts, ()))

    def _sort(self, candidates: Sequence[Parts], not_masks: frozenset[Parts]) -> None:
        self._of, self.refused = defaultdict(list), {}
        self._roots: dict[Parts, list[Parts]] = defaultdict(list)  # folder of masks -> masks in it that fit a picture
        self._below: dict[Parts, list[Parts]] = defaultdict(list)  # folder of masks -> all files in it
        in_folders: list[Parts] = []
        named, perhaps, pictures = [], [], []
        for parts in candidates:
            root = self._mask_root(parts, not_masks)
            certain = [is_certain for _, is_certain in mask_stems(Path(parts[-1]).stem)]
            if root is not None:
                self._below[root].append(parts)
                in_folders.append(parts)
            elif True in certain:
                named.append(parts)
            elif certain:
                perhaps.append(parts)
            else:
                pictures.append(parts)
        pictures = self._refuse_drawn(pictures)
        pictures, twins = self._part_twins(pictures)
        pictures, extended = self._part_extended(pictures)
        named += extended
        index = _Index([*pictures, *perhaps])
        named += self._choose_perhaps(perhaps, index)
        masked = {*named, *twins}
        index = _Index([*pictures, *(parts for parts in perhaps if parts not in masked)])
        self.pictures = [picture.parts for picture in index.pictures if picture.parts not in self.refused]
        for parts, picture in twins.items():
            self._of[picture].append(str(self.base.joinpath(*parts)))
        for parts in [*in_folders, *named]:
            root = self._mask_root(parts, not_masks)
            fitting = index.find(parts, root)
            if len(fitting) == 1:
                self._of[fitting[0].parts].append(str(self.base.joinpath(*parts)))
                self._roots[root or ()].append(parts)
            else:
                self.refused[parts] = SEVERAL_PICTURES if fitting else NO_PICTURE

    def _part_twins(self, pictures: list[Parts]) -> tuple[list[Parts], dict[Parts, Parts]]:
        """(pictures, mask -> picture) of files that differ in their suffix only."""
        groups: dict[tuple[Parts, str], list[Parts]] = defaultdict(list)
        for parts in pictures:
            groups[parts[:-1], Path(parts[-1]).stem.casefold()].append(parts)
        pairs = []
        for group in groups.values():
            suffixes = {_suffix(parts) for parts in group}
            if len(group) == 2 and len(suffixes) == 2:
                pairs.append(group)
        if not pairs:
            return pictures, {}
        alone = {_suffix(group[0]) for group in groups.values() if len(group) == 1}
        in_pairs = [parts for pair in pairs for parts in pair]
        in_good = {_suffix(parts) for parts in in_pairs if _shows_good(parts)}
        looks = self._look(in_pairs)
        masks: dict[Parts, Parts] = {}
        for group in pairs:
            for mask, picture in (group, group[::-1]):
                look = looks[mask]
                if look == "unreadable":
                    # Not to be opened: a suffix that only ever accompanies defective pictures is that of masks.
                    is_alone = _suffix(mask) in alone | in_good or _suffix(picture) not in alone | in_good
                    look = "picture" if is_alone else "mask"
                if look == "mask" and looks[picture] != "mask":
                    masks[mask] = picture
                elif look == "unclear" and picture not in masks:
                    self.refused[mask] = UNCLEAR
        return [parts for parts in pictures if parts not in masks], masks

    def _refuse_drawn(self, pictures: list[Parts]) -> list[Parts]:
        """Without those whose name says that they were drawn from the picture beside them."""
        present = {(parts[:-1], Path(parts[-1]).stem.casefold()) for parts in pictures}
        kept = []
        for parts in pictures:
            stem, end = split_drawn(Path(parts[-1]).stem)
            if end and (parts[:-1], stem.casefold()) in present:
                self.refused[parts] = DRAWN
            else:
                kept.append(parts)
        return kept

    def _part_extended(self, pictures: list[Parts]) -> tuple[list[Parts], list[Parts]]:
        """(pictures, masks): `000_msk.png` beside `000.png` is a mask, whatever its ending, if it looks like one."""
        present = {(parts[:-1], Path(parts[-1]).stem.casefold()) for parts in pictures}
        extending = [
            parts for parts in pictures if any((parts[:-1], stem) in present for stem in shorter_stems(parts[-1]))
        ]
        if not extending:
            return pictures, []
        looks = self._look(extending)
        masks = [parts for parts in extending if looks[parts] == "mask"]
        # Among pictures that look like masks themselves, a longer name says nothing.
        plain = [parts for parts in pictures if parts not in looks]
        if not masks or "mask" in self._look(plain[:SAMPLED]).values():
            return pictures, []
        found = set(masks)
        return [parts for parts in pictures if parts not in found], masks

    def _choose_perhaps(self, perhaps: list[Parts], index: _Index) -> list[Parts]:
        """Those that are masks, of files whose ending says so but may belong to a picture as well."""
        fitting = [parts for parts in perhaps if index.find(parts, None)]
        looks = self._look(fitting)
        masks = [parts for parts in fitting if looks[parts] in ("mask", "unreadable")]
        # Beside masks with this ending, one without its picture is a mask as well.
        return [parts for parts in perhaps if parts in masks or parts not in fitting] if masks else []

    def _look(self, files: Sequence[Parts]) -> dict[Parts, str]:
        """What each file is by its pixels: mask, picture, unclear, or unreadable."""
        groups: dict[tuple[str, str], list[Parts]] = defaultdict(list)
        for parts in files:
            groups[_suffix(parts), _mode(self.base.joinpath(*parts))].append(parts)
        looks: dict[Parts, str] = {}
        for (_, mode), group in groups.items():
            if not mode:
                looks.update(dict.fromkeys(group, "unreadable"))
                continue
            sample = group[:: max(1, len(group) // SAMPLED)][:SAMPLED]
            looks.update((parts, look_at(self.base.joinpath(*parts))) for parts in sample)
            first = looks[sample[0]]
            all_alike = all(looks[parts] == first for parts in sample)
            for parts in group:
                if parts not in looks:
                    looks[parts] = first if all_alike else look_at(self.base.joinpath(*parts))
        return looks

    def _find_folders_by_look(self, candidates: Sequence[Parts]) -> frozenset[Parts]:
        """Folders such as `mask_bin/`: their name may say that they hold masks, and their files look like masks."""
        below: dict[Parts, list[Parts]] = defaultdict(list)
        for parts in candidates:
            for at, folder in enumerate(parts[:-1]):
                name = read_name(folder)
                if name.role == "masks":
                    break
                if name.is_silent and may_hold_masks(folder):
                    below[parts[: at + 1]].append(parts)
                    break
        found = set()
        for root, files in below.items():
            looks = self._look(files[:: max(1, len(files) // SAMPLED)][:SAMPLED])
            if set(looks.values()) == {"mask"}:
                found.add(root)
        return frozenset(found)

    def _mask_root(self, parts: Parts, not_masks: frozenset[Parts]) -> Parts | None:
        """The first folder of masks that a file lies in, or None."""
        for at, folder in enumerate(parts[:-1]):
            path = parts[: at + 1]
            if (read_name(folder).role == "masks" or path in self._by_look) and path not in not_masks:
                return path
        return None

    def _find_classes_named_like_masks(self) -> frozenset[Parts]:
        """Folders such as `label/train/good/`: named like masks, but with good pictures and no mask that fits."""
        wrong = set()
        for root, files in self._below.items():
            if not self._roots.get(root) and any(_shows_good((*parts[len(root) :],)) for parts in files):
                wrong.add(root)
        return frozenset(wrong)


@dataclass(frozen=True)
class _Named:
    """A file, and what the names of its folders say."""

    parts: Parts
    key: Key
    kinds: frozenset[str]
    splits: frozenset[Split]
    is_good: bool


class _Index:
    """Pictures by the names that a mask shares with them."""

    def __init__(self, pictures: Iterable[Parts]) -> None:
        self.pictures = [_name(parts, None) for parts in pictures]
        self._by_key: dict[Key, list[_Named]] = defaultdict(list)
        self._by_stem: dict[str, list[_Named]] = defaultdict(list)
        for picture in self.pictures:
            self._by_key[picture.key].append(picture)
            self._by_stem[picture.key[1]].append(picture)

    def find(self, parts: Parts, root: Parts | None) -> list[_Named]:
        """The pictures that a mask fits; `root` is the folder of masks that it lies in."""
        mask = _name(parts, root)
        folders, stem = mask.key
        stems = [stem for stem, _ in mask_stems(Path(parts[-1]).stem)]
        if root is None:
            stems += shorter_stems(parts[-1])  # 000_gt_mask, 000_defect_mask
        keys = [(folders, name.casefold()) for name in stems]
        if root is not None:
            keys.insert(0, (folders, stem))
            if folders:
                keys.append((folders[:-1], folders[-1]))  # MVTec LOCO AD: a folder of masks for a picture
        fitting: list[_Named] = []
        for key in keys:
            fitting = _narrow(mask, self._by_key.get(key, []))
            if fitting:
                break
        is_flat = root is not None and len(parts) == len(root) + 1
        if root is None or not is_flat or any(not picture.is_good for picture in fitting):
            return fitting
        # One folder for the masks of all defects.
        above = root[:-1]
        for name in [stem, *(name.casefold() for name in stems)]:
            below = [picture for picture in self._by_stem.get(name, []) if picture.parts[: len(above)] == above]
            if bad := _narrow(mask, [picture for picture in below if not picture.is_good]):
                return bad
        return fitting


def _narrow(mask: _Named, pictures: Sequence[_Named]) -> list[_Named]:
    """The pictures that fit best of those with the mask's name."""
    fitting = [p for p in pictures if not mask.splits or not p.splits or mask.splits & p.splits]
    if mask.kinds:
        fitting = [p for p in fitting if p.kinds == mask.kinds] or [p for p in fitting if not p.is_good]
    preferences = (
        [p for p in fitting if p.parts[:-1] == mask.parts[:-1]],
        [p for p in fitting if not p.is_good],
        [p for p in fitting if "train" not in p.splits],
    )
    for preferred in preferences:
        if len(fitting) > 1:
            fitting = [p for p in fitting if p in preferred] or fitting
    return fitting


def _name(parts: Parts, root: Parts | None) -> _Named:
    folders, kinds, splits, is_good = [], set(), set(), False
    for at, folder in enumerate(parts[:-1]):
        name = read_name(folder)
        if name.split:
            splits.add(name.split)
        if name.has_kind:
            kinds.add(word(folder))
            is_good |= name.kind == "good"
        is_mask_folder = root is not None and at == len(root) - 1
        if not (name.split or name.has_kind or name.role == "pictures" or is_mask_folder):
            folders.append(folder.casefold())
    stem = Path(parts[-1]).stem.casefold()
    return _Named(parts, (tuple(folders), stem), frozenset(kinds), frozenset(splits), is_good)


def _shows_good(parts: Parts) -> bool:
    return any(read_name(folder).kind == "good" for folder in parts[:-1])


def _suffix(parts: Parts) -> str:
    return Path(parts[-1]).suffix.lower()


def _mode(path: Path) -> str:
    """The colour mode by the file's head; empty if it cannot be read."""
    try:
        with open_picture(path) as image:
            return image.mode
    except ImageError:
        return ""


def look_at(path: Path) -> str:
    """Whether a file is a mask by its pixels: mask, picture, unclear, or unreadable."""
    try:
        with open_picture(path) as image:
            image.load()
            values = np.asarray(image.convert("RGB"))
    except ImageError:
        return "unreadable"
    is_grey = bool((values.max(-1) == values.min(-1)).all())
    packed = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    if len(np.unique(packed)) <= FEW_VALUES:
        return "mask"
    grey = values[..., 0]
    black, white = float((grey <= 1).mean()), float((grey >= 254).mean())
    if not is_grey or black + white < UNCLEAR_SHARE:
        return "picture"
    return "mask" if black >= BLACK_SHARE and black + white >= EXTREME_SHARE else "unclear"
