"""Answers of a service that were paid for: on the disk before anything else is done with them, and none paid twice.

    ledger = Ledger("answers.jsonl", prices=Prices(0.1, 0.4), budget=5.0)
    with ledger.hold():
        exchange = ledger.obtain(key, ask)    # from the disk, or by `ask()`, which is then kept

A line's key is the hash of all that its answer depends on. The exception that no client can avoid: a request under way
when the process is killed, or when a timeout cuts it off, may have been charged without an answer.
"""

from __future__ import annotations

import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.files.jsonl import append_record, read_records, repair_records
from lad_reasoner.records import Record
from lad_reasoner.remote.prices import Bill, Prices

ROOM = 16 * 2**20  # bytes that must be free on the disk before an answer is paid for


class Exchange(Record):
    """An answer that was paid for. `score` is that of a judge, where the service gave one."""

    key: str
    text: str
    finish: str
    model: str
    input_tokens: int
    output_tokens: int
    score: float | None = None


class BudgetSpentError(Exception):
    """Nothing more may be paid for; the message says how much was."""


class Ledger:
    """A file of `Exchange` lines, and what they cost; for many threads at once.

    `paid` is what this object's answers used so far, `recalled` what those from the disk once did; each answer counts
    once. `budget`, in the currency of `prices`, covers both; what is under way when it is reached is still paid.
    """

    def __init__(self, path: str | Path, *, prices: Prices | None = None, budget: float | None = None) -> None:
        if budget is not None and prices is None:
            raise InputError("a budget needs prices: give the cost of a million input and of a million output tokens")
        self.path, self.prices, self.budget = Path(path), prices, budget
        nothing = None if prices is None else 0.0
        self.paid, self.recalled = Bill(cost=nothing), Bill(cost=nothing)
        self.known: dict[str, Exchange] = {}
        self._billed: set[str] = set()
        self._lock = threading.Lock()
        self._busy: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep a second run from paying for the same answers; the system frees the file at any death.

        InputError when another run holds it, RecordError for a line that cannot be read.
        """
        from filelock import FileLock, Timeout

        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = FileLock(f"{self.path}.lock", thread_local=False).acquire(blocking=False)
        except Timeout:
            raise InputError(f"{self.path}: another run is using it; wait for its end or give another file") from None
        with held:
            repair_records(self.path)
            self.load()
            yield

    def load(self) -> None:
        """Read the lines; nothing is written."""
        if self.path.exists():
            self.known = {exchange.key: exchange for exchange in read_records(self.path, Exchange)}

    def recall(self, key: str) -> Exchange | None:
        """The answer on the disk, and its cost on the bill."""
        exchange = self.known.get(key)
        if exchange is not None:
            self._charge(self.recalled, exchange)
        return exchange

    def obtain(self, key: str, ask: Callable[[], Exchange]) -> Exchange:
        """The answer on the disk, or that of `ask`, which is kept; the same question twice at a time is asked once.

        Raises `BudgetSpentError` and, for a full disk, `MachineError`, both before anything is paid.
        """
        with self._lock:
            busy = self._busy[key]
        with busy:
            exchange = self.recall(key)
            if exchange is None:
                self._check_means()
                exchange = ask()
                self._keep(exchange)
            return exchange

    def _check_means(self) -> None:
        """Money for the answer, and room to keep it."""
        with self._lock:
            spent = (self.paid.cost or 0.0) + (self.recalled.cost or 0.0)
        if self.budget is not None and spent >= self.budget:
            raise BudgetSpentError(f"the budget of {self.budget:g} is spent ({spent:.4g})")
        if shutil.disk_usage(self.path.parent).free < ROOM:
            raise MachineError(f"{self.path}: the disk is full; free some space and start again, answers are kept")

    def _keep(self, exchange: Exchange) -> None:
        with self._lock:
            try:
                append_record(self.path, exchange)
            except OSError as error:
                repair_records(self.path)  # other answers are still to come, and must not follow on half a line
                raise MachineError(f"{self.path}: {error.strerror}; an answer could not be kept") from None
            self.known[exchange.key] = exchange
        self._charge(self.paid, exchange)

    def _charge(self, bill: Bill, exchange: Exchange) -> None:
        with self._lock:
            if exchange.key not in self._billed:
                self._billed.add(exchange.key)
                bill.add(exchange.input_tokens, exchange.output_tokens, self.prices)
