"""Results in the holding registers of a PLC that is a Modbus TCP server.

    modbus://plc:502/?unit=1&start=100&acknowledge=1

`REGISTERS` is the map, counted from `start`. DONE is 0 while a result is being written, so that a PLC that waits for it
never reads half of one. With `acknowledge=1` the next result waits until the PLC has copied the low word of NUMBER into
ACKNOWLEDGED: so none is overwritten before it was read.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Any

from lad_reasoner.errors import InputError, require
from lad_reasoner.service.parts import RESULT_CODES, PartResult, PictureFile
from lad_reasoner.service.sinks.sink import (
    LineState,
    Sink,
    UndeliveredError,
    parse_number,
    parse_sink_address,
)

BEAT = 1.0  # seconds between two heartbeats
TIMEOUT = 2.0  # seconds for one answer of the PLC
PATIENCE = 5.0  # seconds for an acknowledgement, before the delivery counts as failed and is tried again
NO_VALUE = 0xFFFF  # in SCORE and P_VALUE

HEARTBEAT, STATE, RESULT, NUMBER, SCORE, P_VALUE, BOXES, ACKNOWLEDGED, PART = 0, 1, 2, 3, 5, 6, 7, 8, 9
PART_WORDS = 16  # registers, two characters in each
READY, BUSY, DONE, FAULT = 1, 2, 4, 8  # bits of STATE

# (first register, how many, name, content); docs/watch.md shows this table.
REGISTERS = (
    (HEARTBEAT, 1, "heartbeat", "counts up each second while the watcher runs"),
    (STATE, 1, "state", "bit 0 ready, bit 1 busy, bit 2 done, bit 3 fault"),
    (RESULT, 1, "result", "1 good, 2 anomalous, 3 unsure, 4 invalid (not judged)"),
    (NUMBER, 2, "number", "number of the result, high word first"),
    (SCORE, 1, "score", "score x 10000; 65535 if there is none"),
    (P_VALUE, 1, "p-value", "p-value x 10000; 65535 if there is none"),
    (BOXES, 1, "boxes", "number of places that differ"),
    (ACKNOWLEDGED, 1, "acknowledged", "written by the PLC: the low word of number"),
    (PART, PART_WORDS, "part", "part ID, 32 ASCII characters, two in a register, high byte first, zeros after it"),
)
LENGTH = PART + PART_WORDS


class ModbusRegisters(Sink):
    """Writes heartbeat, state and results to the registers of a PLC."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        library = require("pymodbus.client", "plant", "pymodbus")
        exceptions = require("pymodbus.exceptions", "plant", "pymodbus")
        self._faults, self._silence = (exceptions.ModbusException, OSError), exceptions.ModbusIOException
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # it logs each try; Delivery says it once
        address = parse_sink_address(name, port=502, options=("unit", "start", "acknowledge"))
        if address.user or address.path:
            raise InputError(f"--to {name}: Modbus has no users and no paths; write modbus://host:502/?start=100")
        self._unit = parse_number(name, address.options, "unit", 1, 255)
        self._start = parse_number(name, address.options, "start", 0, 0xFFFF - LENGTH)
        self._acknowledge = parse_number(name, address.options, "acknowledge", 0, 1) == 1
        self._client: Any = library.ModbusTcpClient(address.host, port=address.port, timeout=TIMEOUT, retries=0)
        self._lock = threading.RLock()  # of the client and of what the registers hold; two threads write
        self._beat, self._line, self._done = 0, 0, False  # not ready before the watcher says so
        self._last: PartResult | None = None  # what the registers hold
        self._lost = False  # since the connection was lost, they may hold anything
        self._changed, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="modbus", daemon=True)
        self._thread.start()

    def deliver(self, result: PartResult, file: PictureFile) -> None:
        self._write_result(result)
        if self._acknowledge:
            self._await_acknowledgement(result.number & 0xFFFF)

    def check(self) -> None:
        # Otherwise nobody would hear of a PLC that is away until the next part.
        with self._lock:
            self._write(HEARTBEAT, [self._beat, self._state()])

    def announce(self, state: LineState) -> None:
        self._line = {"ready": READY, "busy": BUSY, "fault": FAULT}[state]
        self._changed.set()

    def close(self) -> None:
        self._closed.set()
        self._changed.set()
        self._thread.join()
        with contextlib.suppress(UndeliveredError):
            self._line = 0
            self._write(STATE, [self._state()])
        self._client.close()

    def _state(self) -> int:
        return self._line | (DONE if self._done else 0)

    def _write_result(self, result: PartResult) -> None:
        with self._lock:
            self._done = False
            self._write(STATE, [self._state(), *_result_words(result)])
            self._write(PART, part_words(result.part))
            self._done = True
            self._write(STATE, [self._state()])
            self._last, self._lost = result, False

    def _keep_beating(self) -> None:
        """Heartbeat and state in one write: each second, and when the state changes."""
        while not self._closed.is_set():
            self._changed.clear()
            self._beat = (self._beat + 1) & 0xFFFF
            try:
                with self._lock:
                    if self._lost and self._last:
                        self._write_result(self._last)
                    self._write(HEARTBEAT, [self._beat, self._state()])
            except UndeliveredError:  # `check` says so
                self._closed.wait(BEAT)
            self._changed.wait(BEAT)

    def _await_acknowledgement(self, number: int) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            (word,) = self._call("read_holding_registers", ACKNOWLEDGED, count=1).registers
            if word == number:
                return
            time.sleep(0.02)
        raise UndeliveredError(f"the PLC has not acknowledged the result {number}")

    def _write(self, register: int, values: list[int]) -> None:
        self._call("write_registers", register, values)

    def _call(self, function: str, register: int, *arguments: Any, **named: Any) -> Any:
        with self._lock:
            try:
                if not self._client.connected and not self._client.connect():
                    self._lost, self._done = True, False
                    raise UndeliveredError("the PLC cannot be reached")
                answer = getattr(self._client, function)(
                    self._start + register, *arguments, device_id=self._unit, **named
                )
            except self._faults as error:
                self._lost, self._done = True, False
                self._client.close()
                reason = " ".join(str(error).split()) or type(error).__name__
                if isinstance(error, self._silence):
                    reason = f"the PLC does not answer as unit {self._unit}; check host, port and ?unit="
                raise UndeliveredError(reason) from None
        if answer.isError():
            code = getattr(answer, "exception_code", "?")
            last = self._start + LENGTH - 1
            raise UndeliveredError(
                f"the PLC answered with exception {code}; it needs the holding registers {self._start} to {last} "
                f"in unit {self._unit}"
            )
        return answer


def _result_words(result: PartResult) -> list[int]:
    """The registers RESULT to BOXES."""
    verdict = result.verdict
    number = result.number & 0xFFFFFFFF
    boxes = min(len(verdict.boxes), 0xFFFF) if verdict else 0
    score = None if verdict is None or verdict.answer == "invalid" else verdict.score
    return [RESULT_CODES[result.outcome], number >> 16, number & 0xFFFF, _share(score), _share(result.p_value), boxes]


def _share(value: float | None) -> int:
    return NO_VALUE if value is None else round(10000 * value)


def part_words(part: str) -> list[int]:
    """A part ID in `PART_WORDS` registers: its last 32 characters, which differ; `?` for what is not ASCII."""
    characters = part[-2 * PART_WORDS :].encode("ascii", "replace").ljust(2 * PART_WORDS, b"\0")
    return [characters[at] << 8 | characters[at + 1] for at in range(0, len(characters), 2)]
