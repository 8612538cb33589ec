"""The page of the stations: inspect, look back, teach and set the limit in a browser, on top of the API.

    app = create_page_app(Runtime(["bottle"]), keys=Keys.read("keys.toml"))      # the API, and the page at /

    /login                                      a key once, kept in a cookie that no script can read
    /                                           the stations
    /stations/NAME                              drop or take a picture; verdicts of the line as they come
    /stations/NAME/history                      with filters; as CSV and Excel
    /stations/NAME/inspections/ID               one verdict; keys g (good after all) and m (missed)
    /stations/NAME/changes                      accept as normal: preview, live, roll back
    /stations/NAME/zones                        zones drawn on the first reference
    /stations/NAME/rules                        the rules: edited, switched off, written anew
    /stations/NAME/limit                        the limit, and a histogram of the archive

HTML that the server writes; htmx swaps parts of it. Nothing is loaded from elsewhere, and the content security policy
allows no script inside a page. All texts of clients and judges are escaped, and pictures are encoded again.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from fastapi import Depends, FastAPI, Form, Query, Request
from PIL import Image
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

import lad_reasoner.templates
from lad_reasoner.errors import InputError
from lad_reasoner.evaluation.thumbnails import heat_image
from lad_reasoner.files.opening import open_picture
from lad_reasoner.files.pictures import encode_picture
from lad_reasoner.service.api import (
    AnyHolder,
    Before,
    Engineer,
    Number,
    TheRuntime,
    TheStation,
    create_app,
    picture_as_png,
)
from lad_reasoner.service.archived import REASONS, AbsentError, Inspection, Opinion, Outcome, Target
from lad_reasoner.service.asking import inspect_sent
from lad_reasoner.service.bodies import MOST_ID, ZonesForm
from lad_reasoner.service.export import CHANGE_HEADS, HISTORY_HEADS, change_rows, csv_table, excel_table, history_row
from lad_reasoner.service.guard import COOKIE, LOGIN, OPEN
from lad_reasoner.service.histogram import score_bars
from lad_reasoner.service.keys import Holder, Keys
from lad_reasoner.service.live import Watch
from lad_reasoner.service.rule_form import MOST_FIELDS, read_rule_form, rule_rows
from lad_reasoner.service.rule_sheet import RuleSheet
from lad_reasoner.service.runtime import LiveStation, Runtime
from lad_reasoner.service.shown import numbered_box, verdict_values
from lad_reasoner.service.station import path_inside
from lad_reasoner.service.teaching import (
    JUDGED,
    MOST_JUDGED,
    apply_change,
    discard_change,
    move_limit,
    propose_change,
    propose_rules,
    propose_zones,
    reload_station,
    roll_back_change,
)
from lad_reasoner.service.telemetry import Telemetry
from lad_reasoner.templates import made_with, render_page
from lad_reasoner.text import first_problem, printable

STATIC = Path(lad_reasoner.templates.__file__).parent / "service"
SCRIPTS = ("htmx.min.js", "station.js", "zones.js")
OUTCOMES: tuple[Outcome, ...] = ("good", "anomalous", "unsure", "not judged")
RECENT = 12  # of the line beside the verdict
ROWS = 50  # of a page of the history
MOST_ROWS = 100_000  # of an export
MOST_TALLIED = 500  # of the archive, the newest: how often a rule broke
MOST_SHOWN = 100  # verdicts that a change changes, on its page; its table has all
MASK_COLOUR, MASK_ALPHA = (120, 120, 120), 170  # how a zone that is a mask is shown
COOKIE_SECONDS = 400 * 24 * 3600  # the longest that browsers keep
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'nonce-{nonce}'; img-src 'self' data: blob:; media-src blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Filter:
    """What of the history is shown."""

    outcome: Literal["", "good", "anomalous", "unsure", "not judged"] = ""
    part: Annotated[str, Query(max_length=200)] = ""
    reviewed: Literal["", "true", "false"] = ""

    def values(self) -> dict[str, Any]:
        """As `Archive.history` takes them."""
        reviewed = None if not self.reviewed else self.reviewed == "true"
        return {"outcome": self.outcome, "part": self.part.strip(), "reviewed": reviewed}

    def query(self, **more: int) -> str:
        """As the query of an address."""
        values = {"outcome": self.outcome, "part": self.part, "reviewed": self.reviewed, **more}
        return urlencode({name: value for name, value in values.items() if value})


TheFilter = Annotated[Filter, Depends()]
Pictures = Annotated[int, Form(ge=1, le=MOST_JUDGED)]


def create_page_app(
    runtime: Runtime, *, keys: Keys | None = None, telemetry: Telemetry | None = None, **limits: Any
) -> FastAPI:
    """The API with the page; see `create_app`."""
    scripts = {f"/page/{name}" for name in SCRIPTS}
    app = create_app(runtime, keys=keys, telemetry=telemetry, open_paths=OPEN | scripts | {LOGIN}, **limits)
    app.state.problem_page = _problem_page
    watch = Watch()
    runtime.listeners.append(watch.note)
    _add_login(app, keys)
    _add_live(app, watch)
    _add_pictures(app, watch)
    _add_history(app, watch)
    _add_changes(app)
    _add_zones(app)
    _add_rules(app)
    _add_limit(app)
    return app


def _add_login(app: FastAPI, keys: Keys | None) -> None:
    @app.get("/page/{name}", include_in_schema=False)
    def script(name: str) -> Response:
        if name not in SCRIPTS:
            raise AbsentError(f"no script {printable(name)[:100]}")
        return Response(_script(name), media_type="text/javascript; charset=utf-8")

    @app.get(LOGIN, include_in_schema=False)
    def login_form(request: Request) -> Response:
        return _page("login.html", request.state.holder, title="Log in", problem="")

    @app.post(LOGIN, include_in_schema=False)
    async def login(request: Request) -> Response:
        body = (await request.body())[:1000].decode("utf-8", "replace")
        key = parse_qs(body).get("key", [""])[0].strip()
        if keys is None or keys.find(key) is None:
            problem = "This key is not valid. `lad-reasoner key` makes one."
            return _page("login.html", None, title="Log in", problem=problem, status=401)
        answer = RedirectResponse(_page_here(request.query_params.get("next", "")), 303)
        # TLS ends at a proxy, and the scheme here is always http: the browser's Origin says how the key came.
        secure = urlsplit(request.headers.get("origin", "")).scheme == "https"
        answer.set_cookie(COOKIE, key, max_age=COOKIE_SECONDS, httponly=True, samesite="strict", secure=secure)
        return answer

    @app.post("/logout", include_in_schema=False)
    def logout() -> Response:
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer


def _page_here(address: str) -> str:
    """The address if it is one of this server's pages, else the first page: anybody may write a link to the login."""
    # Browsers read `//host` and `/\\host` as another server, and drop tabs and line ends before they do.
    inside = re.match(r"/(?![/\\])", address) and address.isascii() and address.isprintable() and "\\" not in address
    return address if inside else "/"


