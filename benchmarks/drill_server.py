"""The drill `server`: a station's server under attack.

Many requests at once, slow clients, damaged requests, a full disk, a file of nonsense, references that are gone, a
clock that is set back, and SIGKILL.
"""

from __future__ import annotations

import asyncio
import http.client
import random
import resource
import socket
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from drill_common import SHOWN, Tally
from drill_pictures import damage, make_pictures

from lad_reasoner.service.archive import Archive


def drill_server(number: int, seed: int = 0) -> Tally:
    """A station's server over a real socket: `number` requests at once, and a tenth of that of each other attack.

    Slow clients, damaged requests and pictures, a full disk, a station file of nonsense, references that are gone, a
    clock that is set back, SIGKILL while it is asked.
    Lost is an answer of 5xx without a reason, a result that was answered and is not in the history, and a server that
    does not serve the next good request.
    """
    from helpers.served import Served, grey_png, serving
    from helpers.stations import grey_station

    tally, chance = Tally(), random.Random(seed)

    def is_served(served: Served, after: str) -> None:
        tally.tried += 1
        try:
            answer = served.inspect(grey_png(101))
        except (OSError, http.client.HTTPException) as error:
            tally.lost.append(f"after {after}: {type(error).__name__}: {error}")
            return
        if answer.status != 200 or answer.json["outcome"] != "good":
            tally.lost.append(f"after {after}: the next good request got {answer.status} {answer.body[:100]!r}")

    with tempfile.TemporaryDirectory() as temporary:
        folder, log = Path(temporary) / "station", Path(temporary) / "log"
        grey_station(Path(temporary), judge="helpers.stations:Grey")
        kept: set[str] = set()  # parts that were answered
        clock = Path(temporary) / "clock"
        clock.write_text("0")
        with serving(folder, log=log, clock=clock) as served:
            drills = (
                _rush,
                _slow_clients,
                _damaged_requests,
                _full_disk,
                _nonsense_files,
                _lost_references,
                _old_clock,
            )
            for drill in drills:
                drill(served, folder, number, chance, tally, kept)
                is_served(served, drill.__name__.strip("_").replace("_", " "))
        for _ in range(max(1, number // 400)):
            with serving(folder, log=log) as served:
                _kill_while_asked(served, chance, tally, kept)
        with serving(folder, log=log) as served:
            is_served(served, "the kills")
        archive = Archive(folder, "station")
        parts = {inspection.part for inspection in archive.history(limit=10**9)}
        if archive.broken_audit() is not None:
            tally.lost.append("the audit log is broken")
        archive.close()
        tally.lost += [f"{part}: was answered and is not in the history" for part in sorted(kept - parts)]
        tally.lost += [f"log: {line}" for line in log.read_text().splitlines() if "Traceback" in line][:SHOWN]
        tally.note += f"; {len(kept)} answers, in the history)"
    return tally


def _rush(served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]) -> None:
    """All at once, each on its connection: served, or told to come again."""
    from helpers.served import grey_png, multipart

    picture, messages = grey_png(101), {}
    for turn in range(number):  # beforehand: a connection that says nothing for long is closed
        body, kind = multipart(("station", "station", ""), ("part", f"rush {turn}", ""), ("picture", picture, "q.png"))
        head = f"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n"
        messages[f"rush {turn}"] = head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def one(part: str, message: bytes) -> tuple[str, int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(message)
        answer = await reader.read()
        writer.close()
        if not answer:
            raise ConnectionError("no answer")
        return part, int(answer.split()[1]), answer

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(one(*each) for each in messages.items()), return_exceptions=True)

    tally.tried += number
    statuses: Counter[int] = Counter()
    for answer in asyncio.run(all_at_once()):
        if isinstance(answer, BaseException):
            tally.lost.append(f"rush: {type(answer).__name__}: {answer}")
            continue
        part, status, content = answer
        statuses[status] += 1
        if status == 200:
            kept.add(part)
        elif status not in (429, 503) or b"retry-after" not in content.lower():
            tally.lost.append(f"rush: {part} got {status}")
    tally.note += f" (at once: {', '.join(f'{count} of {status}' for status, count in statuses.items())}"


def _slow_clients(served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]) -> None:
    """Connections that say nothing, or drip: good requests are served beside them, and they are closed in the end."""
    from helpers.served import grey_png

    clients = [served.connect() for _ in range(number // 10)]
    for client in clients[1::2]:
        client.sendall(b"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Le")
    answer = served.inspect(grey_png(101), part="beside slow ones")
    kept.add("beside slow ones") if answer.status == 200 else tally.lost.append(f"slow clients: {answer.status}")
    for client in clients:
        tally.tried += 1
        try:
            client.settimeout(60)
            while client.recv(4096):
                pass
        except TimeoutError:
            tally.lost.append("slow clients: still open after a minute")
        except OSError:
            pass  # reset: closed, too
        client.close()


def _damaged_requests(
    served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]
) -> None:
    """Good requests and pictures with one to four faults: refused or served, never a failure of the server."""
    from helpers.served import grey_png, multipart

    pictures = list(make_pictures().values())
    for turn in range(number // 10):
        tally.tried += 1
        picture = chance.choice(pictures) if turn % 2 else grey_png(101)
        if turn % 4 < 2:
            picture = damage(picture, chance.choice(pictures), chance)
        body, kind = multipart(("station", "station", ""), ("picture", picture, "q.png"))
        message = (
            f"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n".encode()
        )
        message += f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        if turn % 4 >= 2:
            message = damage(message, body, chance)
        try:
            with served.connect() as client:
                client.sendall(message)
                client.shutdown(socket.SHUT_WR)
                reply = client.recv(4096)
        except TimeoutError:
            tally.lost.append(f"damaged request {turn}: no answer")
            continue
        except OSError:
            continue  # closed before all was sent: refused
        if reply.split(b"\r\n")[0].split(b" ")[1:2] and reply.split(b" ")[1].startswith(b"5"):
            tally.lost.append(f"damaged request {turn}: {reply[:100]!r}")


def _full_disk(served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]) -> None:
    """No file can be written for a while: 503 with a reason, and nothing half is kept."""
    from helpers.served import grey_png

    before = resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    for turn in range(max(3, number // 100)):
        tally.tried += 1
        answer = served.inspect(grey_png(101, turn), part=f"full {turn}")
        if answer.status != 503 or "disk" not in answer.error:
            tally.lost.append(f"full disk: {answer.status} {answer.body[:100]!r}")
    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, before)


def _nonsense_files(
    served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]
) -> None:
    """The station's file with faults: refused with a reason while the station of before serves on, or used if valid."""
    path = folder / "station.toml"
    good = path.read_bytes()
    for turn in range(number // 10):
        tally.tried += 1
        path.write_bytes(damage(good, b"[[" * 20000 if turn % 20 == 0 else good[::-1], chance))
        answer = served.ask("POST", "/v1/stations/station/reload")
        if answer.status not in (200, 422) or (answer.status == 422 and "station" not in answer.error):
            tally.lost.append(f"station file {turn}: {answer.status} {answer.body[:200]!r}")
    path.write_bytes(good)
    if served.ask("POST", "/v1/stations/station/reload").status != 200:
        tally.lost.append("station file: the good one is not used again")


def _lost_references(
    served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]
) -> None:
    """The folder of the references is gone: what is in memory serves on, and a reload is refused with the reason."""
    from helpers.served import grey_png

    (folder / "references").rename(folder / "away")
    for turn in range(max(3, number // 100)):
        tally.tried += 1
        answer = served.inspect(grey_png(101, turn), part=f"lost references {turn}")
        if answer.status == 200:
            kept.add(f"lost references {turn}")
        else:
            tally.lost.append(f"lost references: {answer.status} {answer.body[:100]!r}")
    answer = served.ask("POST", "/v1/stations/station/reload")
    if answer.status != 422 or "references/" not in answer.error:
        tally.lost.append(f"lost references: the reload got {answer.status} {answer.body[:100]!r}")
    (folder / "away").rename(folder / "references")
    if served.ask("POST", "/v1/stations/station/reload").status != 200:
        tally.lost.append("lost references: they are back, and the reload failed")


def _old_clock(served: Any, folder: Path, number: int, chance: random.Random, tally: Tally, kept: set[str]) -> None:
    """The clock is set back by 400 days: the history keeps its order, and the audit log says it."""
    from helpers.served import grey_png

    (folder.parent / "clock").write_text("400")
    parts = [f"old clock {turn}" for turn in range(max(3, number // 100))]
    for turn, part in enumerate(parts):
        tally.tried += 1
        answer = served.inspect(grey_png(101, turn), part=part)
        if answer.status == 200:
            kept.add(part)
        else:
            tally.lost.append(f"old clock: {answer.status} {answer.body[:100]!r}")
    (folder.parent / "clock").write_text("0")
    newest = served.ask("GET", f"/v1/stations/station/inspections?limit={len(parts)}").json
    if [each["part"] for each in newest] != parts[::-1]:
        tally.lost.append("old clock: the history is in another order")
    if not any(line["action"] == "clock went back" for line in served.ask("GET", "/v1/stations/station/audit").json):
        tally.lost.append("old clock: the audit log does not say it")


def _kill_while_asked(served: Any, chance: random.Random, tally: Tally, kept: set[str]) -> None:
    """SIGKILL while four clients ask."""
    from helpers.served import grey_png

    def ask(client: int) -> None:
        for turn in range(100_000):
            part = f"kill {served.process.pid} {client} {turn}"
            try:
                answer = served.inspect(grey_png(101, turn % 50), part=part)
            except (OSError, http.client.HTTPException):  # the server is gone
                return
            if answer.status == 200:
                kept.add(part)

    tally.tried += 1
    before = len(kept)
    threads = [threading.Thread(target=ask, args=(client,)) for client in range(4)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 60
    while len(kept) < before + 20 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 0.3))
    served.process.kill()
    for thread in threads:
        thread.join()
