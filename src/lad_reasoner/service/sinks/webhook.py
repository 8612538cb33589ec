"""Results as signed HTTP requests.

Signed as the Standard Webhooks specification (standardwebhooks.com) has it, so that its libraries verify them:
`webhook-id`, `webhook-timestamp` (seconds), and `webhook-signature`, `v1,` and the Base64 of HMAC-SHA256 over
`id.timestamp.body`. The key is read from LAD_WEBHOOK_SECRET: `whsec_` and Base64, or any text.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from typing import Any

from lad_reasoner.errors import InputError, require
from lad_reasoner.remote.certificates import explain_certificate
from lad_reasoner.service.parts import PartResult, PictureFile
from lad_reasoner.service.sinks.sink import (
    RejectedResultError,
    Sink,
    UndeliveredError,
    parse_sink_address,
    read_secret,
)
from lad_reasoner.service.trust import is_loopback
from lad_reasoner.text import printable

SECRET = "LAD_WEBHOOK_SECRET"
TIMEOUT = 10.0  # seconds, from the name of the host to the last byte of the answer
REJECTED = frozenset({400, 413, 415, 422})  # this body is at fault; any other status is the receiver's or the address's


class Webhook(Sink):
    """POSTs each result as JSON. A status of 2xx is a delivery; redirects are not followed."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        httpx2 = require("httpx2", "hosted")
        scheme = name.partition(":")[0]
        query = name.partition("?")[2]
        # A receiver's own ?key=value is its business.
        address = parse_sink_address(name, port=443, options=tuple(pair.partition("=")[0] for pair in query.split("&")))
        if address.user:
            raise InputError(
                f"--to {scheme}://…: a webhook's address must not hold a user; requests are signed instead"
            )
        self._key = _read_key()
        self._failures = (httpx2.HTTPError, httpx2.InvalidURL)
        # SSL_CERT_FILE holds for this machine, too; the proxy of the environment does not.
        verify = httpx2.create_ssl_context()
        # Timeouts of the client are those of one read: a receiver that drips would never meet them.
        self._client: Any = httpx2.AsyncClient(timeout=None, verify=verify, trust_env=not is_loopback(address.host))
        self._runner = asyncio.Runner()

    def deliver(self, result: PartResult, file: PictureFile) -> None:
        body = result.model_dump_json().encode()
        headers = {"Content-Type": "application/json", **sign(self._key, _identity(result), body)}
        try:
            response = self._runner.run(self._post(body, headers))
        except TimeoutError:
            raise UndeliveredError(f"no answer within {TIMEOUT:g} s") from None
        except self._failures as error:
            raise UndeliveredError(_explain(error)) from None
        if response.status_code in REJECTED:
            raise RejectedResultError(f"result {result.number} was rejected with status {response.status_code}")
        if response.is_redirect:
            there = printable(response.headers.get("location", "another address"))[:200]
            raise UndeliveredError(
                f"status {response.status_code}: it leads to {there}; give the right address with --to"
            )
        if response.status_code in (401, 403):
            raise UndeliveredError(f"status {response.status_code}: check {SECRET}, here and at the receiver")
        if not response.is_success:
            raise UndeliveredError(f"status {response.status_code}")

    async def _post(self, body: bytes, headers: dict[str, str]) -> Any:
        """The response; its body is read away, so that the connection can be used again."""
        response = None
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._client.stream("POST", self.name, content=body, headers=headers) as response,
            ):
                async for _ in response.aiter_raw():
                    pass
        except (TimeoutError, *self._failures):
            if response is None:  # else the status has said it, whatever becomes of the body
                raise
        return response

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


def _explain(error: Exception) -> str:
    reason = str(error) or type(error).__name__
    mend = "; if its port has no TLS, write http://" if "WRONG_VERSION_NUMBER" in reason else ""
    return explain_certificate(error) or f"{reason}{mend}"


def _identity(result: PartResult) -> str:
    """The same at each try; with the time, since two watched folders of a station have the same numbers."""
    return f"{result.station}-{result.number}-{result.time:%Y%m%dT%H%M%S%fZ}"


def sign(key: bytes, identity: str, body: bytes) -> dict[str, str]:
    """The headers of a request; without a signature if there is no key."""
    # Header values are ASCII, a station's name need not be.
    identity = identity.encode("ascii", "backslashreplace").decode()
    headers = {"webhook-id": identity, "webhook-timestamp": str(int(time.time()))}
    if key:
        signed = f"{identity}.{headers['webhook-timestamp']}.".encode() + body
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _read_key() -> bytes:
    secret = read_secret(SECRET)
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise InputError(f"{SECRET}: what follows whsec_ is not Base64; copy it again") from None
