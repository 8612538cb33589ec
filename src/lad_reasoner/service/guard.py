"""What stands before every request: who it is, how much it sends and how slowly; and what is logged and counted of it.

    app.add_middleware(Guard, keys=Keys.read("keys.toml"), telemetry=Telemetry())

The guard answers 401 before anything of a request is read, 413 and 408 while the body comes, 429 when too many bodies
are in memory. One line of JSON a request goes to the log `lad_reasoner.service.requests`: never a picture, never a key.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lad_reasoner.service.keys import Holder, Keys
from lad_reasoner.text import printable

if TYPE_CHECKING:
    from lad_reasoner.service.telemetry import Telemetry

logger = logging.getLogger(__name__)
requests = logging.getLogger("lad_reasoner.service.requests")

MAX_BODY = 64 * 2**20  # bytes of one request
MAX_MEMORY = 512 * 2**20  # bytes of all bodies that are being received or judged
BODY_SECONDS = 30.0  # in which a body must have come
SMALL = 2**16  # bytes of a body that is not counted
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # methods that change nothing
LOGIN = "/login"  # of the page, where there is one
OPEN = frozenset({"/healthz", "/readyz"})  # answered without a key
COOKIE = "lad_key"  # of a browser, which sends no header by itself
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
LOCAL = Holder(name="local", role="engineer")  # who asks where no key is needed: a person at this machine


class Guard:
    """ASGI middleware. Without `keys`, only requests that name this machine are answered, each as `LOCAL`.

    `open_paths` need no key. What is known of a request stands in `request.state`: `holder`, `began`
    (time.monotonic()), `still_valid`, a function that says whether its key still opens anything, and `note`, a function
    whose keywords go into the request's line of the log.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys | None,
        telemetry: Telemetry,
        max_body: int = MAX_BODY,
        max_memory: int = MAX_MEMORY,
        body_seconds: float = BODY_SECONDS,
        open_paths: Collection[str] = OPEN,
    ) -> None:
        self.app, self.keys, self.telemetry = app, keys, telemetry
        self.max_body, self.max_memory, self.body_seconds = max_body, max_memory, body_seconds
        self.open_paths = open_paths
        self.in_memory = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = _Request(scope, send)
        held = 0
        try:
            refusal = self._refuse(scope, request)
            if refusal is None and request.length > self.max_body:
                refusal = _refuse_size(self.max_body)
            if refusal is None:
                held = self._hold(request)
                if held < 0:
                    refusal = JSONResponse(
                        {"error": "too many pictures are on their way; try again"}, 429, {"Retry-After": "1"}
                    )
                    self.telemetry.refused.labels("memory").inc()
            if refusal is not None:
                await refusal(scope, receive, request.send)
            else:
                body = _Body(receive, self.max_body, request.began + self.body_seconds)
                await self.app(scope, body.receive, request.send)
        except Exception as error:  # a bug must not end in a closed connection without a word
            logger.exception("request %s failed", request.id)
            request.fields["error"] = type(error).__name__
            if request.status == 0:
                problem = JSONResponse({"error": f"internal error; the log has it as request {request.id}"}, 500)
                await problem(scope, receive, request.send)
        finally:
            self.in_memory -= max(0, held)
            request.log(self.telemetry)

    def _refuse(self, scope: Scope, request: _Request) -> Response | None:
        """Sets who asks; or the answer to a request that is refused without being read."""
        headers = request.headers
        if "transfer-encoding" in headers and "content-length" in headers:
            # A proxy in front of this server may go by the other one, and take the rest for a request of its own.
            problem = "give Content-Length or Transfer-Encoding, not both"
            return JSONResponse({"error": problem}, 400, {"Connection": "close"})
        holder: Holder | None = None
        key = _key_of(headers)
        if self.keys is not None:
            holder = self.keys.find(key)
        elif _host(headers.get("host", "")) in LOOPBACK:
            holder = LOCAL
        else:
            # A strange name that resolves to here is an attack by a page in the browser of this machine.
            return JSONResponse({"error": "without a key file only requests to localhost are answered"}, 403)
        if scope["path"] in self.open_paths:
            request.state["holder"] = holder
            return None if scope["method"] in SAFE or _same_origin(headers) else _refuse_origin()
        if holder is None and scope["method"] == "GET" and LOGIN in self.open_paths and is_browser(headers):
            return RedirectResponse(_login_before(scope), 303)
        if holder is None:
            self.telemetry.refused.labels("key").inc()
            problem = "give a valid key: Authorization: Bearer KEY"
            return JSONResponse({"error": problem}, 401, {"WWW-Authenticate": "Bearer"})
        if scope["method"] not in SAFE and not _same_origin(headers):
            return _refuse_origin()
        request.state["holder"] = holder
        request.state["still_valid"] = lambda: self.keys is None or self.keys.find(key) == holder
        request.fields["who"] = holder.name
        return None

    def _hold(self, request: _Request) -> int:
        """Bytes of memory that are reserved for the body; -1 if there is no room."""
        # A body in chunks may become as large as any.
        size = self.max_body if "transfer-encoding" in request.headers else request.length
        if size <= SMALL:
            return 0
        if self.in_memory + size > self.max_memory:
            return -1
        self.in_memory += size
        return size


