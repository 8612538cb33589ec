"""The server under load: clients at the same time, a rush, and a long day.

    python benchmarks/load.py clients --judge micro --clients 64 --requests 20
    python benchmarks/load.py rush --judge pixel-difference --clients 2000
    python benchmarks/load.py soak --judge pixel-difference --requests 50000

`clients` measures one client, then many: throughput, their ratio, and p50, p95, p99 of a request's seconds. `rush`
sends one request of each client at the same moment. `soak` sends many requests from eight clients and follows the
memory of the server: its growth from a tenth of the requests to the last. All start a server of their own with a
station of MiniLOCO pictures. A request that is refused with 429 is sent again after Retry-After. Each answer must be
the verdict of its own part, and after the run each must be in the history; otherwise the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lad_reasoner.miniloco import draw_picture
from lad_reasoner.service.archive import Archive
from lad_reasoner.service.server import raise_file_limit
from lad_reasoner.service.setup import create_station

PRODUCT, SIZE, PICTURES = "bolt_plate", 224, 8
BOUNDARY = "boundary-of-the-load"
SOAKING = 8  # clients


@dataclass
class Tally:
    """What came back."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    parts: set[str] = field(default_factory=set)
    wrong: int = 0  # answers to another part
    wall: float = 0.0

    @property
    def throughput(self) -> float:
        return len(self.seconds) / self.wall

    def __str__(self) -> str:
        p50, p95, p99 = (f"{1000 * value:.0f}" for value in np.percentile(self.seconds, (50, 95, 99)))
        statuses = ", ".join(f"{number} x {status}" for status, number in sorted(self.statuses.items()))
        return (
            f"{len(self.seconds)} verdicts in {self.wall:.1f} s = {self.throughput:.1f}/s; "
            f"p50 {p50} ms, p95 {p95} ms, p99 {p99} ms; {statuses}; {dict(self.outcomes)}"
        )


def make_station(folder: Path, judge: str) -> Path:
    """A station of one MiniLOCO product, without a limit of its own."""
    reference = folder / "reference.png"
    draw_picture(PRODUCT, "train", "good", 0, size=SIZE).image.save(reference)
    create_station(folder / "load", [reference], judge=judge)
    return folder / "load"


def make_queries() -> list[bytes]:
    queries = []
    for number in range(PICTURES):
        kind = "good" if number % 2 else "logical"
        buffer = io.BytesIO()
        draw_picture(PRODUCT, "test", kind, number, size=SIZE).image.save(buffer, "PNG")
        queries.append(buffer.getvalue())
    return queries


@contextmanager
def serving(station: Path) -> Iterator[tuple[int, int]]:
    """A server in a process of its own: its port and its process."""
    log = station.parent / "log"
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "lad_reasoner", "serve", str(station), "--port", "0"]
        process = subprocess.Popen(command, stderr=stream)
    try:
        port = None
        while port is None:
            found = re.search(r"serving at http://\S+:(\d+)\s", log.read_text())
            port = int(found[1]) if found else None
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        code = process.wait()
        if code:
            print(f"the server ended with {code}", file=sys.stderr)


def request_of(picture: bytes, part: str) -> bytes:
    fields = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="station"\r\n\r\nload\r\n'
    fields += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="part"\r\n\r\n{part}\r\n'
    fields += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="seconds"\r\n\r\n300\r\n'
    fields += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="picture"; filename="q.png"\r\n\r\n'
    body = fields.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
    head = f"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode() + body


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes
) -> tuple[int, dict[str, str], bytes]:
    writer.write(message)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def client(port: int, name: str, requests: int, queries: Sequence[bytes], tally: Tally) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(requests):
        part = f"{name}-{number}"
        message = request_of(queries[number % len(queries)], part)
        while True:
            begin = time.perf_counter()
            try:
                status, headers, body = await ask(reader, writer, message)
            except (OSError, EOFError) as error:
                print(f"{part}: {type(error).__name__}: {error}", file=sys.stderr)
                return  # unanswered
            tally.statuses[status] += 1
            if status != 429:
                break
            writer.close()  # the server does not hold an idle connection for so long
            await asyncio.sleep(float(headers["retry-after"]))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if status == 200:
            answer = json.loads(body)
            tally.seconds.append(time.perf_counter() - begin)
            tally.outcomes[answer["outcome"]] += 1
            tally.parts.add(answer["part"])
            tally.wrong += answer["part"] != part
    writer.close()


def run_clients(port: int, clients: int, requests: int, queries: Sequence[bytes], name: str) -> Tally:
    tally = Tally()

    async def all_of_them() -> None:
        await asyncio.gather(*(client(port, f"{name}{n}", requests, queries, tally) for n in range(clients)))

    begin = time.perf_counter()
    asyncio.run(all_of_them())
    tally.wall = time.perf_counter() - begin
    return tally


def lost(station: Path, tallies: Sequence[Tally], wanted: int) -> int:
    """Prints and counts what is missing or wrong after a run."""
    archive = Archive(station, "load")
    kept = {inspection.part for inspection in archive.history(limit=10**9)}
    archive.close()
    parts = set().union(*(tally.parts for tally in tallies))
    wrong = sum(tally.wrong for tally in tallies)
    errors = sum(number for tally in tallies for status, number in tally.statuses.items() if status not in (200, 429))
    unanswered = wanted - sum(len(tally.seconds) for tally in tallies)
    print(f"lost {len(parts - kept)}, of another part {wrong}, unanswered {unanswered}, other errors {errors}")
    return len(parts - kept) + wrong + unanswered + errors


def memory_of(process: int) -> float:
    """Resident memory in MB."""
    (line,) = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drill", choices=("clients", "rush", "soak"))
    parser.add_argument("--judge", default="micro")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=20, help="of each client; of a soak, all together")
    options = parser.parse_args()
    raise_file_limit()
    queries = make_queries()
    with tempfile.TemporaryDirectory() as folder:
        station = make_station(Path(folder), options.judge)
        with serving(station) as (port, process):
            run_clients(port, 1, 2, queries, "warm-up ")
            if options.drill == "soak":
                tallies = soak(port, process, options.requests, queries)
                wanted = options.requests // SOAKING * SOAKING
            elif options.drill == "rush":
                tallies = [run_clients(port, options.clients, 1, queries, "rush ")]
                wanted = options.clients
                print(f"{options.clients} at once: {tallies[0]}")
            else:
                one = run_clients(port, 1, options.requests, queries, "one ")
                many = run_clients(port, options.clients, options.requests, queries, "many ")
                tallies, wanted = [one, many], (options.clients + 1) * options.requests
                print(f"1 client: {one}\n{options.clients} clients: {many}")
                print(f"throughput x {many.throughput / one.throughput:.2f}")
        sys.exit(1 if lost(station, tallies, wanted) else 0)


def soak(port: int, process: int, requests: int, queries: Sequence[bytes]) -> list[Tally]:
    tallies = []
    first = 0.0
    for tenth in range(10):
        tallies.append(run_clients(port, SOAKING, requests // SOAKING // 10, queries, f"soak {tenth} "))
        memory = memory_of(process)
        first = first or memory
        print(f"{tenth + 1}/10: {tallies[-1]}; {memory:.0f} MB", flush=True)
    print(f"memory {first:.0f} -> {memory:.0f} MB, {100 * (memory / first - 1):+.1f} %")
    return tallies


if __name__ == "__main__":
    main()
