"""The queue: requests of many clients become batches; late ones get no verdict; a fault hurts only its own."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from helpers.stations import grey_picture
from lad_reasoner.errors import InputError, MachineError
from lad_reasoner.files.pictures import Picture, read_picture
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.records import Failure
from lad_reasoner.runner import Judged
from lad_reasoner.service.queue import BatchQueue, LateError, QueueFullError


class Slow:
    """Notes its batches; works while `gate` is open; fails for what `faults` names."""

    prompt_version, notes, parameters = "1", (), None

    def __init__(self, name: str = "slow", batch_size: int = 4) -> None:
        self.name, self.batch_size = name, batch_size
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.faults: dict[str, Exception] = {}

    def judge(self, pairs: Sequence[PicturePair]) -> list[Judgement]:
        names = [pair.query.name for pair in pairs]
        self.batches.append(names)
        self.begun.set()
        self.gate.wait(10)
        for name in names:
            if name in self.faults:
                raise self.faults[name]
        return [Judgement("no", 0.1) for _ in pairs]


@pytest.fixture
def queue() -> Iterator[BatchQueue]:
    queue = BatchQueue(depth=8)
    yield queue
    queue.close(5)


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    return read_picture(grey_picture(tmp_path / "q.png", 100))


def pair(picture: Picture, name: str) -> PicturePair:
    return PicturePair((picture,), Picture(name, picture.image, picture.width, picture.height))


def test_what_gathers_while_the_judge_works_is_one_batch(queue: BatchQueue, picture: Picture) -> None:
    judge = Slow()
    first = queue.submit(judge, pair(picture, "0"), seconds=10)
    judge.begun.wait(5)
    others = [queue.submit(judge, pair(picture, str(number)), seconds=10) for number in range(1, 6)]
    judge.gate.set()
    for number, future in enumerate([first, *others]):
        result = future.result(5)
        assert isinstance(result, Judged) and result.verdict.query == str(number)
    assert judge.batches == [["0"], ["1", "2", "3", "4"], ["5"]]


def test_a_batch_holds_jobs_of_one_judge(queue: BatchQueue, picture: Picture) -> None:
    first, second = Slow("a"), Slow("b")
    second.gate.set()
    futures = [queue.submit(first, pair(picture, "a0"), seconds=10)]
    first.begun.wait(5)
    for judge, name in ((first, "a1"), (second, "b1"), (first, "a2"), (second, "b2")):
        futures.append(queue.submit(judge, pair(picture, name), seconds=10))
    first.gate.set()
    for future in futures:
        future.result(5)
    assert first.batches == [["a0"], ["a1", "a2"]] and second.batches == [["b1", "b2"]]


def test_a_full_queue_refuses_and_says_when(queue: BatchQueue, picture: Picture) -> None:
    judge = Slow()
    running = queue.submit(judge, pair(picture, "0"), seconds=10)
    judge.begun.wait(5)
    waiting = [queue.submit(judge, pair(picture, str(number)), seconds=10) for number in range(1, 9)]
    with pytest.raises(QueueFullError, match="too many requests wait") as refused:
        queue.submit(judge, pair(picture, "9"), seconds=10)
    assert 1 <= refused.value.retry_after <= 60
    waiting[3].cancel()  # a client that is gone makes place
    queue.submit(judge, pair(picture, "9"), seconds=10)
    judge.gate.set()
    running.result(5)
    assert waiting[7].result(5)
    assert not any("4" in batch for batch in judge.batches)


def test_a_place_is_held_while_a_picture_is_decoded(queue: BatchQueue, picture: Picture) -> None:
    with ExitStack() as places:
        for _ in range(8):
            places.enter_context(queue.place())
        with pytest.raises(QueueFullError):
            queue.check_room()
        with pytest.raises(QueueFullError), queue.place():
            pass
    queue.check_room()


def test_late_is_not_judged(queue: BatchQueue, picture: Picture) -> None:
    judge = Slow()
    begun = queue.submit(judge, pair(picture, "begun"), seconds=0.2)
    judge.begun.wait(5)
    waiting = queue.submit(judge, pair(picture, "waiting"), seconds=0.2)
    time.sleep(0.3)
    judge.gate.set()
    for future in (begun, waiting):
        with pytest.raises(LateError):
            future.result(5)
    assert judge.batches == [["begun"]]


def test_who_gives_up_at_the_deadline_does_not_end_the_judge(queue: BatchQueue, picture: Picture) -> None:
    judge = Slow()
    queue.submit(judge, pair(picture, "begun"), seconds=10)
    judge.begun.wait(5)
    late = queue.submit(judge, pair(picture, "late"), seconds=0.05)
    tell = late.set_exception

    def tell_one_who_left(error: BaseException | None) -> None:
        late.cancel()
        tell(error)

    late.set_exception = tell_one_who_left  # type: ignore[method-assign]
    time.sleep(0.1)
    judge.gate.set()
    assert isinstance(queue.submit(judge, pair(picture, "next"), seconds=10).result(5), Judged)
    assert late.cancelled() and queue.alive


def test_a_fault_hurts_only_its_own(queue: BatchQueue, picture: Picture) -> None:
    judge = Slow()
    judge.faults["2"] = InputError("2: nothing to see")
    first = queue.submit(judge, pair(picture, "0"), seconds=10)
    judge.begun.wait(5)
    futures = [queue.submit(judge, pair(picture, str(number)), seconds=10) for number in range(1, 5)]
    judge.gate.set()
    results = [future.result(5) for future in [first, *futures]]
    assert [isinstance(result, Failure) for result in results] == [False, False, True, False, False]


@pytest.mark.parametrize("fault", [MachineError("no memory left"), RuntimeError("a bug")])
def test_a_judge_that_fails_does_not_end_the_queue(queue: BatchQueue, picture: Picture, fault: Exception) -> None:
    judge = Slow()
    judge.gate.set()
    judge.faults["bad"] = fault
    with pytest.raises(MachineError):
        queue.submit(judge, pair(picture, "bad"), seconds=10).result(5)
    assert isinstance(queue.submit(judge, pair(picture, "good"), seconds=10).result(5), Judged)


def test_background_waits_for_the_line(queue: BatchQueue, picture: Picture) -> None:
    judge = Slow(batch_size=1)
    running = queue.submit(judge, pair(picture, "0"), seconds=10)
    judge.begun.wait(5)
    preview = queue.submit(judge, pair(picture, "preview"), seconds=100, background=True)
    line = queue.submit(judge, pair(picture, "line"), seconds=10)
    judge.gate.set()
    for future in (running, preview, line):
        future.result(5)
    assert judge.batches == [["0"], ["line"], ["preview"]]


def test_closing_finishes_what_waits(picture: Picture) -> None:
    queue, judge = BatchQueue(), Slow()
    futures = [queue.submit(judge, pair(picture, str(number)), seconds=10) for number in range(6)]
    threading.Timer(0.1, judge.gate.set).start()
    queue.close(5)
    assert all(isinstance(future.result(0), Judged) for future in futures) and not queue.alive
    with pytest.raises(QueueFullError):
        queue.submit(judge, pair(picture, "late"), seconds=10)
