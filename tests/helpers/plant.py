"""A plant on loopback: a PLC, a broker, an OPC UA server, a receiver of webhooks; each is its library's own server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from helpers.verdicts import verdict
from lad_reasoner.service.parts import PartResult, PictureFile

NOWHERE = PictureFile(Path("/nowhere.png"), 1, 1)  # for sinks that do not look at the picture


def part_result(number: int = 1, **changes: Any) -> PartResult:
    values = {
        "number": number,
        "time": datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
        "station": "bottle",
        "part": f"part-{number}",
        "picture": f"part-{number}.png",
        "outcome": "anomalous",
        "p_value": 0.01,
        "verdict": verdict(headline="a hole"),
    }
    return PartResult.model_validate({**values, **changes})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(true: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@contextlib.contextmanager
def running(start: Callable[[], Awaitable[Any]], stop: Callable[[Any], Awaitable[Any]]) -> Iterator[Any]:
    """A server of an asyncio library in a thread; gives what `start` returns."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(_call(start), loop).result(20)
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(_call(stop, server), loop).result(20)
    finally:
        asyncio.run_coroutine_threadsafe(_end_tasks(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _call(function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    return await function(*arguments)


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # A library's server may leave a connection open whose other side went away in the middle.
    for transport in list(getattr(asyncio.get_running_loop(), "_transports", {}).values()):
        transport.abort()
    await asyncio.sleep(0.05)  # in which they are closed


@contextlib.contextmanager
def modbus_plc(port: int, registers: int = 200) -> Iterator[None]:
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    async def start() -> ModbusTcpServer:
        device = SimDevice(1, SimData(0, count=registers, datatype=DataType.REGISTERS))
        server = ModbusTcpServer(device, address=("127.0.0.1", port))
        await server.serve_forever(background=True)
        return server

    async def stop(server: ModbusTcpServer) -> None:
        await server.shutdown()

    with running(start, stop):
        yield


@contextlib.contextmanager
def mqtt_broker(port: int) -> Iterator[None]:
    from amqtt.broker import Broker

    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }

    async def start() -> Broker:
        broker = Broker(config)
        await broker.start()
        return broker

    async def stop(broker: Broker) -> None:
        await broker.shutdown()

    with running(start, stop):
        yield


class Mqtt5Broker:
    """Speaks so much of MQTT 5 that a client can publish; `login` and `refusals` are its reason codes.

    A message of more than `largest` bytes ends the connection, as the standard wants it.
    """

    def __init__(
        self,
        login: int = 0,
        refusals: dict[str, int] | None = None,
        tls: ssl.SSLContext | None = None,
        largest: int | None = None,
    ) -> None:
        self.login, self.refusals, self._tls, self._largest = login, refusals or {}, tls, largest
        self.published: list[tuple[str, bytes]] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Mqtt5Broker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed by the test
                return
            # The other side may not speak TLS, or leave in the middle.
            with connection, contextlib.suppress(OSError, IndexError, TimeoutError):
                connection.settimeout(5)
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                with connection, connection.makefile("rb") as stream:
                    self._answer_all(connection, stream)

    def _answer_all(self, connection: socket.socket, stream: Any) -> None:
        while head := stream.read(1):
            body = stream.read(_read_length(stream))
            kind = head[0] >> 4
            if self._largest is not None and len(body) > self._largest:
                return
            if kind == 1:  # CONNECT: CONNACK
                # The property 0x27 is the largest message.
                properties = b"" if self._largest is None else b"\x27" + self._largest.to_bytes(4, "big")
                connection.sendall(bytes([0x20, 3 + len(properties), 0, self.login, len(properties)]) + properties)
            elif kind == 3:  # PUBLISH: PUBACK
                end = 2 + int.from_bytes(body[:2], "big")
                topic, number = body[2:end].decode(), body[end : end + 2]
                reason = self.refusals.get(topic, 0)
                if not reason:
                    self.published.append((topic, body[end + 3 :]))
                connection.sendall(bytes([0x40, 3]) + number + bytes([reason]))
            elif kind == 12:  # PINGREQ: PINGRESP
                connection.sendall(bytes([0xD0, 0]))
            elif kind == 14:  # DISCONNECT
                return


def _read_length(stream: Any) -> int:
    """A length of MQTT: seven bits in a byte, the lowest first."""
    length = shift = 0
    while True:
        byte = stream.read(1)[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return length


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """The file of a certificate for localhost that nobody has signed, and a server's context with it."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    crt, pem = folder / "server.crt", folder / "server.key"
    crt.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, pem)
    return crt, context


@contextlib.contextmanager
def opcua_server(port: int, variables: dict[str, Any], user: str = "") -> Iterator[str]:
    """Its node `Inspection` has these variables; gives the address of the sink.

    With `user` it knows nobody else, and lets nobody write.
    """
    from asyncua.crypto.permission_rules import User, UserRole
    from asyncua.sync import Server

    class Users:
        def get_user(self, server: Any, username: str = "", password: Any = None, certificate: Any = None) -> Any:
            return User(role=UserRole.User) if username == user else None

    server = Server()
    if user:
        server.aio_obj.iserver.user_manager = Users()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    space = server.register_namespace("http://plant.example")
    node = server.nodes.objects.add_object(f"ns={space};s=Inspection", "Inspection")
    for name, value in variables.items():
        variable = node.add_variable(f"ns={space};s=Inspection.{name}", name, value)
        if not user:
            variable.set_writable()
    with server:
        yield f"opc.tcp://127.0.0.1:{port}/?node=ns={space};s=Inspection"


class _Receiver(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust a certificate is part of these tests."""


class WebhookReceiver:
    """Takes requests until the end of its `with` block; `answer` gives the status of the next."""

    def __init__(
        self, answer: Callable[[int], int] = lambda count: 204, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(answer(len(owner.requests)))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._http = _Receiver(("127.0.0.1", port), Handler)
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https://localhost' if tls else 'http://127.0.0.1'}:{self._http.server_address[1]}/hook"

    def __enter__(self) -> WebhookReceiver:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
