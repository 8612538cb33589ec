"""Work shared out among threads, in each of which torch uses one core."""

import multiprocessing
import threading

import pytest
import torch

from lad_reasoner.judges.evidence.threads import in_parallel


def test_results_are_in_order_and_torch_uses_one_core_there() -> None:
    before = torch.get_num_threads()
    results = in_parallel(lambda item: (item, torch.get_num_threads(), threading.current_thread().name), range(20))
    assert [item for item, _, _ in results] == list(range(20))
    assert {cores for _, cores, _ in results} == {1}
    assert all(name.startswith("evidence") for _, _, name in results)
    assert torch.get_num_threads() == before


def test_a_thread_that_starts_later_has_all_cores() -> None:
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


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_it_works_after_a_fork() -> None:
    in_parallel(abs, [1])
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(in_parallel, (abs, [-1, 2])).get(timeout=60) == [1, 2]
