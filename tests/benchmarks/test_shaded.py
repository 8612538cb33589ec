"""Shaded photographs: the change itself, and the table."""

import sys
from pathlib import Path

import numpy as np
import pytest
import shaded
from photographs import Category
from PIL import Image

SIDE = 240


def panel(seed: int) -> Image.Image:
    """A grey surface with a bright frame and some grain."""
    pixels = np.full((SIDE, SIDE, 3), 150.0)
    pixels[20:30, 20:-20], pixels[20:-20, 20:30] = 220, 220
    grain = np.random.default_rng(seed).normal(0, 3, (SIDE, SIDE, 1))
    return Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))


def test_a_square_with_a_soft_rim_has_its_share_of_the_light() -> None:
    image = Image.new("RGB", (300, 200), (200, 200, 200))
    changed, (x, y) = shaded.shade(image, (0.5, 0.5, 0.5), np.random.default_rng(3))
    light = np.asarray(changed)[..., 0]
    assert light[round(y * 200), round(x * 300)] == pytest.approx(100, abs=6)
    corner = light[0 if y > 0.5 else -1, 0 if x > 0.5 else -1]
    assert corner == 200
    half = 300 * shaded.SIDE / 2
    assert 120 < light[round(y * 200), round(x * 300 - half)] < 180
    # As large as it should be: half of its rim's light is within.
    assert (200 - light.astype(float)).sum() / 100 == pytest.approx(300 * 200 * shaded.SIDE**2, rel=0.05)


def test_the_table_tells_what_the_tone_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / f"{seed}.png" for seed in range(6)]
    for seed, path in enumerate(paths):
        panel(seed).save(path)
    sets = {"panels": [Category("panels", paths[:4], paths[4:], [])], "many": [Category("a", paths, paths, [])] * 2}
    monkeypatch.setattr(shaded, "load_sets", lambda root: sets)
    monkeypatch.setattr(sys, "argv", ["shaded.py", str(tmp_path), "--references", "3"])
    shaded.main()
    _, _, *rows = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[:4] for row in cells] == [["panels", change, "2", "0"] for change in shaded.CHANGES]
    dark = cells[0]
    assert int(dark[4]) <= int(dark[5]) == 2 and int(dark[6]) == 2