class _Request:
    """What is known of a request, for its line in the log."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope, self._send = scope, send
        self.headers = Headers(scope=scope)
        length = self.headers.get("content-length", "")
        self.length = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0
        self.began = time.monotonic()
        self.id = secrets.token_hex(6)
        self.status = 0
        self.fields: dict[str, Any] = {}
        self.state = scope.setdefault("state", {})
        self.state.update(began=self.began, note=self.fields.update, request_id=self.id)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message.setdefault("headers", [])
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", self.id.encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"cross-origin-resource-policy", b"same-origin"),  # no other page shows the pictures
                (b"cache-control", b"no-store"),
            ]
        await self._send(message)

    def log(self, telemetry: Telemetry) -> None:
        seconds = time.monotonic() - self.began
        route = getattr(self.scope.get("route"), "path", "") or "other"
        telemetry.requests.labels(route, str(self.status or 499)).inc()
        telemetry.seconds.labels(route).observe(seconds)
        client = self.scope.get("client")
        line = {
            "request": self.id,
            "client": client[0] if client else "",
            "method": self.scope["method"],
            "path": printable(self.scope["path"])[:200],
            "status": self.status or 499,  # the client closed the connection
            "seconds": round(seconds, 4),
            **self.fields,
        }
        requests.info(json.dumps(line))


class _Body:
    """Counts the bytes of a body, and ends it when it is too large or too slow."""

    def __init__(self, receive: Receive, most: int, deadline: float) -> None:
        self._receive, self.most, self.deadline = receive, most, deadline
        self.size = 0
        self.whole = False

    async def receive(self) -> Message:
        if self.whole:  # what comes now is only that the client is gone
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self.deadline - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the request came too slowly", {"Connection": "close"}) from None
        if message["type"] == "http.request":
            self.size += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
            if self.size > self.most:
                raise HTTPException(413, _too_large(self.most), {"Connection": "close"})
        return message


def _key_of(headers: Headers) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _login_before(scope: Scope) -> str:
    """The address of the login, with the page that was asked for; a part of a page is none to come back to."""
    if scope["path"] == "/" or "hx-request" in Headers(scope=scope):
        return LOGIN
    query = scope["query_string"].decode("latin-1")
    return f"{LOGIN}?{urlencode({'next': quote(scope['path']) + (f'?{query}' if query else '')})}"


def _host(text: str) -> str:
    """The host of a Host header, without its port."""
    host, _, port = text.rpartition(":")
    return host if port.isascii() and port.isdigit() else text


def _same_origin(headers: Headers) -> bool:
    """False for a request that a page of another origin makes: it would use the rights of this machine's person."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def is_browser(headers: Headers) -> bool:
    """Whether a person waits for a page."""
    return "text/html" in headers.get("accept", "")


def _refuse_origin() -> JSONResponse:
    problem = "requests from pages of other origins are refused; a proxy in front must pass on the header Host"
    return JSONResponse({"error": problem}, 403)


def _refuse_size(most: int) -> JSONResponse:
    return JSONResponse({"error": _too_large(most)}, 413, {"Connection": "close"})


def _too_large(most: int) -> str:
    return f"the request is larger than {most // 2**20} MiB; send fewer or smaller pictures"
