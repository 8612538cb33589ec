"""Work shared out among threads, in each of which NumPy and torch use one core."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from lad_reasoner.judges.evidence import judge, threads
from lad_reasoner.judges.evidence.threads import count_cores, in_parallel, limit_torch


def blas_cores() -> list[int]:
    assert judge  # its import loads all that multiplies
    np.ones((2, 2)) @ np.ones((2, 2))
    # NumPy's own: other packages that a test has loaded bring others.
    blas = [
        library for library in threadpool_info() if library["user_api"] == "blas" and "numpy" in library["filepath"]
    ]
    assert blas
    return [library["num_threads"] for library in blas]


@pytest.fixture
def two_cores() -> Iterator[None]:
    """In a thread that ends: as long as the one that has changed the number lives, no other one can."""
    with ThreadPoolExecutor(1) as pool:
        limits = pool.submit(threadpool_limits, 2, "blas").result()
    yield
    with ThreadPoolExecutor(1) as pool:
        pool.submit(limits.restore_original_limits).result()


def test_numpy_uses_one_core_meanwhile(two_cores: None) -> None:
    before = blas_cores()
    inside = in_parallel(lambda _: blas_cores(), range(3))
    assert blas_cores() == before
    assert all(set(cores) <= {1} for cores in inside)


def test_one_core_until_the_last_is_done(two_cores: None) -> None:
    """Two callers at the same time: the first one to end does not give all cores back to the other."""
    begun, ended = threading.Event(), threading.Event()

    def long(_: int) -> list[int]:
        begun.set()
        ended.wait(30)
        return blas_cores()

    before = blas_cores()
    seen: list[list[int]] = []
    thread = threading.Thread(target=lambda: seen.extend(in_parallel(long, [0])))
    thread.start()
    begun.wait(30)
    with threads._one_core:
        pass
    ended.set()
    thread.join()
    assert blas_cores() == before
    assert set(seen[0]) <= {1}


def test_the_number_of_cores_is_what_one_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    every = count_cores()
    assert 1 <= every <= (os.cpu_count() or 1)
    for wish, cores in (("1", 1), ("1000", every), ("", every), ("2,1", every), ("0", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", wish)
        assert count_cores() == cores


def test_results_are_in_order_and_torch_uses_one_core_there() -> None:
    limit_torch()
    before = torch.get_num_threads()
    results = in_parallel(lambda item: (item, torch.get_num_threads(), threading.current_thread().name), range(20))
    assert [item for item, _, _ in results] == list(range(20))
    assert {cores for _, cores, _ in results} == {1}
    assert all(name.startswith("evidence") for _, _, name in results)
    assert torch.get_num_threads() == before


def test_a_thread_that_starts_later_has_all_cores() -> None:
    limit_torch()
    in_parallel(abs, [1])
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [torch.get_num_threads()]


def test_the_first_error_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda item: 1 / item, [1, 0, 2])
    assert in_parallel(abs, [-1]) == [1]


@pytest.mark.posix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_it_works_after_a_fork() -> None:
    in_parallel(abs, [1])
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(in_parallel, (abs, [-1, 2])).get(timeout=60) == [1, 2]
