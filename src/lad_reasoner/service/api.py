"""The stations over HTTP, as JSON.

    app = create_app(Runtime(["bottle"]), keys=Keys.read("keys.toml"))

    POST /v1/inspect                            one picture, by a station or with references -> Inspection
    POST /v1/batch                              many pictures -> a line of JSON for each, as soon as it is judged
    GET  /v1/stations                           what is served
    GET  /v1/stations/NAME                      the settings of a station, its counts, and what is wrong with its file
    POST /v1/stations/NAME/reload               use the station file as it is on the disk now           (engineer)
    GET  /v1/stations/NAME/inspections          the history, newest first
    GET  /v1/stations/NAME/inspections/ID       one of them; …/picture is its picture as PNG
    POST /v1/stations/NAME/inspections/ID/feedback    good after all, or missed; with a reason
    POST /v1/stations/NAME/changes              accept pictures as normal: makes a preview              (engineer)
    GET  /v1/stations/NAME/changes[/ID]         changes, and what they change on the archive
    POST /v1/stations/NAME/zones                other zones: makes a preview                            (engineer)
    GET  /v1/stations/NAME/rules                the rules, as they stand in the station file
    POST /v1/stations/NAME/rules                other rules: makes a preview                            (engineer)
    POST /v1/stations/NAME/changes/ID/apply     the preview goes live                                   (engineer)
    POST /v1/stations/NAME/changes/ID/discard   the preview is thrown away                              (engineer)
    POST /v1/stations/NAME/changes/ID/roll-back the station is again as it was before                   (engineer)
    GET  /v1/stations/NAME/audit                who did what and when                                   (engineer)
    GET  /healthz, /readyz, /metrics, /openapi.json

Every error is `{"error": "one line"}`. Handlers only translate: all work is done by `Runtime`.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Literal

from fastapi import Body, Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse

from lad_reasoner.errors import InputError, LadError, MachineError
from lad_reasoner.files.pictures import encode_picture, read_picture
from lad_reasoner.records import Failure
from lad_reasoner.service.archive import (
    REASONS,
    AbsentError,
    AuditLine,
    Change,
    Inspection,
    Opinion,
    Outcome,
    StateError,
    Target,
)
from lad_reasoner.service.forms import (
    MOST_SECONDS,
    BatchForm,
    InspectForm,
    SentFile,
    SentForm,
    body_of,
    read_form,
)
from lad_reasoner.service.guard import Guard
from lad_reasoner.service.keys import Holder, Keys
from lad_reasoner.service.queue import LateError, QueueFullError
from lad_reasoner.service.rule_sheet import MOST_CHECKS, Check, RuleSheet
from lad_reasoner.service.rules import describe_check
from lad_reasoner.service.runtime import LATE, LiveStation, Order, Runtime
from lad_reasoner.service.station import MOST_ZONES, Zone
from lad_reasoner.service.teaching import (
    JUDGED,
    MOST_JUDGED,
    apply_change,
    discard_change,
    propose_change,
    propose_rules,
    propose_zones,
    recover_changes,
    roll_back_change,
)
from lad_reasoner.service.telemetry import Telemetry
from lad_reasoner.version import __version__

logger = logging.getLogger(__name__)

HOUR = 3600.0
LEAST_FREE = 64 * 2**20  # bytes of the disk: with less the server is not ready
AHEAD = 8  # pictures of one batch that are in the queue at the same time
MOST_ID = 2**53  # whole numbers that JSON holds everywhere

_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_INSPECT_EXAMPLE = {"station": "bottle", "part": "4711", "picture": _PICTURE, "seconds": 5}
_ZONES_EXAMPLE = {
    "zones": [{"kind": "ignore", "name": "date", "points": [[20, 400], [200, 400], [200, 460], [20, 460]]}],
    "base": 1,
}
_RULES_EXAMPLE = {
    "checks": [{"kind": "place", "colour": "red", "box": [66, 240, 72, 40], "least": 0.7}],
    "broken": "anomalous",
    "base": 1,
}
_BATCH_EXAMPLE = {"station": "bottle", "pictures": [{"part": "4711", "picture": _PICTURE}]}


class Problem(BaseModel):
    """Why a request was not answered."""

    error: str


class FeedbackForm(BaseModel):
    """A person's opinion of an inspected part."""

    model_config = ConfigDict(extra="forbid")

    opinion: Opinion
    reason: Literal[REASONS] | Literal[""] = ""  # type: ignore[valid-type]
    note: str = Field("", max_length=1000)
    who: str = Field("", max_length=100, description="A person's name, where several share a key.")