def _add_live(app: FastAPI, watch: Watch) -> None:
    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    def stations(runtime: TheRuntime, holder: AnyHolder) -> Response:
        if len(runtime.stations) == 1 and not runtime.stale:
            return RedirectResponse(_address(next(iter(runtime.stations.values()))), 303)
        cards = [(live, live.archive.counts(), live.problem()) for live in runtime.stations.values()]
        return _page("stations.html", holder, title="Stations", cards=cards, stale=runtime.stale)

    @app.get("/stations/{station}", include_in_schema=False)
    def live_page(live: TheStation, holder: AnyHolder) -> Response:
        recent = live.archive.history(limit=RECENT)
        values = verdict_values(live, watch, recent[0]) if recent else {}
        values |= {"problem": live.problem(), "edited": live.edited()}
        return _page("live.html", holder, live, title=live.name, recent=recent, **values)

    @app.post("/stations/{station}/reload", include_in_schema=False)
    def reload(live: TheStation, holder: Engineer) -> Response:
        reload_station(live, who=holder.name)
        return Response(status_code=204, headers={"HX-Refresh": "true"})

    @app.post("/stations/{station}/inspect", include_in_schema=False)
    async def inspect(request: Request, live: TheStation, runtime: TheRuntime, holder: AnyHolder) -> Response:
        inspection = await inspect_sent(request, runtime, holder)
        if inspection.station != live.name:
            raise InputError("station: not the one of this page")
        return await run_in_threadpool(_verdict, live, watch, inspection, holder, oob=True)

    @app.get("/stations/{station}/events", include_in_schema=False)
    async def events(request: Request, live: TheStation, holder: AnyHolder) -> Response:
        stream = watch.events(live, request)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    @app.get("/stations/{station}/inspections/{number}/verdict", include_in_schema=False)
    def verdict(live: TheStation, number: Number, holder: AnyHolder) -> Response:
        return _verdict(live, watch, live.archive.inspection(number), holder, oob=True)


