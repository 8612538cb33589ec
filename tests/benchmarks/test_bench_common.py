"""`make bench`: what its helpers compute."""

import bench_common
import pytest
import torch


def test_medians_with_their_spread() -> None:
    assert bench_common.spread([3, 1, 2]) == (2, 1, 3)
    assert bench_common.words((4.5, 4.2, 4.81)) == "4.5 (4.2 to 4.8)"
    order: list[str] = []
    seconds = bench_common.time_in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b", "a", "b"]
    assert [len(times) for times in seconds.values()] == [2, 2]
    assert bench_common.table(("a", "b"), [(1, 2)]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_operations_are_counted() -> None:
    matrix = torch.ones(100, 100)
    assert bench_common.count_operations(lambda: matrix @ matrix) == pytest.approx(2e-3)
