"""The drills `kills`, `training kills` and `disks`: each verb that writes is killed, or its disk is full.

`kills`: SIGKILL at random moments; the next start must end as a run that was not killed. `training kills`: the same of
the training, the demo, `inspect --ray` and `export`. `disks`: a disk that is full after random amounts; the verb must
name it, and end with more room.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from drill_common import Tally, plain_command
from drill_verbs import CHANGED, Verb, files_of, folder_of, start_verb, writing_verbs


def drill_kills(number: int, seed: int = 0, verbs_of: Callable[[Path, int], dict[str, Verb]] = writing_verbs) -> Tally:
    """SIGKILL at `number` random moments of each verb that writes; started again, it ends as if nothing had been.

    A moment is a share of what the verb writes or computes in all, so that a busy machine changes nothing. Each run is
    forked from a process that has imported all modules: a kill while Python imports shows nothing, and imports are
    most of the time of a short training.
    """
    chance, tally, landed = random.Random(seed), Tally(), 0
    with tempfile.TemporaryDirectory() as temporary:
        stock = Path(temporary)
        for verb, words in verbs_of(stock, seed).items():
            expected, whole = _undisturbed(tally, verb, words, stock)
            for attempt in range(number if expected else 0):
                out = stock / "killed" / f"{folder_of(verb)}-{attempt}" / "out"
                out.parent.mkdir(parents=True)
                given = words(out)
                ended = run_verb(given, out.parent, _moment(out.parent, whole, chance))
                landed += ended.killed
                tally.tried += 1
                # Otherwise it had done its work before the kill, and most verbs refuse to do it twice.
                if ended.code and files_of(out.parent) != expected:
                    ended = run_verb(words(out), out.parent)
                elif ended.killed:
                    ended = Ended(0, "")
                _compare_folders(tally, verb, ended.code, ended.said, files_of(out.parent), expected)
                shutil.rmtree(out.parent)
    tally.note = f" ({landed} kills landed)"
    return tally


@dataclass(frozen=True)
class Work:
    """Bytes and number of the files that a verb has written, and the seconds of the processor that it took."""

    written: float = math.inf
    files: float = math.inf
    computed: float = math.inf

    def has_reached(self, moment: Work) -> bool:
        """Whether it has done as much of anything as `moment` says."""
        return self.written >= moment.written or self.files >= moment.files or self.computed >= moment.computed


@dataclass(frozen=True)
class Ended:
    """How a process ended, what it wrote to stderr, and what it did."""

    code: int
    said: str
    killed: bool = False
    work: Work = Work()


POLL = 0.005  # seconds between two looks at what a verb has done
HUNG = 900  # seconds in which a verb neither writes nor computes: it hangs


def run_verb(words: Sequence[object], folder: Path, moment: Work = Work()) -> Ended:
    """Run a verb that writes into `folder`; killed when it has done so much. One that hangs is killed, too."""
    with tempfile.TemporaryDirectory() as temporary:
        said = Path(temporary) / "said"
        process = start_verb(words, said)
        most = now = Work(0, 0, 0)
        killed, problem, since = False, "", time.monotonic()
        while process.poll() is None and not killed:
            before, now = now, Work(*_written(folder), _computed(process.pid))
            if now != before:
                most, since = Work(*map(max, astuple(most), astuple(now))), time.monotonic()
            if time.monotonic() - since > HUNG:
                process.kill()
                problem = f"hung for {HUNG} s"
                break
            if now.has_reached(moment):
                process.kill()
                killed = True
            time.sleep(POLL)
        code = process.wait()
        spoken = said.read_text(encoding="utf-8", errors="replace") if said.exists() else ""
        return Ended(code, spoken + problem, killed and code < 0, most)


def _moment(folder: Path, whole: Work, chance: random.Random) -> Work:
    """A share of the bytes, of the files or of the computing."""
    written, files = _written(folder)
    match chance.randrange(3):
        case 0:
            return Work(written=written + 1 + int(chance.random() * max(0, whole.written - written)))
        case 1:
            return Work(files=files + 1 + int(chance.random() * max(0, whole.files - files)))
        case _:
            return Work(computed=chance.uniform(0.3, 1.0) * whole.computed)


def _written(folder: Path) -> tuple[int, int]:
    """Bytes of all files below a folder that is being written; number of files and folders."""
    size = number = 0
    for parent, folders, files in os.walk(folder):
        number += len(folders) + len(files)
        for name in files:
            with contextlib.suppress(OSError):  # renamed meanwhile
                size += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118
    return size, number


def _computed(pid: int) -> float:
    """Seconds of the processor that a process took, with its threads and the children that have ended; Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def drill_disks(number: int, seed: int = 0) -> Tally:
    """A disk that is full after `number` different amounts, for each verb that writes.

    The verb ends with one line that names a place; once there is room, it ends as on a large disk. Linux.
    """
    tally, chance = Tally(), random.Random(seed)
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        return Tally(note=" (skipped: no `unshare -rm`, which mounts a small disk)")
    with tempfile.TemporaryDirectory() as temporary:
        stock = Path(temporary)
        for verb, words in writing_verbs(stock, seed).items():
            expected, _ = _undisturbed(tally, verb, words, stock)
            room = sum(path.stat().st_size + 4096 for path in (stock / "whole" / folder_of(verb)).rglob("*"))
            for attempt in range(number if expected else 0):
                place = stock / "full" / f"{folder_of(verb)}-{attempt}"
                disk, copy = place / "disk", place / "copy"
                disk.mkdir(parents=True)
                copy.mkdir()
                size = 4096 * max(1, int(chance.uniform(0.1, 0.9) * room / 4096))
                kept = shutil.copytree(stock / CHANGED[verb], place / "kept") if verb in CHANGED else None
                run = [
                    "unshare",
                    "-rm",
                    "sh",
                    "-c",
                    ON_A_DISK,
                    "sh",
                    disk,
                    size,
                    copy,
                    kept or "",
                    *plain_command(*words(disk / "out")),  # the shell starts it, not this process
                ]
                done = subprocess.run([str(word) for word in run], capture_output=True, text=True)
                first, _, second = done.stdout.rpartition(f"{MARK}\n")
                tally.tried += 1
                if "Traceback" in first or (MARK in done.stdout and not _names_the_disk(first, disk)):
                    tally.lost.append(f"{verb}, {size} bytes: {first.strip().splitlines()[-1:]}")
                else:
                    _compare_folders(tally, verb, done.returncode, second, files_of(copy, disk), expected)
    return tally