def _add_pictures(app: FastAPI, watch: Watch) -> None:
    @app.get("/stations/{station}/inspections/{number}/picture", include_in_schema=False)
    def picture(live: TheStation, number: Number, holder: AnyHolder) -> Response:
        return Response(picture_as_png(live, number), media_type="image/png")

    @app.get("/stations/{station}/inspections/{number}/map", include_in_schema=False)
    def heat_map(live: TheStation, number: Number, holder: AnyHolder) -> Response:
        heat = watch.view(live.archive.inspection(number)).heat
        if heat is None:
            raise AbsentError(f"{live.name}: no map of inspection {number} is in memory")
        return _png(heat_image(heat))

    @app.get("/stations/{station}/references/{number}", include_in_schema=False)
    def reference(live: TheStation, number: Number, holder: AnyHolder) -> Response:
        references = live.open.references
        if number > len(references):
            raise AbsentError(f"{live.name}: no reference {number}")
        return _png(references[number - 1].image)


def _add_history(app: FastAPI, watch: Watch) -> None:
    @app.get("/stations/{station}/history", include_in_schema=False)
    def history(live: TheStation, holder: AnyHolder, chosen: TheFilter, before: Before = None) -> Response:
        rows = live.archive.history(before=before, limit=ROWS + 1, **chosen.values())
        older = chosen.query(before=rows[ROWS - 1].id) if len(rows) > ROWS else ""
        newer = None
        if before is not None and rows:
            next_after = live.archive.history(after=rows[0].id, limit=ROWS, **chosen.values())
            newer = chosen.query(before=next_after[0].id + 1) if len(next_after) == ROWS else chosen.query()
        return _page(
            "history.html",
            holder,
            live,
            title=f"History of {live.name}",
            rows=rows[:ROWS],
            older=older,
            newer=newer,
            chosen=chosen,
            outcomes=OUTCOMES,
        )

    @app.get("/stations/{station}/history.{suffix}", include_in_schema=False)
    def history_table(
        live: TheStation, suffix: Literal["csv", "xlsx"], holder: AnyHolder, chosen: TheFilter
    ) -> Response:
        rows = map(history_row, live.archive.newest(MOST_ROWS, **chosen.values()))
        return _table(live.name, suffix, "history", HISTORY_HEADS, rows)

    @app.get("/stations/{station}/inspections/{number}", include_in_schema=False)
    def detail(live: TheStation, number: Number, holder: AnyHolder) -> Response:
        inspection = live.archive.inspection(number)
        values = verdict_values(live, watch, inspection)
        title = f"{live.name}: {inspection.part or number}"
        return _page("detail.html", holder, live, title=title, **values)

    @app.post("/stations/{station}/inspections/{number}/feedback", include_in_schema=False)
    def feedback(
        live: TheStation,
        number: Number,
        holder: AnyHolder,
        opinion: Annotated[Opinion, Form()],
        reason: Annotated[Literal[REASONS] | Literal[""], Form()] = "",  # type: ignore[valid-type]
        note: Annotated[str, Form(max_length=1000)] = "",
        who: Annotated[str, Form(max_length=100)] = "",
    ) -> Response:
        person = f"{who} ({holder.name})" if who.strip() else holder.name
        inspection = live.archive.review(number, opinion, who=person, reason=reason, note=note)
        return _verdict(live, watch, inspection, holder, oob=False)


