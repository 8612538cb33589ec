"""One picture a thread: so many queries are judged at once as there are cores.

    findings = in_parallel(measure, queries)         # in order

NumPy by itself shares out each matrix product among the cores. The products of this judge are so small that the cores
would mostly wait for each other, and all of them for the one that another program has taken.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")


def count_cores() -> int:
    """How many cores this process may use: fewer than there are, if OMP_NUM_THREADS or the system says so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wish = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(wish))) if wish.isdecimal() else cores


def in_parallel(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    show: Callable[[Iterable[Result]], Iterable[Result]] = iter,
) -> list[Result]:
    """The results in order; raises what the first failing item raises. `function` must not call this in turn.

    `show` passes the results on as they come: a progress bar.
    """
    with _one_core:
        return list(show(_pool().map(function, items)))


def begin(function: Callable[..., Result], *arguments: Any) -> Future[Result]:
    """Start the function in one of the threads, beside what follows here; it must not call `in_parallel`."""
    return _pool().submit(function, *arguments)


class _OneCore:
    """While anyone is inside, a matrix product of NumPy uses one core, in all threads."""

    def __init__(self) -> None:
        self._changing, self._inside = threading.Lock(), 0
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._changing:
            if self._inside == 0:
                self._limits = _keeper().submit(_limit_numpy).result()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changing:
            self._inside -= 1
            if self._inside == 0:
                _keeper().submit(self._limits.__exit__, None, None, None).result()


_one_core = _OneCore()


@cache
def _keeper() -> ThreadPoolExecutor:
    """The thread that changes the number: whichever has done so last is the only one that may."""
    return ThreadPoolExecutor(1, thread_name_prefix="evidence-limits")


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def _limit_numpy() -> Any:
    return _libraries().limit(limits=1, user_api="blas").__enter__()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count_cores(), thread_name_prefix="evidence")


def limit_torch() -> None:
    """Have torch use one core in each of the threads; all others keep what they have."""
    import torch

    threads = torch.get_num_threads()
    everyone = threading.Barrier(count_cores())

    def start(_: int) -> None:
        torch.get_num_threads()  # a thread's first look takes over what all threads start with
        torch.set_num_threads(1)
        everyone.wait()  # so that each of the threads has done it

    list(_pool().map(start, range(count_cores())))
    torch.set_num_threads(threads)  # what other threads start with is set by the last call


if hasattr(os, "register_at_fork"):
    # Threads exist in the parent only.
    os.register_at_fork(after_in_child=_pool.cache_clear)
    os.register_at_fork(after_in_child=_keeper.cache_clear)
