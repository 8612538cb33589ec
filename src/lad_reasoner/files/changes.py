"""What reading changes in pictures, counted before the first of them is judged.

    count_changes([("a.png", 16), ("b.tif", 12)])    # Counter({"transparent parts are shown as white": 1})

Most files say it in their head. One with an alpha channel, or with values of more than 8 bits, is decoded for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from lad_reasoner.errors import ImageError
from lad_reasoner.files.opening import PictureSource, open_picture
from lad_reasoner.files.pictures import has_more_notes, map_pictures, notes_by_head, notes_on_depth, read_picture
from lad_reasoner.progress import Track, silent


def count_changes(queries: Sequence[tuple[PictureSource, int | None]], track: Track = silent) -> Counter[str]:
    """Sort of change -> pictures; `queries` are pictures with the depth of their references.

    A picture that cannot be read changes nothing here: its own result says why.
    """
    found = track(map_pictures(_notes, queries), len(queries), "Looking at the pictures")
    return Counter(note for notes in found for note in notes)


def describe_changes(changes: Mapping[str, int], queries: int) -> list[str]:
    """`in 2 of 40 queries: transparent parts are shown as white`."""
    return [f"in {number} of {queries} queries: {note}" for note, number in changes.items()]


def _notes(query: tuple[PictureSource, int | None]) -> tuple[str, ...]:
    source, depth = query
    try:
        with open_picture(source) as image:
            if not has_more_notes(image):
                return notes_by_head(image) + notes_on_depth(image, depth)
        return read_picture(source, depth).notes
    except ImageError:
        return ()
