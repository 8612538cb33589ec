"""Localisation: exact beside a plain count over all thresholds, and what a run keeps of its maps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from helpers.command_line import run as run_command
from helpers.planted import lamps
from helpers.runs import prediction
from lad_reasoner.data.masks import GroundTruth
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.benchmark import RenderedBenchmark, open_benchmark
from lad_reasoner.evaluation.localisation import (
    Localisation,
    PixelRows,
    PixelSums,
    count_pixels,
    measure_localisation,
    read_counts,
    save_counts,
)
from lad_reasoner.evaluation.run import Run, read_run, write_metrics
from lad_reasoner.evaluation.thumbnails import hashed_path
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.miniloco.writer import write_benchmark
from lad_reasoner.records import Estimate, Prediction
from lad_reasoner.report.evaluation import write_evaluation

Map = NDArray[np.float32]
Queries = list[tuple[str, Map, GroundTruth]]  # kind, map, truth


def draw_queries(seed: int, saturated: bool = True) -> Queries:
    """Two good pictures, and four with regions that touch at corners, overlap, or are one pixel."""
    rng = np.random.default_rng(seed)
    queries: Queries = []
    for number in range(6):
        shape = (9, 11) if number % 2 else (8, 8)
        # Eighths, negative ones too: numbers that half precision has, with many ties.
        heat = (rng.integers(-6, 30, shape) / 8).astype(np.float32)
        mask = np.zeros(shape, bool)
        channels = []
        for _ in range(0 if number < 2 else rng.integers(1, 4)):
            top, left = rng.integers(0, 6, 2)
            region = np.zeros(shape, bool)
            region[top : top + rng.integers(1, 4), left : left + rng.integers(1, 4)] = True
            mask |= region
            channels.append((region, int(rng.integers(1, region.sum() + 1))))
            heat[region] += 1
        kind = "good" if number < 2 else ("logical", "structural")[number % 2]
        queries.append((kind, heat, GroundTruth(mask, tuple(channels) if saturated else ())))
    return queries


def brute_force(queries: Queries) -> dict[str, float]:
    """All four measures by their definitions: every value as a threshold, every region counted anew."""
    thresholds = sorted({float(value) for _, heat, _ in queries for value in heat.ravel()}, reverse=True)
    points = [(0.0, 0.0, 0.0)]  # FPR, PRO, sPRO
    for threshold in thresholds:
        false = outside = 0
        overlaps: list[float] = []
        saturated: list[float] = []
        for _, heat, truth in queries:
            found = heat >= threshold
            false += int((found & ~truth.mask).sum())
            outside += int((~truth.mask).sum())
            labels, count = ndimage.label(truth.mask, structure=np.ones((3, 3)))
            overlaps += [found[labels == number].mean() for number in range(1, count + 1)]
            saturated += [min(1.0, found[region].sum() / saturation) for region, saturation in truth.channels]
        points.append((false / outside, float(np.mean(overlaps)), float(np.mean(saturated or [np.nan]))))

    def area(column: int, limit: float) -> float:
        total = 0.0
        for before, after in pairwise(points):
            left, right = before[0], min(after[0], limit)
            if right > left:
                slope = (after[column] - before[column]) / (after[0] - before[0])
                total += (right - left) * (before[column] + slope * (right - left) / 2)
        return total / limit

    pointed = []
    for _, heat, truth in queries:
        if truth.mask.any():
            highest = heat == heat.max()
            pointed.append((highest & truth.mask).sum() / highest.sum())
    labels = np.concatenate([truth.mask.ravel() for _, _, truth in queries])
    scores = np.concatenate([heat.ravel() for _, heat, _ in queries])
    return {
        "pixel_auroc": float(roc_auc_score(labels, scores)),
        "aupro": area(1, 0.3),
        "au_spro": area(2, 0.05),
        "pointing": float(np.mean(pointed)),
    }


def keep(folder: Path, category: str, queries: Queries) -> list[Prediction]:
    """The counts of all queries in the folder, and their predictions."""
    lines = []
    for number, (kind, heat, truth) in enumerate(queries):
        name = f"{category}/{number}.png"
        save_counts(folder, name, count_pixels(heat, truth))
        lines.append(prediction(name, kind != "good", "no", kind=kind, category=category))
    return lines


@pytest.mark.parametrize("seed", range(12))
def test_every_measure_is_that_of_a_count_over_all_thresholds(seed: int, tmp_path: Path) -> None:
    classes = {"a": draw_queries(seed), "b": draw_queries(100 + seed)}
    lines = [line for name, queries in classes.items() for line in keep(tmp_path, name, queries)]
    measured = measure_localisation(tmp_path, lines[::-1])
    assert measured is not None
    expected = {name: brute_force(queries) for name, queries in classes.items()}
    logical = [brute_force([query for query in queries if query[0] != "structural"]) for queries in classes.values()]
    for name in expected["a"]:
        for category in classes:
            assert getattr(measured.by_class[category], name).value == pytest.approx(
                expected[category][name], abs=1e-12
            )
        mean = (expected["a"][name] + expected["b"][name]) / 2
        assert getattr(measured.mean_over_classes, name).value == pytest.approx(mean, abs=1e-12)
        mean = (logical[0][name] + logical[1][name]) / 2
        assert getattr(measured.by_kind["logical"], name).value == pytest.approx(mean, abs=1e-12)
    assert (measured.mean_over_classes.pictures, measured.mean_over_classes.anomalous, measured.queries) == (12, 8, 12)
    assert measured.by_kind["logical"].pictures == 8


@pytest.mark.parametrize("seed", range(3))
def test_a_resample_is_measured_as_its_queries_repeated(seed: int) -> None:
    queries = draw_queries(seed)
    counts = [count_pixels(heat, truth) for _, heat, truth in queries]
    pixels = PixelSums()
    for each in counts:
        pixels.add(each)
    weights = np.array([[1, 1, 1, 1, 1, 1], [0, 2, 1, 0, 2, 1], [3, 0, 0, 1, 1, 1], [2, 4, 0, 0, 0, 0]], np.float64)
    measured = PixelRows(counts, pixels.bins()).measure(weights)
    for row, drawn in zip(measured[:3], weights[:3], strict=True):
        repeated = [query for query, times in zip(queries, drawn, strict=True) for _ in range(int(times))]
        assert row == pytest.approx(list(brute_force(repeated).values()), abs=1e-12)
    assert np.isnan(measured[3]).all()  # good pictures only


def test_many_values_are_resampled_in_fewer_bins() -> None:
    rng = np.random.default_rng(0)
    pixels, counts = PixelSums(), []
    for number in range(4):
        heat, mask = rng.normal(0, 0.3, (120, 120)).astype(np.float32), np.zeros((120, 120), bool)
        if number:
            mask[20:50, 30 : 40 + 10 * number] = True
            heat[mask] += 0.5
        counts.append(count_pixels(heat, GroundTruth(mask, ((mask, 200),) if number else ())))
        pixels.add(counts[-1])
    assert (pixels.outside > 0).sum() > 5000
    approximate = PixelRows(counts, pixels.bins()).measure(np.ones((1, 4)))[0]
    assert approximate == pytest.approx(pixels.measure(), abs=5e-4)


def test_every_measure_has_an_interval_over_its_pictures(tmp_path: Path) -> None:
    lines = [line for name in "ab" for line in keep(tmp_path, name, draw_queries(ord(name)))]
    measured = measure_localisation(tmp_path, lines)
    assert measured is not None
    assert measured == measure_localisation(tmp_path, lines[::-1])
    estimates = [measured.mean_over_classes, measured.mean_over_kinds]
    for each in (*estimates, *measured.by_class.values(), *measured.by_kind.values()):
        for name in ("pixel_auroc", "aupro", "au_spro"):
            estimate = getattr(each, name)
            assert estimate.interval is not None
            low, high = estimate.interval
            assert low < estimate.value < high
    widths = []
    for each in (measured.mean_over_classes, *measured.by_class.values()):
        assert each.pixel_auroc.interval is not None
        widths.append(each.pixel_auroc.interval[1] - each.pixel_auroc.interval[0])
    # Classes are drawn apart from each other: the mean of two varies less than they do on average.
    assert widths[0] < np.mean(widths[1:])
    without = measure_localisation(tmp_path, lines, resamples=0)
    assert without is not None
    assert without.mean_over_classes.aupro == Estimate(value=measured.mean_over_classes.aupro.value)


def test_known_cases(tmp_path: Path) -> None:
    mask = np.zeros((10, 10), bool)
    mask[:2, :5] = True
    perfect, constant = mask.astype(np.float32), np.ones((10, 10), np.float32)
    half = np.zeros((10, 10), np.float32)
    half[0, :5] = 2  # five of ten pixels, nothing outside
    for name, heat, saturation, values in (
        ("perfect", perfect, 10, (1, 1, 1, 1)),
        ("constant", constant, 10, (0.5, 0.15, 0.025, 0.1)),
        # The line from 0.5 at FPR 0 to 1 at FPR 1; with a saturation of five pixels all is found.
        ("half", half, 10, (0.75, 0.575, 0.5125, 1)),
        ("saturated", half, 5, (0.75, 0.575, 1, 1)),
        ("inverted", -perfect, 10, (0, 0, 0, 0)),
    ):
        lines = keep(tmp_path, name, [("logical", heat, GroundTruth(mask, ((mask, saturation),)))])
        measured = measure_localisation(tmp_path, lines)
        assert measured is not None
        found = measured.mean_over_classes
        assert [
            estimate.value for estimate in (found.pixel_auroc, found.aupro, found.au_spro, found.pointing)
        ] == pytest.approx(values), name


def test_what_is_not_defined_is_none(tmp_path: Path) -> None:
    good, *others = draw_queries(0, saturated=False)
    assert measure_localisation(tmp_path, keep(tmp_path, "good", [good])) is None
    assert measure_localisation(tmp_path / "none", keep(tmp_path, "a", others)) is None
    everywhere = GroundTruth(np.ones((8, 8), bool))
    measured = measure_localisation(tmp_path, keep(tmp_path, "all", [("logical", good[1], everywhere)]))
    assert measured is not None
    assert (measured.by_class["all"].pixel_auroc.value, measured.by_class["all"].aupro.value) == (None, None)
    assert measured.by_class["all"].pointing.value == 1
    without_saturation = measure_localisation(tmp_path, [*keep(tmp_path, "a", others), *keep(tmp_path, "g", [good])])
    assert without_saturation is not None
    assert without_saturation.by_class["a"].au_spro.value is None
    assert without_saturation.by_class["a"].aupro.value is not None
    assert without_saturation.mean_over_classes.aupro.value is None  # the class g has no anomalous picture
    # One picture without saturation areas: a mean over the others would be about other pictures than the rest.
    some = [*draw_queries(0)[:3], (*draw_queries(1)[3][:2], replace(draw_queries(1)[3][2], channels=()))]
    mixed = measure_localisation(tmp_path, keep(tmp_path, "mixed", some))
    assert mixed is not None
    assert mixed.by_class["mixed"].au_spro.value is None
    failed = [line.model_copy(update={"error": "broken"}) for line in keep(tmp_path, "a", others)]
    assert measure_localisation(tmp_path, failed) is None


def test_a_coarse_map_is_interpolated_to_the_size_of_the_mask() -> None:
    heat = np.array([[0, 4]], np.float32)
    counts = count_pixels(heat, GroundTruth(np.zeros((1, 8), bool)))
    # Bilinear between the centres of the two cells: 0 0 0.5 1.5 2.5 3.5 4 4
    assert counts.outside.tolist() == [2, 1, 1, 1, 1, 2]
    fine = count_pixels(np.ones((40, 40), np.float32), GroundTruth(np.zeros((7, 5), bool)))
    assert fine.outside.tolist() == [35]


def test_values_beyond_half_precision_keep_their_order_and_no_number_is_refused() -> None:
    heat = np.array([[-np.inf, -1e9, -1, -0.0, 0, 1e-3, 70000, np.inf]], np.float32)
    counts = count_pixels(heat, GroundTruth(np.zeros((1, 8), bool)))
    assert counts.outside.tolist() == [2, 1, 2, 1, 2]
    heat[0, 0] = np.nan
    with pytest.raises(InputError, match="its map holds values that are no numbers"):
        count_pixels(heat, GroundTruth(np.zeros((1, 8), bool)))


def test_memory_does_not_grow_with_the_regions() -> None:
    """A mask of salt has thousands of regions; a count for each of them and value would take gigabytes."""
    rng = np.random.default_rng(0)
    mask = np.zeros((400, 400), bool)
    mask[::2, ::2] = True
    counts = count_pixels(rng.random((400, 400), np.float32), GroundTruth(mask))
    assert counts.regions == 40_000
    assert counts.pro.sum() == pytest.approx(40_000)
    assert counts.pro.shape == counts.outside.shape


def test_kept_counts_are_the_same_and_damaged_ones_are_named(tmp_path: Path) -> None:
    _, heat, truth = draw_queries(3)[2]
    counts = count_pixels(heat, truth)
    save_counts(tmp_path, "a.png", counts)
    kept = read_counts(tmp_path, "a.png")
    assert kept is not None
    for name, value in vars(counts).items():
        assert np.array_equal(getattr(kept, name), value), name
    assert read_counts(tmp_path, "b.png") is None
    path = hashed_path(tmp_path, "a.png", "npz")
    whole = path.read_bytes()
    shuffled = replace(counts, levels=counts.levels[::-1])
    save_counts(tmp_path, "shuffled.png", shuffled)
    with pytest.raises(InputError, match=r"npz: damaged; remove it, shuffled\.png is then left out"):
        read_counts(tmp_path, "shuffled.png")
    for content in (b"", b"nothing", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"npz: damaged; remove it, a\.png is then left out"):
            read_counts(tmp_path, "a.png")


class Pointer:
    """Draws a map: high at the left of anomalous queries."""

    name, prompt_version, notes, batch_size = "pointer", "pointer-1", (), 2
    parameters: int | None = None

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        judgements = []
        for pair in pairs:
            heat = np.zeros((4, 4), np.float32)
            if "good" not in pair.query.name:
                heat[:, :2] = 2
            judgements.append(Judgement.of("<think>x</think><answer>no</answer>", 0.25, heat=heat))
        return judgements


def masked_lamps(folder: Path) -> Path:
    """Three anomalous pictures of 16 x 16: two with the left half as mask, one without."""
    lamps(folder)
    mask = np.zeros((16, 16), np.uint8)
    mask[:, :8] = 255
    for number in range(2):
        path = folder / f"lamp/ground_truth/logical_anomalies/{number:03}_mask.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    return folder


def localisation(out: Path) -> Localisation:
    measured = write_metrics(out)[1].localisation
    assert measured is not None
    return measured


def test_a_run_measures_its_maps_and_a_report_measures_them_again_without_the_data(tmp_path: Path) -> None:
    benchmark = open_benchmark("folder", masked_lamps(tmp_path / "lamps"))
    out = tmp_path / "run"
    first = Run(out, Pointer(), benchmark).predict()
    for _ in range(3):
        next(first)
    first.close()  # type: ignore[attr-defined]
    list(Run(out, Pointer(), benchmark).predict())
    measured = localisation(out)
    found = measured.mean_over_classes
    assert (found.pictures, found.anomalous, measured.queries) == (6, 2, 7)
    assert found.pixel_auroc.value is not None
    assert found.pixel_auroc.value > 0.99
    assert (found.pointing.value, found.au_spro.value) == (1, None)
    (tmp_path / "lamps").rename(tmp_path / "elsewhere")
    done = run_command("report", out)
    assert done.returncode == 0, done.stderr
    assert "AUPRO 0.3" in done.stdout
    assert "maps of 6 of 7 queries are measured; the others have no map, no mask, or a black one" in done.stderr
    assert localisation(out) == measured
    assert json.loads((out / "metrics.json").read_text())["localisation"]["by_class"].keys() == {"lamp"}
    page = (out / "report.html").read_text()
    assert "<h2>Localisation (%)</h2>" in page
    assert "AU-sPRO (to FPR 0.05)" in page


def test_without_masks_there_is_nothing_to_keep(tmp_path: Path) -> None:
    out = tmp_path / "run"
    list(Run(out, Pointer(), open_benchmark("folder", lamps(tmp_path / "lamps"))).predict())
    assert not (out / "localisation").exists()
    recorded, metrics, page = write_evaluation(out)
    assert metrics.localisation is None
    assert not [note for note in recorded.settings.notes if "maps" in note]
    assert "Localisation" not in page.read_text()


def test_a_mask_that_cannot_be_read_ends_no_run_and_is_named(tmp_path: Path) -> None:
    folder = masked_lamps(tmp_path / "lamps")
    benchmark = open_benchmark("folder", folder)
    (folder / "lamp/ground_truth/logical_anomalies/001_mask.png").write_bytes(b"nothing")
    out = tmp_path / "run"
    assert len(list(Run(out, Pointer(), benchmark).predict())) == 7
    (note,) = [note for note in read_run(out).settings.notes if "not measured" in note]
    assert note.startswith("1 maps not measured: lamp/test/logical_anomalies/001.png: ")
    assert "the mask cannot be read" in note
    assert localisation(out).mean_over_classes.anomalous == 1


def test_miniloco_is_the_same_rendered_and_on_disk(tmp_path: Path) -> None:
    list(write_benchmark(tmp_path / "disk", products=["pushpins"], per_class=3))
    on_disk, rendered = open_benchmark("miniloco", tmp_path / "disk"), open_benchmark("miniloco")
    for name, sample in on_disk.samples.items():
        if sample.label == "no":
            continue
        truth, other = on_disk.ground_truth(name), rendered.ground_truth(name)
        assert truth is not None
        assert other is not None
        ((region, saturation),) = truth.channels
        assert np.array_equal(truth.mask, region)
        assert np.array_equal(truth.mask, other.mask)
        assert saturation == region.sum() == other.channels[0][1]
    assert rendered.has_masks


def test_a_rendered_query_is_drawn_once_for_its_picture_and_its_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lad_reasoner.evaluation.benchmark.KEPT_QUERIES", 1)
    rendered = open_benchmark("miniloco")
    assert isinstance(rendered, RenderedBenchmark)
    name = "pushpins/test/logical_anomalies/000.png"
    rendered.read(name)
    rendered.read("pushpins/train/good/000.png")  # a reference pushes no query out
    assert rendered.ground_truth(name) is not None
    assert rendered._draw.cache_info().misses == 1
