"""Damaged pictures are read or refused, and what else happens is lost."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import drill_pictures
import pytest

from lad_reasoner.files.pictures import read_picture


def test_damaged_pictures_are_read_or_refused() -> None:
    # In a process of its own, since this one may have taken more memory than the drill allows.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        tally = pool.submit(drill_pictures.drill_pictures, 1200, seed=1).result()
    assert tally.lost == []
    assert tally.tried == 1200 + len(drill_pictures.make_pictures()) == tally.read + tally.refused
    assert min(tally.read, tally.refused) > 100
    assert f"tried {tally.tried}, survived {tally.tried} (" in str(tally)


def test_whole_pictures_of_one_frame_are_read() -> None:
    for name, data in drill_pictures.make_pictures().items():
        if "film" not in name and "pages" not in name:
            assert read_picture(data).image.size in ((56, 40), (40, 56)), name


def test_what_else_is_raised_is_lost(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def fail(data: bytes) -> None:
        raise KeyError("damaged")

    monkeypatch.setattr(drill_pictures, "read_picture", fail)
    monkeypatch.setattr(drill_pictures, "peak_mb", lambda: 0.0)  # of all tests before this one
    tally = drill_pictures.drill_pictures(3)
    assert len(tally.lost) == tally.tried
    assert tally.lost[0] == "whole png: KeyError: 'damaged'"


@pytest.mark.slow  # bombs of a hundred million pixels
def test_cut_off_and_odd_pictures() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        tally = pool.submit(drill_pictures.drill_odd, 40, seed=1).result()
    assert tally.lost == []
    assert tally.read > 40 and tally.tried > 85
