"""One picture a thread: so many queries are judged at once as there are cores.

    findings = in_parallel(measure, queries)         # in order

torch by itself shares out each operation among the cores. The operations of this judge are so small that the cores
would mostly wait for each other, and all of them for the one that another program has taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    show: Callable[[Iterable[Result]], Iterable[Result]] = iter,
) -> list[Result]:
    """The results in order; raises what the first failing item raises. `function` must not call this in turn.

    `show` passes the results on as they come: a progress bar.
    """
    return list(show(_pool().map(torch.inference_mode()(function), items)))


@cache
def _pool() -> ThreadPoolExecutor:
    """A thread for each core that torch may use; in each of them, torch uses one."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="evidence")
    everyone = Barrier(threads)

    def start(_: int) -> None:
        torch.get_num_threads()  # a thread's first look takes over what all threads start with
        torch.set_num_threads(1)
        everyone.wait()  # so that each of the threads has done it

    list(pool.map(start, range(threads)))
    torch.set_num_threads(threads)  # what other threads start with is set by the last call
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads exist in the parent only
