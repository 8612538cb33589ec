"""A short run of the drills."""

import drills

from lad_reasoner.files.pictures import read_picture


def test_damaged_pictures_are_read_or_refused() -> None:
    tally = drills.drill_pictures(1200, seed=1)
    assert tally.lost == []
    assert tally.tried == 1200 + len(drills.make_pictures()) == tally.read + tally.refused
    assert min(tally.read, tally.refused) > 100
    assert f"tried {tally.tried}, survived {tally.tried} (" in str(tally)


def test_whole_pictures_of_one_frame_are_read() -> None:
    for name, data in drills.make_pictures().items():
        if "film" not in name and "pages" not in name:
            assert read_picture(data).image.size in ((56, 40), (40, 56)), name


def test_what_else_is_raised_is_lost(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def fail(data: bytes) -> None:
        raise KeyError("damaged")

    monkeypatch.setattr(drills, "read_picture", fail)
    tally = drills.drill_pictures(3)
    assert len(tally.lost) == tally.tried
    assert tally.lost[0] == "whole png: KeyError: 'damaged'"