def _add_changes(app: FastAPI) -> None:
    @app.get("/stations/{station}/changes", include_in_schema=False)
    def changes(live: TheStation, holder: AnyHolder) -> Response:
        newest = live.archive.changes()
        title = f"Changes of {live.name}"
        return _page("changes.html", holder, live, title=title, changes=newest, most=MOST_SHOWN)

    @app.get("/stations/{station}/changes/{number}", include_in_schema=False)
    def one_change(live: TheStation, number: Number, holder: AnyHolder) -> Response:
        return _part("change.html", holder, live, change=live.archive.change(number), most=MOST_SHOWN)

    @app.get("/stations/{station}/changes/{number}/table.{suffix}", include_in_schema=False)
    def change_table(live: TheStation, number: Number, suffix: Literal["csv", "xlsx"], holder: AnyHolder) -> Response:
        change = live.archive.change(number)
        return _table(f"{live.name} change {number}", suffix, "preview", CHANGE_HEADS, change_rows(change))

    @app.post("/stations/{station}/changes", include_in_schema=False)
    def propose(
        live: TheStation,
        runtime: TheRuntime,
        holder: Engineer,
        target: Annotated[Target, Form()],
        inspections: Annotated[list[int], Form(max_length=100)] = [],  # noqa: B006 - FastAPI copies it
        pictures: Pictures = JUDGED,
    ) -> Response:
        if any(not 1 <= number <= MOST_ID for number in inspections):
            raise InputError("inspections: not the number of an inspection")
        propose_change(runtime, live, target, inspections, who=holder.name, pictures=pictures)
        return _to_changes(live)

    @app.post("/stations/{station}/changes/{number}/{verb}", include_in_schema=False)
    def move(
        live: TheStation, number: Number, verb: Literal["apply", "discard", "roll-back"], holder: Engineer
    ) -> Response:
        moves = {"apply": apply_change, "discard": discard_change, "roll-back": roll_back_change}
        change = moves[verb](live, number, who=holder.name)
        return _part("change.html", holder, live, change=change, most=MOST_SHOWN)


def _add_zones(app: FastAPI) -> None:
    @app.get("/stations/{station}/zones", include_in_schema=False)
    def zones(live: TheStation, holder: AnyHolder) -> Response:
        station, first = live.open.station, live.open.references[0]
        return _page(
            "zones.html",
            holder,
            live,
            title=f"Zones of {live.name}",
            station=station,
            first=first,
            zones=json.dumps([zone.model_dump(mode="json", exclude_none=True) for zone in station.zones]),
            version=live.version,
        )

    @app.get("/stations/{station}/zones/{number}/mask", include_in_schema=False)
    def mask(live: TheStation, number: Number, holder: AnyHolder) -> Response:
        zones = live.open.station.zones
        name = zones[number - 1].mask if number <= len(zones) else None
        if name is None:
            raise AbsentError(f"{live.name}: no mask of zone {number}")
        with open_picture(path_inside(live.folder, name)) as image:
            white = image.convert("L").point(lambda level: MASK_ALPHA * (level > 127))
        drawn = Image.new("RGBA", white.size, MASK_COLOUR)
        drawn.putalpha(white)
        return _png(drawn)

    @app.post("/stations/{station}/zones", include_in_schema=False)
    def draw(
        live: TheStation,
        runtime: TheRuntime,
        holder: Engineer,
        plan: Annotated[str, Form()],
        pictures: Pictures = JUDGED,
    ) -> Response:
        try:
            form = ZonesForm.model_validate_json(plan)
        except ValidationError as error:
            raise InputError(first_problem(error)) from None
        propose_zones(runtime, live, **dict(form) | {"pictures": pictures}, who=holder.name)
        return _to_changes(live)


def _add_rules(app: FastAPI) -> None:
    @app.get("/stations/{station}/rules", include_in_schema=False)
    def rules(live: TheStation, holder: AnyHolder) -> Response:
        sheet, first = live.open.station.rules or RuleSheet(), live.open.painted_references[0]
        newest = live.archive.history(limit=MOST_TALLIED)
        rows = rule_rows(sheet, first, [each for each in newest if each.version == live.version])
        shapes = [None if row.box is None else numbered_box(row.box, first) for row in rows]
        return _page(
            "rules.html",
            holder,
            live,
            title=f"Rules of {live.name}",
            sheet=sheet,
            first=first,
            rows=list(zip(rows, shapes, strict=True)),
            version=live.version,
        )

    @app.post("/stations/{station}/rules", include_in_schema=False)
    async def edit(request: Request, live: TheStation, runtime: TheRuntime, holder: Engineer) -> Response:
        async with request.form(max_files=0, max_fields=MOST_FIELDS) as sent:
            values = {name: value for name, value in sent.items() if isinstance(value, str)}
        form = read_rule_form(live.open.station.rules or RuleSheet(), values)
        await run_in_threadpool(propose_rules, runtime, live, **dict(form), who=holder.name)
        return _to_changes(live)


