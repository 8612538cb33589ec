"""Many queries: a process on each core, since the threads of one wait for each other's interpreter lock.

    with judge.many(1000) as workers:                # the judge itself, if processes do not pay
        workers.judge(pairs)                         # the same judgements, in order

A worker is this module, started by itself: nothing of the caller's program is run again in it. It gets the studied
references and the queries through its standard input, answers on its standard output, and ends with the process that
started it. What a lost worker had is judged in the calling process; one that gives no answer for `PATIENCE` seconds,
such as a stopped process, is ended and counts as lost. Both ends are ours: nothing else is unpickled.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, groupby
from typing import IO, TYPE_CHECKING, Any

from lad_reasoner.errors import MachineError
from lad_reasoner.files.pictures import Picture
from lad_reasoner.judge import Judge, Judgement, PicturePair
from lad_reasoner.judges.evidence.threads import count_cores, in_parallel
from lad_reasoner.judges.evidence.tiles import is_long

if TYPE_CHECKING:
    from lad_reasoner.judges.evidence.judge import Evidence

MANY = 100  # queries: a worker takes two seconds to start
MOST = 8  # workers: each takes some 200 MB, and what is studied of the references
A_WORKER = 6  # queries of a batch; two batches are judged, and as many read ahead
KNOWN = 4  # sets of references that a worker holds
PATIENCE = 120  # seconds for an answer: it takes a tenth of one, or some ten where many references are studied for it
TICK = 1.0  # seconds between two looks at the workers
LOST = "evidence: one of its processes was lost; its queries are judged in the calling process"
SILENT = (
    f"evidence: one of its processes gave no answer for {PATIENCE} s and was ended; its queries are judged in the "
    "calling process"
)

log = logging.getLogger(__name__)
_in_use = threading.Lock()  # one set of workers at a time


@contextmanager
def start_workers(judge: Evidence, number: int) -> Iterator[Judge]:
    """The judge for so many queries: in processes, which end with this context, or itself where they do not pay."""
    cores = min(count_cores(), MOST)
    if number < MANY or cores == 1 or not sys.executable or not _in_use.acquire(blocking=False):
        yield judge
        return
    workers: list[_Worker] = []
    done = threading.Event()
    try:
        with suppress(OSError):  # no process more, or no memory for it: fewer will do
            while len(workers) < cores:
                workers.append(_Worker(judge))
        threading.Thread(target=_end_silent, args=(workers, done), name="patience", daemon=True).start()
        yield _Workers(judge, workers) if workers else judge
    finally:
        done.set()
        for worker in workers:
            worker.end()
        _in_use.release()


def _end_silent(workers: Sequence[_Worker], done: threading.Event) -> None:
    """Kill workers that are waited for too long: the pipe of a stopped process stays open, and nothing comes from it.

    Ticks are counted, not the clock: when this process has been stopped itself, the workers have their whole time left.
    """
    while not done.wait(TICK):
        for worker in workers:
            worker.lose_patience()


class _Workers:
    """`evidence`, whose queries are judged in processes; see `judge.Judge`."""

    def __init__(self, judge: Evidence, workers: Sequence[_Worker]) -> None:
        self.judge_here, self.workers = judge, workers
        self.name, self.prompt_version, self.parameters = judge.name, judge.prompt_version, judge.parameters
        self.notes, self.batch_size = judge.notes, A_WORKER * len(workers)
        self.calls_at_once = 2  # so that no worker waits while the others have the last queries of a batch
        self._said = False
        self._free, self._changed = list(workers), threading.Condition()

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        """See `judge.Judge`. References that all pairs share are studied here, on all cores; others by the workers."""
        if any(is_long(pair.references[0]) for pair in pairs):
            return self.judge_here.judge(pairs)
        shared = len({pair.references for pair in pairs}) == 1
        studied = self.judge_here.study(pairs[0].references) if shared else None
        groups = [[pair] for pair in pairs]
        if not shared:
            # One after the other by the same worker where the references are the same, so that one studies them.
            groups = [list(group) for _, group in groupby(pairs, lambda pair: pair.references)]
        made = list(chain.from_iterable(in_parallel(lambda group: self._ask(group, studied), groups)))
        lost = [pair for pair, judgement in zip(pairs, made, strict=True) if judgement is None]
        if all(worker.ended for worker in self.workers):
            raise MachineError("evidence: its processes have ended")  # nobody waits for an answer any more
        here = iter(self.judge_here.judge(lost) if lost else ())
        return [next(here) if judgement is None else judgement for judgement in made]

    def _ask(self, pairs: Sequence[PicturePair], studied: Any) -> list[Judgement | None]:
        """The judgements of pairs with the same references."""
        with self._changed:
            self._changed.wait_for(lambda: self._free)
            # Rather one that has studied them, for an earlier batch.
            worker = max(self._free, key=lambda each: studied is None and pairs[0].references in each.known)
            self._free.remove(worker)
        try:
            return [worker.judge(pair, studied) for pair in pairs]
        finally:
            with self._changed:
                self._free.append(worker)
                self._changed.notify()
            if worker.lost and not self._said and not worker.ended:
                self._said = True
                log.warning(SILENT if worker.silent else LOST)


class _Worker:
    """A process that judges one query at a time."""

    def __init__(self, judge: Evidence) -> None:
        options = ["text"] if judge.reader else []
        # -P: no module of the current folder takes the place of another.
        command = [sys.executable, "-P", "-m", __name__, *options]
        # A group of its own: Ctrl-C is for the calling process, which ends its workers.
        group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
        pipe, alone = subprocess.PIPE, {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=alone, **group)
        self.backbone, self.lost, self.ended, self.silent = judge.backbone, False, False, False
        self.waited: float | None = None  # seconds for the answer that is due
        self.known: deque[tuple[Picture, ...]] = deque(maxlen=KNOWN)  # the worker has the same

    def judge(self, pair: PicturePair, studied: Any) -> Judgement | None:
        """The judgement; None if the worker is lost, or could not judge it."""
        if self.lost:
            return None
        references = None
        if pair.references not in self.known:
            self.known.append(pair.references)
            references = studied or pair.references
        assert self.process.stdin and self.process.stdout
        self.waited = 0.0
        try:
            _send((self.known.index(pair.references), references, pair.query), self.process.stdin, self.backbone)
            return _receive(self.process.stdout, self.backbone)  # type: ignore[no-any-return]
        except Exception:  # it was killed, whole or in the middle of an answer
            self.lost = True
            return None
        finally:
            self.waited = None

    def lose_patience(self) -> None:
        """A tick has passed; after `PATIENCE` seconds the process is killed, which ends the wait for it."""
        if self.waited is not None:
            self.waited += TICK
            if self.waited > PATIENCE:
                self.silent = True
                self.process.kill()

    def end(self) -> None:
        """Now: it holds nothing that is needed."""
        self.lost = self.ended = True
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # what could not be written
                if pipe:
                    pipe.close()


class _Pickler(pickle.Pickler):
    def __init__(self, pipe: IO[bytes], backbone: object) -> None:
        super().__init__(pipe, pickle.HIGHEST_PROTOCOL)
        self.backbone = backbone

    def persistent_id(self, value: Any) -> str | None:
        return "backbone" if value is self.backbone else None  # each process has its own


class _Unpickler(pickle.Unpickler):
    def __init__(self, pipe: IO[bytes], backbone: object) -> None:
        super().__init__(pipe)
        self.backbone = backbone

    def persistent_load(self, _: str) -> object:
        return self.backbone


def _send(message: object, pipe: IO[bytes], backbone: object) -> None:
    whole = io.BytesIO()  # first, so that what cannot be pickled leaves no half of a message
    _Pickler(whole, backbone).dump(message)
    pipe.write(whole.getbuffer())
    pipe.flush()


def _receive(pipe: IO[bytes], backbone: object) -> Any:
    return _Unpickler(pipe, backbone).load()


def work(messages: IO[bytes], answers: IO[bytes], judge: Evidence) -> None:
    """Judge what comes until the end of the messages; None stands for what could not be judged."""
    from lad_reasoner.judges.evidence.judge import StudiedReferences
    from lad_reasoner.judges.evidence.tiles import Tile

    known: deque[Any] = deque(maxlen=KNOWN)  # StudiedReferences; None if they could not be studied
    with suppress(EOFError, OSError):  # the calling process is gone
        while True:
            index, references, query = _receive(messages, judge.backbone)
            judgement = None
            if references is not None:
                known.append(None)
            with suppress(Exception):  # the calling process tries again, and says what is wrong
                if references is not None:
                    is_studied = isinstance(references, StudiedReferences)
                    known[-1] = references if is_studied else judge.study(references)
                judgement = judge.judge_part((known[index], Tile(query, 0, 0)))
            _send(judgement, answers, judge.backbone)


def _main() -> None:
    """The worker."""
    from lad_reasoner.judges.evidence.judge import Evidence

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a library prints is no answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    work(sys.stdin.buffer, answers, Evidence(text=sys.argv[1:] == ["text"]))
    os._exit(0)  # nothing is left to write


if __name__ == "__main__":
    _main()
