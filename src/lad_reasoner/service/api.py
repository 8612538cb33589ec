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
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Path, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse

from lad_reasoner.errors import InputError, LadError, MachineError
from lad_reasoner.files.pictures import encode_picture, read_picture
from lad_reasoner.service.archived import AbsentError, AuditLine, Change, Inspection, Outcome, StateError
from lad_reasoner.service.asking import inspect_sent, judge_batch
from lad_reasoner.service.bodies import (
    BATCH_EXAMPLE,
    INSPECT_EXAMPLE,
    MOST_ID,
    RULES_EXAMPLE,
    ZONES_EXAMPLE,
    ChangeForm,
    FeedbackForm,
    Problem,
    RulesCard,
    RulesForm,
    StationCard,
    ZonesForm,
)
from lad_reasoner.service.forms import (
    BatchForm,
    InspectForm,
    body_of,
    read_form,
)
from lad_reasoner.service.guard import Guard, is_browser
from lad_reasoner.service.keys import Holder, Keys
from lad_reasoner.service.queue import QueueFullError
from lad_reasoner.service.rule_sheet import RuleSheet
from lad_reasoner.service.rules import describe_check
from lad_reasoner.service.runtime import LiveStation, Runtime
from lad_reasoner.service.station import Station
from lad_reasoner.service.teaching import (
    apply_change,
    discard_change,
    propose_change,
    propose_rules,
    propose_zones,
    recover_changes,
    reload_station,
    roll_back_change,
)
from lad_reasoner.service.telemetry import Telemetry
from lad_reasoner.text import describe_problem
from lad_reasoner.version import __version__

logger = logging.getLogger(__name__)

HOUR = 3600.0
LEAST_FREE = 64 * 2**20  # bytes of the disk: with less the server is not ready


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": Problem} for code in codes}


# For the OpenAPI document only: the guard has looked at the key before.
BEARER = HTTPBearer(auto_error=False, description="A key of `lad-reasoner key`, where the server has a key file.")


def current_holder(request: Request, key: Annotated[object, Security(BEARER)]) -> Holder:
    """Who asks."""
    holder: Holder = request.state.holder
    return holder


def require_engineer(holder: Annotated[Holder, Depends(current_holder)]) -> Holder:
    """Who asks; 403 for an operator."""
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
        generate_unique_id_function=lambda route: route.name,  # short names in clients made from /openapi.json
    )
    app.state.runtime, app.state.telemetry = runtime, telemetry
    app.state.problem_page = None  # of page.py: what a person sees in place of JSON
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
        reasons += [f"{name}: it must be calibrated" for name in runtime.stale]
        for live in runtime.stations.values():
            if problem := await run_in_threadpool(_why_not_kept, live.folder):
                reasons.append(f"{live.name}: {problem}")
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    @app.get("/metrics", tags=["state"], response_class=Response)
    async def metrics(request: Request, holder: AnyHolder) -> Response:
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
        openapi_extra=body_of(InspectForm, INSPECT_EXAMPLE, many=False),
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
        openapi_extra=body_of(BatchForm, BATCH_EXAMPLE, many=True),
    )
    async def batch(request: Request, runtime: TheRuntime, holder: AnyHolder) -> StreamingResponse:
        """Judge many pictures; the deadline is that of each. A line is sent as soon as its picture is judged."""
        form = await read_form(request, BatchForm)
        if form.station:
            runtime.station(form.station)
        lines = judge_batch(runtime, form, holder)
        return StreamingResponse(lines, media_type="application/x-ndjson", headers={"X-Accel-Buffering": "no"})


