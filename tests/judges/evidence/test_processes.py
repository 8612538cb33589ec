"""Many queries in processes: the same judgements in order, whatever happens to the processes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from helpers.shots import shot
from lad_reasoner import Inspector
from lad_reasoner.errors import MachineError
from lad_reasoner.judge import Judgement, PicturePair
from lad_reasoner.judges.evidence import processes
from lad_reasoner.judges.evidence.judge import Evidence
from lad_reasoner.runner import Judged, run

REFERENCES = [shot("good", index, split="train").image for index in range(2)]
QUERIES = [shot("logical" if index % 2 else "good", index).image for index in range(4)]

SCRIPT = """
    import signal
    from pathlib import Path
    from lad_reasoner import Inspector
    from lad_reasoner.judges.evidence import processes

    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    with open("runs.txt", "a") as file:
        file.write("run ")
    processes.MANY, processes.count_cores = 2, lambda: 2
    pids = []
    start = processes._Worker.__init__

    def start_and_tell(worker, judge):
        start(worker, judge)
        pids.append(worker.process.pid)
        if len(pids) == 2:
            print(*pids, flush=True)

    processes._Worker.__init__ = start_and_tell
    for verdict in Inspector("evidence", "r.png").inspect_many(["q.png"] * 10_000):
        print("judged", flush=True)