def _names_the_disk(said: str, disk: Path) -> bool:
    return any(str(disk) in line and "No space left" in line for line in said.splitlines())


MARK = "===== more room ====="
# A disk of so many bytes more than what is given; the command; if it failed, again with room; a copy of what it left
ON_A_DISK = f"""
disk=$1 size=$2 copy=$3 kept=$4; shift 4
mount -t tmpfs -o size=1g none "$disk" && if [ -n "$kept" ]; then cp -r "$kept" "$disk/out"; fi
used=$(du -sk "$disk" | cut -f1); mount -o remount,size=$((used * 1024 + size)) "$disk"
if ! "$@" 2>&1 >/dev/null; then echo "{MARK}"; mount -o remount,size=1g "$disk"; "$@" 2>&1 >/dev/null; fi
code=$?; cp -a "$disk"/. "$copy"; exit $code
"""


def _undisturbed(tally: Tally, verb: str, words: Verb, stock: Path) -> tuple[dict[str, object], Work]:
    """What the verb leaves where nothing happens to it, and its work; nothing if it fails."""
    folder = stock / "whole" / folder_of(verb)
    folder.mkdir(parents=True)
    whole = run_verb(words(folder / "out"), folder)
    if whole.code:
        tally.tried += 1
        tally.lost.append(f"{verb}, undisturbed: rc {whole.code}: {whole.said.strip().splitlines()[-1:]}")
        return {}, Work()
    return files_of(folder), whole.work


def _compare_folders(
    tally: Tally, verb: str, code: int, said: str, left: dict[str, object], expected: dict[str, object]
) -> None:
    if "Traceback" in said or code != 0:
        tally.lost.append(f"{verb}: rc {code}: {said.strip().splitlines()[-1:]}")
    elif left != expected:
        other = {name for name, value in left.items() if expected.get(name) != value}
        tally.lost.append(f"{verb}: other content in {sorted(other | expected.keys() ^ left.keys())[:3]}")
