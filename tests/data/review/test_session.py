"""Which records a person is shown, what is decided of them, and their pictures."""

import io
import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers import built
from lad_reasoner.data.review.decisions import decided, read_decisions
from lad_reasoner.data.review.session import MASK_COLOUR, Review, draw_sample
from lad_reasoner.data.sets.built_set import DECISIONS
from lad_reasoner.errors import ImageError, InputError, RecordError

EDITED = "One bolt is missing at the lower left."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built.build(tmp_path)
    return tmp_path


def change(folder: Path, name: str, **values: Any) -> None:
    records = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    built.write(folder, [{**record, **values} if record["id"] == name else record for record in records])


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 120), st.integers(0, 99))
def test_every_stratum_gives_its_share(sizes: list[int], count: int, seed: int) -> None:
    strata = {f"{group}-{at}": [str(group)] for group, size in enumerate(sizes) for at in range(size)}
    taken = draw_sample(strata, count, seed)
    assert len(taken) == len(set(taken)) == min(count, len(strata))
    shares = Counter(name.split("-")[0] for name in taken)
    for group, size in enumerate(sizes):
        share = size * len(taken) / len(strata)
        assert math.floor(share) <= shares[str(group)] <= math.ceil(share)
    assert taken == draw_sample(dict(reversed(strata.items())), count, seed)


def test_every_record_has_the_same_chance_and_the_beginning_is_a_sample_too() -> None:
    strata = {f"{at}": ["rare" if at < 5 else "frequent"] for at in range(50)}
    draws = [draw_sample(strata, 10, seed) for seed in range(1500)]
    often = Counter(name for draw in draws for name in draw)
    first = Counter(strata[draw[0]][0] for draw in draws)
    # Five standard deviations of a binomial with 1500 draws.
    assert all(abs(often[name] / 1500 - 0.2) < 5 * (0.2 * 0.8 / 1500) ** 0.5 for name in strata)
    assert abs(first["rare"] / 1500 - 0.1) < 5 * (0.1 * 0.9 / 1500) ** 0.5


def test_the_sample_repeats_with_its_seed(folder: Path) -> None:
    first, again, other = ([entry.id for entry in Review(folder, sample=8, seed=seed).entries] for seed in (1, 1, 2))
    assert first == again != other
    kinds = Counter((entry.category, entry.label) for entry in Review(folder, sample=8, seed=1).entries)
    assert set(kinds.values()) == {2}
    assert len(Review(folder, sample=999).entries) == 16


def test_decisions_are_appended_and_found_again(folder: Path) -> None:
    review = Review(folder, sample=99)
    names = [entry.id for entry in review.entries]
    text = next(entry.id for entry in review.entries if entry.task == "sft" and entry.label == "yes")
    rest = [name for name in names if name != text]
    review.decide(rest[0], "accept")
    review.decide(rest[1], "reject")
    review.decide(text, "edit", EDITED + "\r\nOnly one. ")
    assert review.counts == {"accepted": 1, "edited": 1, "rejected": 1}
    again = Review(folder, sample=99)
    assert list(again.decisions.values()) == list(review.decisions.values())
    open_numbers = [number for number, name in enumerate(names) if name not in (*rest[:2], text)]
    assert again.next_open() == open_numbers[0]
    assert again.next_open(after=15) == open_numbers[0]
    assert "3 of 16 decided, a sample of 16 records: 1 accepted, 1 edited, 1 rejected" in again.summary()
    assert "accepted without an edit: 33.3 % [6.1, 79.2]" in again.summary()
    records = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    kept = {record["id"]: record for record in decided(records, read_decisions(folder))}
    assert kept.keys() == set(names) - {rest[1]}
    assert kept[text]["messages"][1]["content"] == [{"type": "text", "text": EDITED + "\nOnly one."}]


def test_undo_takes_back_the_last_decision_also_of_an_earlier_run(folder: Path) -> None:
    review = Review(folder, sample=99)
    assert review.undo() is None
    review.decide(review.entries[3].id, "accept")
    review.decide(review.entries[5].id, "reject")
    again = Review(folder, sample=99)
    assert (again.undo(), again.undo(), again.undo()) == (5, 3, None)
    assert read_decisions(folder) == {}
    assert len((folder / DECISIONS).read_text().splitlines()) == 4


def test_decisions_outside_of_the_sample_stay_but_do_not_count(folder: Path) -> None:
    small = {entry.id for entry in Review(folder, sample=4).entries}
    whole = Review(folder, sample=99)
    outside = next(entry.id for entry in whole.entries if entry.id not in small)
    whole.decide(outside, "reject")
    review = Review(folder, sample=4)
    assert review.undo() is None
    assert sum(review.counts.values()) == 0
    with pytest.raises(InputError, match="not in the sample"):
        review.decide(outside, "accept")
    assert read_decisions(folder)[outside].decision == "reject"