"""


@pytest.fixture
def two_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[processes._Worker]]:
    """Few queries are many, on two cores; the workers that were started."""
    monkeypatch.setattr(processes, "MANY", 2)
    monkeypatch.setattr(processes, "count_cores", lambda: 2)
    started: list[processes._Worker] = []
    start = processes._Worker.__init__

    def started_one(worker: processes._Worker, judge: Evidence) -> None:
        start(worker, judge)
        started.append(worker)

    monkeypatch.setattr(processes._Worker, "__init__", started_one)
    yield started
    assert all(worker.process.returncode is not None for worker in started)


def pairs_of(*references: Image.Image) -> list[PicturePair]:
    read = Inspector("always-no", references).read_pair
    pairs = [read(query) for query in QUERIES]
    return [PicturePair(pairs[0].references, pair.query) for pair in pairs]


def test_judgements_are_the_same_and_a_killed_worker_loses_none(
    two_workers: list[processes._Worker], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    judge, pairs = Evidence(), pairs_of(*REFERENCES)
    expected = judge.judge(pairs)
    monkeypatch.setattr(judge, "_study", lambda references: pytest.fail("studied again"))
    with judge.many(6) as workers:
        assert isinstance(workers, processes._Workers)
        with monkeypatch.context() as patch:
            patch.setattr(judge, "judge_part", lambda part: pytest.fail("judged in the calling process"))
            same = workers.judge(pairs)
        assert all(worker.known for worker in two_workers)  # both have judged
        assert not caplog.records
        for worker in two_workers:
            worker.process.kill()
        again = workers.judge(pairs)
    assert [record.message for record in caplog.records] == [processes.LOST]
    for judgements in (same, again):
        assert list(map(words_of, judgements)) == list(map(words_of, expected))
    assert len({judgement.score for judgement in expected}) == len(pairs)  # so that their order is seen


def test_what_is_asked_when_the_processes_have_ended_is_not_judged(two_workers: list[processes._Worker]) -> None:
    """A call that a consumer who stopped early has left behind."""
    judge, pairs = Evidence(), pairs_of(REFERENCES[0])
    with judge.many(6) as workers:
        workers.judge(pairs[:1])
    with pytest.raises(MachineError, match="have ended"):
        workers.judge(pairs[:1])


def test_no_worker_waits_for_the_last_queries_of_a_batch(
    two_workers: list[processes._Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, pairs = Evidence(), pairs_of(REFERENCES[0])
    expected = judge.judge(pairs)
    monkeypatch.setattr(processes, "A_WORKER", 1)
    results = list(run(judge, pairs * 3, lambda pair: pair))
    assert [result.verdict.score for _, result in results if isinstance(result, Judged)] == [
        judgement.score for judgement in expected * 3
    ]


def words_of(judgement: Judgement) -> tuple[object, ...]:
    return judgement.score, judgement.response, judgement.boxes, judgement.headline, judgement.details


def test_references_of_their_own_are_studied_by_the_workers(
    two_workers: list[processes._Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Evidence()
    pairs = [pairs_of(reference)[0] for reference in REFERENCES]
    expected = judge.judge(pairs)
    monkeypatch.setattr(judge, "judge_part", lambda part: pytest.fail("judged in the calling process"))
    with judge.many(2) as workers:
        assert list(map(words_of, workers.judge(pairs))) == list(map(words_of, expected))


def test_one_worker_studies_the_references_that_pairs_share(
    two_workers: list[processes._Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, (first, second) = Evidence(), (pairs_of(reference) for reference in REFERENCES)
    judge_in_worker = processes._Worker.judge
    asked: list[tuple[PicturePair, processes._Worker]] = []

    def tell_and_judge(worker: processes._Worker, pair: PicturePair, studied: object) -> Judgement | None:
        asked.append((pair, worker))
        return judge_in_worker(worker, pair, studied)

    monkeypatch.setattr(processes._Worker, "judge", tell_and_judge)
    with judge.many(2) as workers:
        for batch in ([*first[:2], *second[:2]], [*first[2:], *second[2:]]):
            made = workers.judge(batch)
            assert list(map(words_of, made)) == list(map(words_of, judge.judge(batch)))
    assert len(asked) == len([*first, *second])
    for pairs in (first, second):
        assert len({worker for pair, worker in asked if pair.references == pairs[0].references}) == 1


@pytest.mark.parametrize(("number", "cores"), [(processes.MANY - 1, 2), (10_000, 1)])
def test_few_queries_or_one_core_stay_in_one_process(number: int, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "count_cores", lambda: cores)
    monkeypatch.setattr(processes, "_Worker", lambda judge: pytest.fail("a worker was started"))
    judge = Evidence()
    with judge.many(number) as same:
        assert same is judge


@pytest.mark.posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_script_is_run_once_and_a_signal_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    """A script without a guard for its main part, stopped while its workers judge."""
    for name, image in (("r.png", REFERENCES[0]), ("q.png", QUERIES[1])):
        image.save(tmp_path / name)
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    with subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as script:
        assert script.stdout is not None
        workers = [int(pid) for pid in script.stdout.readline().split()]
        assert len(workers) == 2
        assert script.stdout.readline() == "judged\n"
        script.send_signal(number)
        assert script.wait(20) != 0
    end = time.monotonic() + 20
    while any(map(runs, workers)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(map(runs, workers))
    assert (tmp_path / "runs.txt").read_text() == "run "


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")  # one that nobody has asked for its end does not run any more
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.posix
def test_a_stopped_worker_is_not_waited_for_without_limit(
    two_workers: list[processes._Worker], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    judge, pairs = Evidence(), pairs_of(*REFERENCES)
    expected = judge.judge(pairs)
    with judge.many(6) as workers:
        workers.judge(pairs)  # both have started
        monkeypatch.setattr(processes, "PATIENCE", 3)
        monkeypatch.setattr(processes, "TICK", 0.5)
        two_workers[0].process.send_signal(signal.SIGSTOP)
        again = workers.judge(pairs * 2)
        assert two_workers[0].lost
        assert not two_workers[1].lost
    assert list(map(words_of, again)) == list(map(words_of, expected * 2))
    assert [record.message for record in caplog.records] == [processes.SILENT]


def test_the_time_in_which_the_caller_was_stopped_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks are counted: a caller that slept for a night goes on with its workers."""
    killed: list[str] = []
    worker = processes._Worker.__new__(processes._Worker)
    worker.silent, worker.waited = False, None
    monkeypatch.setattr(worker, "process", type("Process", (), {"kill": lambda _: killed.append("")})(), raising=False)
    for _ in range(2 * processes.PATIENCE):  # nothing is due
        worker.lose_patience()
    assert not killed
    worker.waited = 0.0
    for _ in range(int(processes.PATIENCE / processes.TICK)):
        worker.lose_patience()
    assert not killed and not worker.silent
    worker.lose_patience()
    assert killed and worker.silent
