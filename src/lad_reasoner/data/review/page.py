"""The review's page in the browser, from a server that only this machine can reach.

    with ReviewServer(review, port=8765) as server:
        server.serve_forever()

The standard library's server is enough for one person: each decision is a posted form, each answer a whole page, and
decisions.jsonl holds all the state. The page shows text of a model and files of strangers: text is escaped, pictures
are decoded here and encoded again as PNG, scripts need the response's nonce, and a decision needs the run's token. The
address carries that token, too, and becomes a cookie: without it nothing is shown. This keeps out other pages, other
machines and other users of this machine.
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lad_reasoner.data.review.session import Review, built_answer, question_of
from lad_reasoner.data.sets.built_set import Entry
from lad_reasoner.errors import InputError, LadError
from lad_reasoner.templates import made_with, render_page

HOST = "127.0.0.1"
MAX_BODY = 1_000_000  # bytes of a form: far more than any answer


class ReviewServer(ThreadingHTTPServer):
    """Serves one review on this machine at `url`, which holds the run's token. InputError if the port is taken."""

    daemon_threads = True
    request_queue_size = 128  # connections that wait: a page asks for its pictures all at once

    def __init__(self, review: Review, *, port: int = 0) -> None:
        self.review = review
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"--port {port}: {error}; give another port, or 0 for any free one") from None
        self.base = f"http://{HOST}:{self.server_port}/"
        self.url = f"{self.base}?token={self.token}"
        self.cookie = f"review-{self.server_port}"  # a browser sends cookies to every port

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closed its connection is not an error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One request. Each answer has its length; each page has a policy that admits nothing from outside."""

    server: ReviewServer
    protocol_version = "HTTP/1.1"
    # Head and body are sent one after the other; Nagle's algorithm would delay each body by 40 ms.
    disable_nagle_algorithm = True
    timeout = 60  # seconds until an idle connection is closed

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal belongs to the person."""

    def do_GET(self) -> None:
        review = self.server.review
        if not self._host_is_ours() or not self._token_is_ours():
            return
        try:
            match self.path.split("/")[1:]:
                case [start] if not start.partition("?")[0]:
                    number = review.next_open()
                    self._redirect("/done" if number is None else f"/record/{number + 1}")
                case ["done"]:
                    self._send_page(None)
                case ["record", name]:
                    self._send_page(_index(name, review.entries))
                case ["picture", name, place]:
                    number = _index(name, review.entries)
                    content, _, _ = review.picture(number, _index(place, review.entries[number].images_file_names))
                    self._send(HTTPStatus.OK, "image/png", content)
                case ["mask", name] if (overlay := review.overlay(_index(name, review.entries))) is not None:
                    self._send(HTTPStatus.OK, "image/png", overlay)
                case _:
                    raise LookupError
        except LookupError:
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such page.")
        except LadError as error:
            self._refuse(HTTPStatus.NOT_FOUND, str(error))

    def do_POST(self) -> None:
        review = self.server.review
        form = self._read_form() if self._host_is_ours() else None
        if form is None:
            return
        if not secrets.compare_digest(form.get("token", "").encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "Nothing was saved: this page belongs to an earlier run. Open / again.")
            return
        if self.path == "/undo":
            self._post(form, review.undo)
        elif self.path == "/decide":
            self._post(form, lambda: self._decide(form))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such page.")

    def _decide(self, form: dict[str, str]) -> int | None:
        """Save the decision; returns the number of the next record to show."""
        review = self.server.review
        review.decide(form.get("id", ""), form.get("decision", ""), form.get("answer", ""))
        return review.next_open(review.numbers[form["id"]])

    def _post(self, form: dict[str, str], act: Callable[[], int | None]) -> None:
        """Act, then redirect to the next page. If saving fails, the same page shows the reason and keeps the text."""
        try:
            number = act()
        except (InputError, OSError) as error:
            machine = isinstance(error, OSError)
            status = HTTPStatus.INTERNAL_SERVER_ERROR if machine else HTTPStatus.BAD_REQUEST
            problem = f"Nothing was saved: {error}"
            self._send_page(self.server.review.numbers.get(form.get("id", "")), status, problem, form.get("answer"))
        else:
            self._redirect("/" if number is None else f"/record/{number + 1}")

    def _host_is_ours(self) -> bool:
        """True if the request names this server; else refuse it: a strange name that resolves to here is an attack."""
        port = self.server.server_port
        if self.headers.get_all("Host") in ([f"{HOST}:{port}"], [f"localhost:{port}"]):
            return True
        self._refuse(HTTPStatus.FORBIDDEN, f"This server answers to {self.server.base} only.")
        return False

    def _token_is_ours(self) -> bool:
        """True if the request has the token, from the address or as the cookie that it became; else refuse it."""
        address = urlsplit(self.path)
        try:
            cookies = SimpleCookie(self.headers.get("Cookie", ""))
        except CookieError:
            cookies = SimpleCookie()
        given = cookies[self.server.cookie].value if self.server.cookie in cookies else ""
        if address.path == "/" and address.query:
            given = parse_qs(address.query).get("token", [""])[-1]
        if secrets.compare_digest(given.encode(), self.server.token.encode()):
            return True
        self._refuse(HTTPStatus.FORBIDDEN, "Open the whole address that the command printed: it carries a token.")
        return False

    def _read_form(self) -> dict[str, str] | None:
        """The fields of the form; None if the form is refused."""
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,7}", length) or int(length) > MAX_BODY:
            self._refuse(HTTPStatus.BAD_REQUEST, f"A form of at most {MAX_BODY} bytes is expected.")
            return None
        try:
            body = self.rfile.read(int(length)).decode()
            fields = parse_qs(body, keep_blank_values=True, max_num_fields=8, errors="strict")
        except ValueError:
            self._refuse(HTTPStatus.BAD_REQUEST, "The form cannot be read.")
            return None
        return {name: values[-1] for name, values in fields.items()}

    def _send_page(
        self, number: int | None, status: HTTPStatus = HTTPStatus.OK, problem: str = "", draft: str | None = None
    ) -> None:
        """The page of a record, or the summary if the number is None."""
        review = self.server.review
        nonce = secrets.token_urlsafe(16)
        values = {
            "number": number,
            "size": len(review.entries),
            "summary": review.summary(),
            "tally": review.tally(),
            "rate": review.rate(),
            "done": sum(review.counts.values()),
            "token": self.server.token,
            "nonce": nonce,
            "stamp": made_with(None),
            "problem": problem,
            "draft": draft,
            **({} if number is None else _describe(review, number)),
        }
        policy = (
            f"default-src 'none'; img-src 'self' data:; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        page = render_page("review.html", **values).encode("utf-8", "backslashreplace")
        self._send(status, "text/html; charset=utf-8", page, {"Content-Security-Policy": policy})

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True  # the rest of the request was not read
        self._send(status, "text/plain; charset=utf-8", reason.encode("utf-8", "backslashreplace"))

    def _redirect(self, where: str) -> None:
        cookie = f"{self.server.cookie}={self.server.token}; Path=/; HttpOnly; SameSite=Strict"
        self._send(HTTPStatus.SEE_OTHER, "text/plain", b"", {"Location": where, "Set-Cookie": cookie})

    def _send(self, status: HTTPStatus, kind: str, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        always = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-cache",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        self.send_response(status)
        for name, value in {**always, **(headers or {})}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


def _index(text: str, items: Sequence[object]) -> int:
    """`1` -> 0. LookupError if there is no such item."""
    if not re.fullmatch("[1-9][0-9]{0,8}", text) or int(text) > len(items):
        raise LookupError(text)
    return int(text) - 1


def _role(entry: Entry, at: int) -> str:
    """The caption of the picture at this place: Query, Reference, Reference 2, or Picture if it is the only one."""
    references = len(entry.images_file_names) - 1
    if at == entry.query:
        return "Query" if references else "Picture"
    if references == 1:
        return "Reference"
    return f"Reference {at + 1 if at < entry.query else at}"


def _describe(review: Review, number: int) -> dict[str, Any]:
    """The values that the page of a record shows."""
    entry = review.entries[number]
    decision = review.decisions.get(entry.id)
    pictures = []
    for at, name in enumerate(entry.images_file_names):
        try:
            _, width, height = review.picture(number, at)
            picture = {"width": width, "height": height, "problem": ""}
        except LadError as error:
            picture = {"problem": str(error)}
        pictures.append({"role": _role(entry, at), "name": name, "url": f"/picture/{number + 1}/{at + 1}", **picture})
    mask_problem = ""
    try:
        mask = review.overlay(number) is not None
    except LadError as error:
        mask, mask_problem = False, str(error)
    facts = {
        "class": " / ".join(part for part in (entry.dataset, entry.category) if part),
        "label": {"yes": "yes (anomalous)", "no": "no (good)"}[entry.label],
        "kind": entry.kind,
        "defect": entry.defect,
        "about": entry.question,
        "source": entry.source,
        "id": entry.id,
    }
    return {
        "entry": entry,
        "pictures": pictures,
        "mask": mask,
        "mask_problem": mask_problem,
        "facts": {name: value for name, value in facts.items() if value},
        "decision": decision,
        "question": question_of(entry),
        "built_answer": built_answer(entry),
        "answer": (decision and decision.answer) or built_answer(entry),
        "pair": entry.task == "pair",
    }