def _add_station_routes(app: FastAPI) -> None:
    problems = _problems(400, 401, 403, 404, 422, 503)

    @app.get("/v1/stations", tags=["stations"], responses=_problems(401, 503))
    def stations(runtime: TheRuntime, holder: AnyHolder) -> list[StationCard]:
        """What is served."""
        stale = [_stale_card(station, reason) for station, reason in runtime.stale.values()]
        return [*(_card(live) for live in runtime.stations.values()), *stale]

    @app.get("/v1/stations/{station}", tags=["stations"], responses=problems)
    def one_station(live: TheStation, holder: AnyHolder) -> StationCard:
        """One station."""
        return _card(live)

    @app.post("/v1/stations/{station}/reload", tags=["stations"], responses=problems)
    def reload(live: TheStation, holder: Engineer) -> StationCard:
        """Use the station file as it is on the disk now; if it cannot be used, the last good one stays."""
        reload_station(live, who=holder.name)
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
        return Response(picture_as_png(live, number), media_type="image/png")

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
        form: Annotated[ZonesForm, Body(examples=[ZONES_EXAMPLE])],
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
        form: Annotated[RulesForm, Body(examples=[RULES_EXAMPLE])],
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
    def answer(request: Request, status: int, text: str, headers: dict[str, str] | None = None) -> Response:
        problem = " ".join(text.split())
        if status >= 500:  # of this machine: whoever looks at the log must find it there, too
            request.state.note(error=problem)
        draw = app.state.problem_page
        if draw and is_browser(request.headers) and not request.url.path.startswith("/v1/"):
            page: Response = draw(request, status, problem)
            page.headers.update(headers or {})
            return page
        return JSONResponse({"error": problem}, status, headers)

    @app.exception_handler(LadError)
    async def refuse(request: Request, error: LadError) -> Response:
        if isinstance(error, QueueFullError):
            app.state.telemetry.refused.labels("queue").inc()
            return answer(request, 429, str(error), {"Retry-After": str(error.retry_after)})
        if isinstance(error, AbsentError):
            return answer(request, 404, str(error))
        if isinstance(error, StateError):
            return answer(request, 409, str(error))
        if isinstance(error, InputError):
            return answer(request, 422, str(error))
        if not isinstance(error, MachineError):
            logger.error("unexpected error: %s", error)
        return answer(request, 503, str(error), {"Retry-After": "10"})

    @app.exception_handler(RequestValidationError)
    async def refuse_fields(request: Request, error: RequestValidationError) -> Response:
        return answer(request, 422, describe_problem(error.errors()[0]))

    @app.exception_handler(HTTPException)
    async def refuse_request(request: Request, error: HTTPException) -> Response:
        return answer(request, error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(ClientDisconnect)
    async def give_up(request: Request, error: ClientDisconnect) -> Response:
        request.state.note(error="the client is gone")
        return Response(status_code=499)


def _why_not_kept(folder: FilePath) -> str:
    """Why nothing can be kept in the folder of a station; empty if it can."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:  # a share that is away, a folder that was moved
        return f"its folder cannot be read ({error.strerror})"
    if not os.access(folder, os.W_OK):  # also false, for every user, where a disk was mounted again to be read only
        return "its folder cannot be written"
    return "the disk is full" if free < LEAST_FREE else ""


def picture_as_png(live: LiveStation, number: int) -> bytes:
    """The kept picture of an inspection as PNG, as the judge saw it: at most `KEPT_SIDE` pixels long, of 8 bits."""
    picture = read_picture(live.archive.content(number), live.open.depth)
    return encode_picture(picture.image, compress_level=1)


def _card(live: LiveStation) -> StationCard:
    state = {"version": live.version, "counts": live.archive.counts(), "problem": live.problem()}
    return _card_of(live.open.station, **state, notes=tuple(live.open.judge.notes))


def _stale_card(station: Station, reason: str) -> StationCard:
    """Of a station that judges nothing before it is calibrated."""
    return _card_of(station, version=0, counts={}, problem=reason)


def _card_of(station: Station, **state: Any) -> StationCard:
    return StationCard(
        name=station.name,
        judge=station.judge,
        references=len(station.references),
        normals=len(station.normals),
        limit=station.limit,
        unsure_from=station.unsure_from,
        **state,
    )


async def _retain_hourly(runtime: Runtime) -> None:
    while True:
        try:
            await run_in_threadpool(runtime.retain)
        except LadError as error:
            logger.error("retention: %s", error)
        except Exception:  # the next hour is another try
            logger.exception("retention failed")
        await asyncio.sleep(HOUR)