def _add_limit(app: FastAPI) -> None:
    @app.get("/stations/{station}/limit", include_in_schema=False)
    def limit(live: TheStation, holder: AnyHolder) -> Response:
        return _page("limit.html", holder, live, title=f"Limit of {live.name}", **score_bars(live))

    @app.post("/stations/{station}/limit", include_in_schema=False)
    def set_limit(
        live: TheStation,
        holder: Engineer,
        limit: Annotated[float, Form(ge=0, le=1, allow_inf_nan=False)],
        base: Annotated[int, Form()],
    ) -> Response:
        if base != live.version:
            raise InputError(f"{live.name}: the station changed meanwhile; load the page again")
        move_limit(live, limit, who=holder.name)
        return Response(status_code=204, headers={"HX-Refresh": "true"})


def _verdict(live: LiveStation, watch: Watch, inspection: Inspection, holder: Holder, *, oob: bool) -> Response:
    """The verdict as a part of a page; with `oob` the newest of the line, too."""
    recent = live.archive.history(limit=RECENT) if oob else []
    return _part("verdict.html", holder, live, oob=oob, recent=recent, **verdict_values(live, watch, inspection))


TABLES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def _table(
    name: str, suffix: Literal["csv", "xlsx"], title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]
) -> Response:
    content = csv_table(heads, rows) if suffix == "csv" else excel_table(title, heads, rows)
    file = quote(f"{name}.{suffix}")
    headers = {"Content-Disposition": f"attachment; filename*=utf-8''{file}"}
    return Response(content, media_type=TABLES[suffix], headers=headers)


def _png(image: Image.Image) -> Response:
    return Response(encode_picture(image, compress_level=1), media_type="image/png")


def _to_changes(live: LiveStation) -> Response:
    """htmx opens the page of the changes, where the preview is being made."""
    return Response(status_code=204, headers={"HX-Redirect": f"{_address(live)}/changes"})


def _address(live: LiveStation) -> str:
    return f"/stations/{quote(live.name)}"


def _page(
    template: str, holder: Holder | None, live: LiveStation | None = None, *, status: int = 200, **values: Any
) -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    html = _render(template, holder, live, nonce=nonce, made_with=_made_with(holder, live), **values)
    headers = {"Content-Security-Policy": POLICY.format(nonce=nonce), "Referrer-Policy": "same-origin"}
    return HTMLResponse(html, status, headers)


def _problem_page(request: Request, status: int, problem: str) -> HTMLResponse:
    """For a person who opened an address that has no page."""
    return _page(
        "problem.html", request.state.holder, title="This page cannot be shown", problem=problem, status=status
    )


def _made_with(holder: Holder | None, live: LiveStation | None) -> str:
    """The last line of a page; strangers at the login learn nothing of the server."""
    if holder is None:
        return ""
    if live is None:
        return made_with(None)
    station = live.open.station
    return made_with(station.boundary, station.unsure_from)


def _part(template: str, holder: Holder, live: LiveStation, **values: Any) -> HTMLResponse:
    """A part of a page, which htmx puts in its place; opened by itself it may do nothing."""
    policy = {"Content-Security-Policy": "default-src 'none'"}
    return HTMLResponse(_render(template, holder, live, **values), headers=policy)


def _render(template: str, holder: Holder | None, live: LiveStation | None, **values: Any) -> str:
    address = "" if live is None else _address(live)
    engineer = holder is not None and holder.role == "engineer"
    return render_page(f"service/{template}", holder=holder, engineer=engineer, live=live, address=address, **values)


@cache
def _script(name: str) -> bytes:
    return (STATIC / name).read_bytes()
