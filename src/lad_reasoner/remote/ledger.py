"""Paid answers of a service, kept on disk, so that no answer is paid twice.

    ledger = Ledger("answers.jsonl", prices=Prices(0.1, 0.4), budget=5.0)
    with ledger.hold():
        exchange = ledger.obtain(key, ask)    # from the disk, or from `ask()` and then kept

A line's key is the hash of everything that the answer depends on. If a kill or a timeout cuts off a request, the
service may charge for it without an answer; this cannot be avoided.
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
from lad_reasoner.files.whole import lock
from lad_reasoner.records import Record
from lad_reasoner.remote.prices import Bill, Prices

ROOM = 16 * 2**20  # bytes that must be free on the disk before an answer is paid for


class Exchange(Record):
    """A paid answer. `score` is a judge's, if the service gave one."""

    key: str
    text: str
    finish: str
    model: str
    input_tokens: int
    output_tokens: int
    score: float | None = None


class BudgetSpentError(Exception):
    """The budget is spent; the message says how much was paid."""


class Ledger:
    """A file of `Exchange` lines and their cost; for many threads at once.

    `paid` is the bill of the answers that this object asked for, `recalled` the bill of those it found on disk; each
    answer counts once. `budget`, in the currency of `prices`, covers both; requests under way when it is reached are
    still paid.
    """

    def __init__(self, path: str | Path, *, prices: Prices | None = None, budget: float | None = None) -> None:
        if budget is not None and prices is None:
            raise InputError("a budget needs prices: give the cost of a million input and of a million output tokens")
        if budget is not None and not budget >= 0:  # also false for nan, which no sum would ever reach
            raise InputError(f"budget is {budget:g}; give at least 0")
        self.path, self.prices, self.budget = Path(path), prices, budget
        nothing = None if prices is None else 0.0
        self.paid, self.recalled = Bill(cost=nothing), Bill(cost=nothing)
        self.known: dict[str, Exchange] = {}
        self._billed: set[str] = set()
        self._lock = threading.Lock()
        self._busy: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Lock the file, so that a second run does not pay for the same answers.

        InputError if another process holds it, RecordError for a line that cannot be read.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with lock(self.path, "file"):
            repair_records(self.path)
            self.load()
            yield

    def load(self) -> None:
        """Read the lines; writes nothing."""
        if self.path.exists():
            self.known = {exchange.key: exchange for exchange in read_records(self.path, Exchange)}

    def recall(self, key: str) -> Exchange | None:
        """The answer on disk; its cost goes on the bill `recalled`."""
        exchange = self.known.get(key)
        if exchange is not None:
            self._charge(self.recalled, exchange)
        return exchange

    def obtain(self, key: str, ask: Callable[[], Exchange]) -> Exchange:
        """The answer on disk, or else that of `ask`, which is kept. Two threads with one key ask once.

        Raises `BudgetSpentError`, and `MachineError` for a full disk, both before anything is paid.
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
        """Raise if there is no money for an answer, or no room to keep it."""
        with self._lock:
            spent = (self.paid.cost or 0.0) + (self.recalled.cost or 0.0)
        if self.budget is not None and spent >= self.budget:
            raise BudgetSpentError(f"the budget of {self.budget:g} is spent ({spent:.4g})")
        if shutil.disk_usage(self.path.parent).free < ROOM:
            raise MachineError(f"{self.path}: the disk is full; free some space and run again, answers are kept")

    def _keep(self, exchange: Exchange) -> None:
        with self._lock:
            try:
                append_record(self.path, exchange)
            except OSError as error:
                repair_records(self.path)  # other threads append their answers, which must not follow half a line
                raise MachineError(f"{self.path}: {error.strerror}; an answer could not be saved") from None
            self.known[exchange.key] = exchange
        self._charge(self.paid, exchange)

    def _charge(self, bill: Bill, exchange: Exchange) -> None:
        with self._lock:
            if exchange.key not in self._billed:
                self._billed.add(exchange.key)
                bill.add(exchange.input_tokens, exchange.output_tokens, self.prices)