Pictures = Annotated[
    int, Field(ge=1, le=MOST_JUDGED, description="Kept pictures, the newest, that the preview judges again.")
]


class ChangeForm(BaseModel):
    """Inspections whose pictures are to be accepted as normal; none for target `limit`."""

    model_config = ConfigDict(extra="forbid")

    target: Target
    inspections: list[Annotated[int, Field(ge=1, le=MOST_ID)]] = Field([], max_length=100)
    pictures: Pictures = JUDGED


class ZonesForm(BaseModel):
    """All zones of a station, in place of those that it has."""

    model_config = ConfigDict(extra="forbid")

    zones: list[Zone] = Field(max_length=MOST_ZONES)
    mm_per_pixel: float | None = Field(None, gt=0, allow_inf_nan=False)
    fixed_camera: bool = False
    base: int = Field(ge=1, le=MOST_ID, description="The version of the station that they are for.")
    pictures: Pictures = JUDGED


class RulesForm(BaseModel):
    """All rules of a station, in place of those that it has; without `checks` they are written anew.

    The model that answers questions is that of the station file.
    """

    model_config = ConfigDict(extra="forbid")

    checks: list[Check] | None = Field(None, max_length=MOST_CHECKS)
    broken: Literal["note", "unsure", "anomalous"] = "unsure"
    base: int = Field(ge=1, le=MOST_ID, description="The version of the station that they are for.")
    pictures: Pictures = JUDGED


class RulesCard(BaseModel):
    """The rules of a station; `words` says each of `checks` in words."""

    broken: Literal["note", "unsure", "anomalous"]
    model: str
    checks: list[Check]
    words: list[str]
    version: int


class StationCard(BaseModel):
    """A station that is served."""

    name: str
    judge: str
    references: int
    normals: int
    limit: float | None
    unsure_from: float | None
    version: int
    counts: dict[str, int]
    problem: str
    notes: tuple[str, ...] = ()


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": Problem} for code in codes}


def current_holder(request: Request) -> Holder:
    """Who asks."""
    holder: Holder = request.state.holder
    return holder


def require_engineer(request: Request) -> Holder:
    """Who asks; 403 for an operator."""
    holder = current_holder(request)
    if holder.role != "engineer":
        raise HTTPException(403, "this needs the key of an engineer")
    return holder


def current_runtime(request: Request) -> Runtime:
    """The runtime of this app."""
    runtime: Runtime = request.app.state.runtime
    return runtime


def current_station(request: Request, station: Annotated[str, Path(max_length=64)]) -> LiveStation:
    """The station in the path; 404 if there is none."""
    return current_runtime(request).station(station)


AnyHolder = Annotated[Holder, Depends(current_holder)]
Engineer = Annotated[Holder, Depends(require_engineer)]
TheRuntime = Annotated[Runtime, Depends(current_runtime)]
TheStation = Annotated[LiveStation, Depends(current_station)]
Number = Annotated[int, Path(ge=1, le=MOST_ID)]
Before = Annotated[int | None, Query(ge=1, le=MOST_ID)]
Limit = Annotated[int, Query(ge=1, le=1000)]


