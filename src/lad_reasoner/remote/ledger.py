"""Paid answers of a service, kept on disk, so that no answer is paid twice.

    ledger = Ledger("answers.jsonl", prices=Prices(0.1, 0.4), budget=5.0)
    with ledger.hold():
        exchange = ledger.obtain(key, ask)    # from the disk, or from `ask()` and then kept

A line's key is the hash of everything that the answer depends on. An empty or cut-off answer is kept as a bill only,
under a key of its own: its cost counts, and the next run asks again. What a content filter stopped, a refusal and a
function call are kept, with or without text: another try would bring the same, and cost the same. If a kill or a
timeout cuts off a request, the service may charge for it without an answer; this cannot be avoided.
"""

from __future__ import annotations

import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from pydantic import Field

from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.files.jsonl import append_record, read_records, repair_records
from lad_reasoner.files.whole import lock
from lad_reasoner.records import Record
from lad_reasoner.remote.prices import Bill, Prices, budget_needs_prices

ROOM = 16 * 2**20  # bytes that must be free on the disk before an answer is paid for
UNUSABLE = ":unusable:"  # stands in the keys of bills without an answer
# The service's word for a response that ends too early -> why there is no answer.
UNFINISHED = {
    "length": "the response was cut off at the token limit",
    "content_filter": "the service's content filter stopped the response",
    "tool_calls": "the model called a function instead of answering",
    "refusal": "the model refused to answer",
}
FINAL = tuple(word for word in UNFINISHED if word != "length")  # these are not asked for again
SHARES = 256  # processes that may use the default file of answers at the same time: one for each core, with --ray


class Exchange(Record):
    """A paid answer. `score` is a judge's, if the service gave one. `usable` is not written: see `Ledger.obtain`."""

    key: str
    text: str
    finish: str
    model: str
    input_tokens: int
    output_tokens: int
    score: float | None = None
    usable: bool = Field(default=True, exclude=True)


class BudgetSpentError(Exception):
    """The budget is spent; the message says how much was paid."""


class Ledger:
    """A file of `Exchange` lines and their cost; for many threads at once.

    `paid` is the bill of the answers that this object asked for, `recalled` the bill of those it found on disk; each
    answer counts once, an unusable one with its cost only. `budget`, in the currency of `prices`, covers both; requests
    under way when it is reached are still paid. `flag` is the option that names another file. With `shared`, another
    process may use the file at the same time: each appends to a file of its own beside it and reads them all. With
    `whole`, bill and budget cover all answers in the file, also those that nobody asks for again.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        prices: Prices | None = None,
        budget: float | None = None,
        flag: str = "file",
        shared: bool = False,
        whole: bool = False,
    ) -> None:
        if budget is not None and prices is None:
            raise InputError(budget_needs_prices("budget", "prices"))
        if budget is not None and not budget >= 0:  # also false for nan, which no sum would ever reach
            raise InputError(f"budget is {budget:g}; give at least 0")
        self.path, self.prices, self.budget, self.flag = Path(path), prices, budget, flag
        self._names = [self.path]
        if shared:
            beside = (f"{self.path.stem}.{number}{self.path.suffix}" for number in range(1, SHARES))
            self._names += [self.path.with_name(name) for name in beside]
        self._whole = whole
        self._own = self.path  # the file that this process appends to
        nothing = None if prices is None else 0.0
        self.paid, self.recalled = Bill(cost=nothing), Bill(cost=nothing)
        self.known: dict[str, Exchange] = {}
        self._unusable: defaultdict[str, list[Exchange]] = defaultdict(list)
        self._billed: set[str] = set()
        self._lock = threading.Lock()
        self._busy: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Lock the file, so that a second run does not pay for the same answers.

        InputError if another process holds it, RecordError for a line that cannot be read.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for name in self._names:
                try:
                    stack.enter_context(lock(name, self.flag))
                except InputError:
                    if name == self._names[-1]:
                        raise
                else:
                    self._own = name
                    break
            repair_records(self._own)
            self.load()
            for key in {*self.known, *self._unusable} if self._whole else ():
                self.recall(key)
            yield

    def load(self) -> None:
        """Read the lines; writes nothing."""
        self.known.clear()
        self._unusable.clear()
        for name in self._names:
            for exchange in read_records(name, Exchange) if name.exists() else ():
                key, unusable, _ = exchange.key.partition(UNUSABLE)
                if unusable or not (exchange.text.strip() or exchange.finish in FINAL):
                    self._unusable[key].append(exchange)
                else:
                    self.known[key] = exchange

    def recall(self, key: str) -> Exchange | None:
        """The answer on disk; its cost and that of unusable ones before it go on the bill `recalled`."""
        for bill in self._unusable.get(key, ()):
            self._charge(self.recalled, bill, answers=0)
        exchange = self.known.get(key)
        if exchange is not None:
            self._charge(self.recalled, exchange)
        return exchange

    def obtain(self, key: str, ask: Callable[[], Exchange]) -> Exchange:
        """The answer on disk, or else that of `ask`, which is kept if `usable`. Two threads with one key ask once.

        Raises `BudgetSpentError`, and `MachineError` for a full disk, both before anything is paid.
        """
        with self._lock:
            busy = self._busy[key]
        with busy:
            exchange = self.recall(key)
            if exchange is None:
                self.check_means()
                exchange = ask()
                if exchange.usable:
                    self._keep(exchange)
                else:
                    self.discard(exchange)
            return exchange

    def discard(self, exchange: Exchange) -> None:
        """Keep the bill of an answer that cannot be used."""
        self._keep(exchange.model_copy(update={"key": f"{exchange.key}{UNUSABLE}{uuid4().hex}"}), answers=0)

    def check_means(self) -> None:
        """Raise if there is no money for an answer, or no room to keep it."""
        with self._lock:
            spent = (self.paid.cost or 0.0) + (self.recalled.cost or 0.0)
        if self.budget is not None and spent >= self.budget:
            raise BudgetSpentError(f"the budget of {self.budget:g} is spent ({spent:.4g})")
        if shutil.disk_usage(self.path.parent).free < ROOM:
            raise MachineError(f"{self.path}: the disk is full; free some space and run again, answers are kept")

    def _keep(self, exchange: Exchange, answers: int = 1) -> None:
        with self._lock:
            try:
                append_record(self._own, exchange)
            except OSError as error:
                repair_records(self._own)  # other threads append their answers, which must not follow half a line
                raise MachineError(f"{self._own}: {error.strerror}; an answer could not be saved") from None
            if answers:
                self.known[exchange.key] = exchange
        self._charge(self.paid, exchange, answers)

    def _charge(self, bill: Bill, exchange: Exchange, answers: int = 1) -> None:
        # An empty line of an older version has the key of its question.
        mark = exchange.key if answers else f"{exchange.key}{UNUSABLE}"
        with self._lock:
            if mark not in self._billed:
                self._billed.add(mark)
                bill.add(exchange.input_tokens, exchange.output_tokens, self.prices, answers=answers)
