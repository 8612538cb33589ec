"""The pictures of a request, judged by their deadline: late, or with its client gone, a picture leaves the queue."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from lad_reasoner.errors import LadError
from lad_reasoner.records import Failure
from lad_reasoner.service.archived import Inspection
from lad_reasoner.service.forms import MOST_SECONDS, InspectForm, SentFile, SentForm, read_form
from lad_reasoner.service.keys import Holder
from lad_reasoner.service.queue import LateError, QueueFullError
from lad_reasoner.service.runtime import LATE, Order, Runtime

AHEAD = 8  # pictures of one batch that are in the queue at the same time


async def inspect_sent(request: Request, runtime: Runtime, holder: Holder) -> Inspection:
    """Judge the picture that a request brings."""
    runtime.queue.check_room()
    form = await read_form(request, InspectForm)
    with runtime.queue.place():
        began = request.state.began
        order = await run_in_threadpool(_order, runtime, form, form.pictures[0], holder, began)
    inspection = await _wait(order, _gone(request))
    request.state.note(station=inspection.station, part=inspection.part, outcome=inspection.outcome)
    return inspection


def _order(runtime: Runtime, form: SentForm, file: SentFile, holder: Holder, began: float) -> Order:
    return runtime.order(
        form.station,
        file.content,
        part=file.part,
        who=holder.name,
        seconds=form.seconds - (time.monotonic() - began),
        references=form.references,
        name=file.name,
    )


async def _wait(order: Order, gone: Coroutine[Any, Any, None]) -> Inspection:
    """The inspection, at the deadline at the latest. A client that is gone takes its picture out of the queue."""
    future = asyncio.wrap_future(order.future)
    watch = asyncio.create_task(gone)
    try:
        either: set[asyncio.Future[Any]] = {future, watch}
        await asyncio.wait(either, timeout=max(0.0, order.left), return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            result = future.result()
        elif watch.done():
            raise ClientDisconnect
        else:
            return await run_in_threadpool(order.give_up, LATE)
    except LateError:
        return await run_in_threadpool(order.give_up, LATE)
    finally:
        watch.cancel()
        future.cancel()
    # A second look or a text takes its time: also what is decided late is not judged.
    deciding = asyncio.create_task(run_in_threadpool(order.decide, result))
    await asyncio.wait({deciding}, timeout=max(0.0, order.left))
    if not deciding.done():
        deciding.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await run_in_threadpool(order.give_up, LATE)
    return await run_in_threadpool(order.keep, deciding.result())


async def _gone(request: Request) -> None:
    """Returns when the client has closed the connection; the body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def judge_batch(runtime: Runtime, form: SentForm, holder: Holder) -> AsyncIterator[str]:
    """Lines of JSON, in the order of the pictures; a few of them are in the queue at the same time."""
    waiting = deque(form.pictures)
    running: deque[asyncio.Task[Inspection | Failure]] = deque()
    try:
        while waiting or running:
            while waiting and len(running) < AHEAD:
                running.append(asyncio.create_task(_judge_one(runtime, form, waiting.popleft(), holder)))
            record = await running.popleft()
            yield record.model_dump_json() + "\n"
    finally:  # also when the client is gone
        for task in running:
            task.cancel()


async def _judge_one(runtime: Runtime, form: SentForm, file: SentFile, holder: Holder) -> Inspection | Failure:
    began = time.monotonic()
    while True:
        try:
            order = await run_in_threadpool(_order, runtime, form, file, holder, began)
            return await _wait(order, asyncio.sleep(MOST_SECONDS))
        except QueueFullError as error:
            if time.monotonic() - began > form.seconds:
                return Failure(query=file.part or file.name, error=str(error))
            await asyncio.sleep(0.1)
        except LadError as error:
            return Failure(query=file.part or file.name, error=str(error))