def create_app(
    runtime: Runtime, *, keys: Keys | None = None, telemetry: Telemetry | None = None, **limits: Any
) -> FastAPI:
    """The app; `limits` are those of `Guard`. At its end it closes the runtime."""
    telemetry = telemetry or Telemetry()
    for live in runtime.stations.values():
        recover_changes(live)
    telemetry.watch_queue(lambda: len(runtime.queue))
    runtime.listeners.append(
        lambda inspection, _: telemetry.inspections.labels(inspection.station or "-", inspection.outcome).inc()
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        retaining = asyncio.create_task(_retain_hourly(runtime))
        yield
        retaining.cancel()
        with suppress(asyncio.CancelledError):
            await retaining
        await run_in_threadpool(runtime.close)

    app = FastAPI(
        title="LAD-Reasoner",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from the internet
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.runtime, app.state.telemetry = runtime, telemetry
    _add_state_routes(app)
    _add_inspect_routes(app)
    _add_station_routes(app)
    _add_change_routes(app)
    _add_error_handlers(app)
    app.add_middleware(Guard, keys=keys, telemetry=telemetry, **limits)
    return app


def _add_state_routes(app: FastAPI) -> None:
    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", tags=["state"])
    async def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", tags=["state"], responses={503: {"description": "Not ready, with the reasons."}})
    async def ready(runtime: TheRuntime) -> JSONResponse:
        """Whether pictures can be judged and kept."""
        reasons = [] if runtime.queue.alive else ["the judge stopped"]
        for live in runtime.stations.values():
            free = (await run_in_threadpool(shutil.disk_usage, live.folder)).free
            if free < LEAST_FREE:
                reasons.append(f"{live.name}: the disk is full")
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    @app.get("/metrics", tags=["state"], response_class=Response)
    async def metrics(request: Request) -> Response:
        """For Prometheus."""
        content: bytes = request.app.state.telemetry.text()
        return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_inspect_routes(app: FastAPI) -> None:
    problems = _problems(401, 403, 404, 408, 409, 413, 415, 422, 429, 503)

    @app.post(
        "/v1/inspect",
        tags=["inspect"],
        response_model=Inspection,
        responses=problems,
        openapi_extra=body_of(InspectForm, _INSPECT_EXAMPLE, many=False),
    )
    async def inspect(request: Request, runtime: TheRuntime, holder: AnyHolder) -> Any:
        """Judge one picture. Late or without a valid answer, its outcome is `not judged`."""
        return await inspect_sent(request, runtime, holder)

    @app.post(
        "/v1/batch",
        tags=["inspect"],
        response_class=StreamingResponse,
        responses={
            **problems,
            200: {
                "description": "One line for each picture, in their order: an Inspection, or an error.",
                "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
            },
        },
        openapi_extra=body_of(BatchForm, _BATCH_EXAMPLE, many=True),
    )
    async def batch(request: Request, runtime: TheRuntime, holder: AnyHolder) -> StreamingResponse:
        """Judge many pictures; the deadline is that of each. A line is sent as soon as its picture is judged."""
        form = await read_form(request, BatchForm)
        if form.station:
            runtime.station(form.station)
        lines = _judge_batch(runtime, form, holder)
        return StreamingResponse(lines, media_type="application/x-ndjson", headers={"X-Accel-Buffering": "no"})


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


async def _judge_batch(runtime: Runtime, form: SentForm, holder: Holder) -> AsyncIterator[str]:
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


def _add_station_routes(app: FastAPI) -> None:
    problems = _problems(400, 401, 403, 404, 422, 503)

    @app.get("/v1/stations", tags=["stations"], responses=_problems(401, 503))
    def stations(runtime: TheRuntime, holder: AnyHolder) -> list[StationCard]:
        """What is served."""
        return [_card(live) for live in runtime.stations.values()]

    @app.get("/v1/stations/{station}", tags=["stations"], responses=problems)
    def one_station(live: TheStation, holder: AnyHolder) -> StationCard:
        """One station."""
        return _card(live)

    @app.post("/v1/stations/{station}/reload", tags=["stations"], responses=problems)
    def reload(live: TheStation, holder: Engineer) -> StationCard:
        """Use the station file as it is on the disk now; if it cannot be used, the last good one stays."""
        with live.teaching:
            live.reload(who=holder.name, why="reload")
        return _card(live)

    @app.get("/v1/stations/{station}/inspections", tags=["history"], responses=problems)
    def history(
        live: TheStation,
        holder: AnyHolder,
        before: Before = None,
        limit: Limit = 100,
        outcome: Outcome | None = None,
        part: Annotated[str, Query(max_length=200)] = "",
        reviewed: bool | None = None,
    ) -> list[Inspection]:
        """The history, newest first; `before` the last one of the page before."""
        return live.archive.history(before=before, limit=limit, outcome=outcome or "", part=part, reviewed=reviewed)

    @app.get("/v1/stations/{station}/inspections/{number}", tags=["history"], responses=problems)
    def one_inspection(live: TheStation, number: Number, holder: AnyHolder) -> Inspection:
        """One inspection."""
        return live.archive.inspection(number)

    @app.get(
        "/v1/stations/{station}/inspections/{number}/picture",
        tags=["history"],
        response_class=Response,
        responses={**problems, 200: {"content": {"image/png": {}}}},
    )
    def picture(live: TheStation, number: Number, holder: AnyHolder) -> Response:
        """Its picture, decoded and encoded again: nothing that a client sent goes out as it came."""
        return Response(picture_as_png(live.archive.content(number)), media_type="image/png")

    @app.post("/v1/stations/{station}/inspections/{number}/feedback", tags=["teach"], responses=problems)
    def feedback(
        live: TheStation,
        number: Number,
        form: Annotated[FeedbackForm, Body(examples=[{"opinion": "good", "reason": "light or focus"}])],
        holder: AnyHolder,
    ) -> Inspection:
        """Say that a part is good after all, or that its defect was missed."""
        who = f"{form.who} ({holder.name})" if form.who else holder.name
        return live.archive.review(number, form.opinion, who=who, reason=form.reason, note=form.note)

    @app.get("/v1/stations/{station}/audit", tags=["history"], responses=problems)
    def audit(live: TheStation, holder: Engineer, before: Before = None, limit: Limit = 100) -> list[AuditLine]:
        """Who did what and when, newest first."""
        return live.archive.audit(before=before, limit=limit)


def _add_change_routes(app: FastAPI) -> None:
    problems = _problems(400, 401, 403, 404, 409, 422, 503)

    @app.get("/v1/stations/{station}/changes", tags=["teach"], responses=problems)
    def changes(live: TheStation, holder: AnyHolder) -> list[Change]:
        """The newest first."""
        return live.archive.changes()

    @app.get("/v1/stations/{station}/changes/{number}", tags=["teach"], responses=problems)
    def one_change(live: TheStation, number: Number, holder: AnyHolder) -> Change:
        """A change, and what it changes on the archive once its state is `preview`."""
        return live.archive.change(number)

    @app.post("/v1/stations/{station}/changes", status_code=202, tags=["teach"], responses=problems)
    def propose(
        live: TheStation,
        runtime: TheRuntime,
        form: Annotated[ChangeForm, Body(examples=[{"target": "references", "inspections": [17]}])],
        holder: Engineer,
    ) -> Change:
        """Accept pictures as normal, or fit the limit to what was said. Nothing changes but a preview is made."""
        return propose_change(runtime, live, **dict(form), who=holder.name)

    @app.post("/v1/stations/{station}/zones", status_code=202, tags=["teach"], responses=problems)
    def draw_zones(
        live: TheStation,
        runtime: TheRuntime,
        form: Annotated[ZonesForm, Body(examples=[_ZONES_EXAMPLE])],
        holder: Engineer,
    ) -> Change:
        """Other zones, in pixels of the first reference. Nothing changes but a preview is made."""
        return propose_zones(runtime, live, **dict(form), who=holder.name)

    @app.get("/v1/stations/{station}/rules", tags=["stations"], responses=problems)
    def rules(live: TheStation, holder: AnyHolder) -> RulesCard:
        """The rules, as they stand in the station file."""
        sheet, first = live.open.station.rules or RuleSheet(), live.open.painted_references[0]
        return RulesCard(
            broken=sheet.broken,
            model=sheet.model,
            checks=list(sheet.checks),
            words=[describe_check(check, first) for check in sheet.checks],
            version=live.version,
        )

    @app.post("/v1/stations/{station}/rules", status_code=202, tags=["teach"], responses=problems)
    def edit_rules(
        live: TheStation,
        runtime: TheRuntime,
        form: Annotated[RulesForm, Body(examples=[_RULES_EXAMPLE])],
        holder: Engineer,
    ) -> Change:
        """Other rules. Nothing changes but a preview is made."""
        return propose_rules(runtime, live, **dict(form), who=holder.name)

    @app.post("/v1/stations/{station}/changes/{number}/apply", tags=["teach"], responses=problems)
    def apply(live: TheStation, number: Number, holder: Engineer) -> Change:
        """The preview goes live."""
        return apply_change(live, number, who=holder.name)

    @app.post("/v1/stations/{station}/changes/{number}/discard", tags=["teach"], responses=problems)
    def discard(live: TheStation, number: Number, holder: Engineer) -> Change:
        """The preview is thrown away; one that is being made is stopped."""
        return discard_change(live, number, who=holder.name)

    @app.post("/v1/stations/{station}/changes/{number}/roll-back", tags=["teach"], responses=problems)
    def roll_back(live: TheStation, number: Number, holder: Engineer) -> Change:
        """The station is again as it was before this change."""
        return roll_back_change(live, number, who=holder.name)


def _add_error_handlers(app: FastAPI) -> None:
    def answer(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"error": " ".join(text.split())}, status, headers)

    @app.exception_handler(LadError)
    async def refuse(request: Request, error: LadError) -> JSONResponse:
        if isinstance(error, QueueFullError):
            app.state.telemetry.refused.labels("queue").inc()
            return answer(429, str(error), {"Retry-After": str(error.retry_after)})
        if isinstance(error, AbsentError):
            return answer(404, str(error))
        if isinstance(error, StateError):
            return answer(409, str(error))
        if isinstance(error, InputError):
            return answer(422, str(error))
        if not isinstance(error, MachineError):
            logger.error("unexpected error: %s", error)
        return answer(503, str(error), {"Retry-After": "10"})

    @app.exception_handler(RequestValidationError)
    async def refuse_fields(request: Request, error: RequestValidationError) -> JSONResponse:
        problem = error.errors()[0]
        return answer(422, f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}")

    @app.exception_handler(HTTPException)
    async def refuse_request(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(ClientDisconnect)
    async def give_up(request: Request, error: ClientDisconnect) -> Response:
        request.state.note(error="the client is gone")
        return Response(status_code=499)


def picture_as_png(content: bytes) -> bytes:
    """A kept picture as PNG, at most `KEPT_SIDE` pixels long."""
    return encode_picture(read_picture(content).image, compress_level=1)


def _card(live: LiveStation) -> StationCard:
    station = live.open.station
    return StationCard(
        name=station.name,
        judge=station.judge,
        references=len(station.references),
        normals=len(station.normals),
        limit=station.limit,
        unsure_from=station.unsure_from,
        version=live.version,
        counts=live.archive.counts(),
        problem=live.problem(),
        notes=tuple(live.open.judge.notes),
    )


async def _retain_hourly(runtime: Runtime) -> None:
    while True:
        try:
            await run_in_threadpool(runtime.retain)
        except LadError as error:
            logger.error("retention: %s", error)
        await asyncio.sleep(HOUR)