def test_an_edit_that_changes_nothing_accepts_and_an_empty_one_is_refused(folder: Path) -> None:
    review = Review(folder, sample=99)
    for name, answer in (("sft-bolt_plate-good-0", built.ANSWERS["good"] + "\n"), ("pair-bolt_plate-good-0", "no")):
        review.decide(name, "edit", answer)
        assert review.decisions[name].decision == "accept"
    with pytest.raises(InputError, match="must not be empty"):
        review.decide("sft-bolt_plate-good-1", "edit", " \r\n")
    with pytest.raises(InputError, match="yes or no, not 'perhaps'"):
        review.decide("pair-bolt_plate-good-1", "edit", "perhaps")
    with pytest.raises(InputError, match="accept, reject or edit"):
        review.decide("pair-bolt_plate-good-1", "undo")
    assert len(review.decisions) == 2


def test_pictures_and_the_mask_over_the_query(folder: Path) -> None:
    review = Review(folder, sample=99)
    number = review.numbers["pair-bolt_plate-logical-0"]
    content, width, height = review.picture(number, 1)
    original = np.asarray(Image.open(folder / "images/bolt_plate/logical_0.png").convert("RGB"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), original)
    overlay = np.asarray(Image.open(io.BytesIO(review.overlay(number) or b"")))
    assert overlay.shape[1] / overlay.shape[0] == pytest.approx(width / height, rel=0.01)
    mask = np.asarray(Image.open(folder / "masks/bolt_plate-logical-0.png")) > 0
    shown = np.asarray(Image.fromarray(overlay[..., 3] == 50).resize((width, height), Image.Resampling.NEAREST))
    assert np.mean(shown == mask) > 0.99
    assert (overlay[overlay[..., 3] == 255][:, :3] == MASK_COLOUR).all()
    assert review.overlay(review.numbers["pair-bolt_plate-good-0"]) is None


def test_one_pixel_of_a_large_mask_is_seen(folder: Path) -> None:
    mask = np.zeros((2400, 3200), np.uint8)
    mask[1234, 2345] = 1
    Image.fromarray(mask).save(folder / "masks/bolt_plate-logical-0.png")
    review = Review(folder, sample=99)
    overlay = np.asarray(Image.open(io.BytesIO(review.overlay(review.numbers["sft-bolt_plate-logical-0"]) or b"")))
    rows, columns = np.nonzero(overlay[..., 3] == 50)
    assert rows.mean() / overlay.shape[0] == pytest.approx(1234 / 2400, abs=0.005)
    assert columns.mean() / overlay.shape[1] == pytest.approx(2345 / 3200, abs=0.005)


@pytest.mark.parametrize("name", ["../secret.png", "images/../../secret.png", "/etc/passwd", "link.png", "x\0.png"])
def test_no_picture_from_outside_of_the_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    built.build(folder, per_kind=1)
    Image.new("RGB", (64, 64)).save(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    change(folder, "sft-bolt_plate-logical-0", images_file_names=[name])
    change(folder, "pair-bolt_plate-logical-0", masks=[name])
    with pytest.raises(InputError, match="leads out of the set"):
        Review(folder, sample=99)
    # A link that is put in the place of a picture after the set was opened.
    review_of_whole_set(folder, tmp_path)


def review_of_whole_set(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder)
    built.build(folder, per_kind=1)
    review = Review(folder, sample=99)
    names = {entry.id: entry for entry in review.entries}
    picture = folder / names["sft-bolt_plate-logical-0"].images_file_names[0]
    mask = folder / names["pair-bolt_plate-logical-0"].masks[0]
    for path in (picture, mask):
        path.unlink()
        path.symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match="lies outside of"):
        review.picture(review.numbers["sft-bolt_plate-logical-0"], 0)
    with pytest.raises(InputError, match="lies outside of"):
        review.overlay(review.numbers["pair-bolt_plate-logical-0"])


def test_what_is_no_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no metadata\.jsonl; give a folder"):
        Review(tmp_path, sample=1)
    (tmp_path / "metadata.jsonl").write_text("")
    with pytest.raises(InputError, match="no records"):
        Review(tmp_path, sample=1)
    records = built.build(tmp_path, per_kind=1)
    built.write(tmp_path, [records[0], records[0]])
    with pytest.raises(InputError, match="two records have the id 'sft-bolt_plate-good-0'"):
        Review(tmp_path, sample=1)
    for messages in ([], records[0]["messages"][:1], [{"content": "x"}], [{"role": "user", "content": [{}]}]):
        built.write(tmp_path, [records[1], {**records[0], "messages": messages}])
        with pytest.raises(RecordError, match=r"metadata\.jsonl:2: .*messages"):
            Review(tmp_path, sample=1)
    for query in (-1, 1):
        built.write(tmp_path, [records[1], {**records[0], "query": query}])
        with pytest.raises(RecordError, match=rf"metadata\.jsonl:2: query: there is no picture {query} among"):
            Review(tmp_path, sample=1)
    built.write(tmp_path, [{**records[0], "kind": "<script>"}])
    with pytest.raises(RecordError, match=r"metadata\.jsonl:1: kind"):
        Review(tmp_path, sample=1)


def test_a_damaged_picture_is_an_error_of_its_own(folder: Path) -> None:
    (folder / "images/bolt_plate/good_0.png").write_bytes(b"<html>")
    review = Review(folder, sample=99)
    with pytest.raises(ImageError, match=r"good_0\.png: a web page, not a picture"):
        review.picture(review.numbers["sft-bolt_plate-good-0"], 0)
