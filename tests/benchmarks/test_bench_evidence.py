"""`make bench`: the operations of `evidence`, and that it looks at the right thread."""

import time

import bench_common
import bench_evidence
import pytest

from lad_reasoner.quality import _look


def test_operations_of_evidence_are_counted() -> None:
    inspector = bench_evidence._inspector(1)
    bench_evidence._judge(inspector, 1)
    pytest.importorskip("onnx", reason="onnx, which reads the graph of the network, is not installed")
    assert bench_evidence.count_evidence(inspector) > 0.5  # the network alone takes more


def test_looks_find_the_module_that_works() -> None:
    pair = bench_evidence._inspector(1).read_pair(bench_common.draw_pictures("test", 1)[0])
    with bench_evidence.Sampler() as sampler:
        end = time.monotonic() + 30
        while sampler.counts["quality.py"] < 3 and time.monotonic() < end:
            _look(pair.query)
    assert sampler.counts.most_common(1)[0][0] == "quality.py"
