"""The shipped micro: its limits, its folder, what it can do, and that it says what it was made for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rendered import draw_pairs, judge_pairs

from lad_reasoner import load_model
from lad_reasoner.answers import parse_response
from lad_reasoner.judges.vlm.checkpoint import BUILT_IN, load_checkpoint
from lad_reasoner.miniloco import EVALUATION, draw_picture
from lad_reasoner.miniloco.words import check_claims


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_ships_keeps_its_limits(name: str) -> None:
    folder = BUILT_IN[name]
    assert sum(file.stat().st_size for file in folder.glob("*.safetensors")) <= 16 * 1024**2
    assert not [file.name for file in folder.iterdir() if file.suffix in {".bin", ".pt", ".pkl"}]
    checkpoint = load_checkpoint(name)
    assert sum(parameter.numel() for parameter in checkpoint.model.parameters()) <= 8_000_000
    assert type(checkpoint.model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert "rendered" in checkpoint.scope
    end = checkpoint.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    for file in ("config.json", "generation_config.json"):
        assert json.loads((folder / file).read_text())["eos_token_id"] == end


@pytest.mark.slow
def test_micro_judges_products_that_it_never_saw() -> None:
    """Every response is structured; verdicts, ranking and claims are well above chance (the README has the figures)."""
    judge = load_model("micro")
    right: dict[bool, list[bool]] = {True: [], False: []}
    true = claims = 0
    for product in EVALUATION:
        pairs = list(draw_pairs(product, 12, seed=5))
        for pair, judgement in zip(pairs, judge_pairs(judge, pairs), strict=True):
            response = parse_response(judgement.response)
            assert response.structured
            right[pair.anomalous].append((response.answer == "yes") == pair.anomalous)
            held, said = check_claims(response.reasoning, pair.reference.facts, pair.query.facts)
            true, claims = true + held, claims + said
    assert (np.mean(right[True]) + np.mean(right[False])) / 2 > 0.6
    assert claims > 200
    assert true / claims > 0.6


def test_inspect_with_micro_says_that_it_knows_no_photographs(tmp_path: Path) -> None:
    for kind in ("good", "logical"):
        draw_picture("breakfast_box", "test", kind, 0).image.save(tmp_path / f"{kind}.png")
    program = str(Path(sys.executable).with_name("lad-reasoner"))
    command = [program, "inspect", "--model", "micro", "--json", "--reference", "good.png", "logical.png", "good.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "photographs" in done.stderr
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [verdict["model"] for verdict in verdicts] == ["micro", "micro"]
    assert all(verdict["reasoning"].startswith("Reference to query: ") for verdict in verdicts)
