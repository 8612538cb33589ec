"""`make bench`: the large model in small, and what its times tell."""

from pathlib import Path

import bench_card
import pytest
import speed


def test_launches_are_named_where_they_bound() -> None:
    class Config:
        num_hidden_layers = 4

        def get_text_config(self) -> "Config":
            return self

    told = bench_card._launches(Config(), [8.0, 9.0], (1, 32))
    assert "8.0 ms for 1 and 9.0 ms for 32 responses" in told
    assert "2000 µs a layer" in told
    assert bench_card._launches(Config(), [8.0, 20.0], (1, 32)) == ""


@pytest.mark.slow
def test_the_large_model_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An eighth as wide, since the times tell nothing here; each head is as wide as that of the large one.
    text = {"hidden_size": 256, "intermediate_size": 1376, "num_attention_heads": 2, "num_key_value_heads": 1}
    monkeypatch.setattr(bench_card, "TEXT", bench_card.TEXT | text)
    tower = {"hidden_size": 160, "intermediate_size": 428, "num_heads": 2, "out_hidden_size": 256}
    monkeypatch.setitem(speed.TOWERS, "Qwen2.5-VL-3B", speed.TOWERS["Qwen2.5-VL-3B"] | tower)
    bench_card.make_3b(tmp_path, layers=1)
    told = bench_card.measure_3b(tmp_path, "cpu", 1, (1, 2))
    rows = [line.split(" | ") for line in told.splitlines() if line.startswith("| ")][2:]
    assert [(row[0], row[1]) for row in rows] == [
        ("| 1", "reading"),
        ("| 1", "writing"),
        ("| 2", "reading"),
        ("| 2", "writing"),
    ]
    assert all(
        "TFLOP/s" in row[3] if row[1] == "reading" else "tokens/s" in row[2] and "GB/s" in row[3] for row in rows
    )
    assert all(int(row[4].split()[0]) >= 0 for row in rows)
