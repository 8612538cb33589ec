"""What a client sends with pictures: JSON with base64, or a form of several parts, checked and in memory.

    form = await read_form(request, most=1)
    form.pictures[0].content, form.pictures[0].part, form.station, form.seconds

Nothing that a client sends is used as a path or as an address.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from lad_reasoner.errors import InputError
from lad_reasoner.text import first_problem, printable

MAX_REFERENCES = 10
MAX_PICTURES = 200  # of one batch
PART = 200  # characters of a part's number
SECONDS, LEAST_SECONDS, MOST_SECONDS = 30.0, 0.05, 300.0  # of a deadline
JSON, MULTIPART = "application/json", "multipart/form-data"


class SentPicture(BaseModel):
    """A picture of a batch."""

    model_config = ConfigDict(extra="forbid")

    picture: str = Field(description="The picture's file, in base64.", min_length=1)
    part: str = Field("", max_length=PART, description="The part's number, for the answer and the history.")


class _Common(BaseModel):
    model_config = ConfigDict(extra="forbid")

    station: str = Field("", max_length=64, description="A station of GET /v1/stations.")
    references: list[str] = Field(
        [], max_length=MAX_REFERENCES, description="Without a station: pictures of good products, in base64."
    )
    seconds: float = Field(
        SECONDS, ge=LEAST_SECONDS, le=MOST_SECONDS, description="Deadline: after it a part is not judged."
    )


class InspectForm(_Common, SentPicture):
    """One picture to judge."""


class BatchForm(_Common):
    """Many pictures to judge."""

    pictures: list[SentPicture] = Field(min_length=1, max_length=MAX_PICTURES)


class SentFile(BaseModel):
    """A picture that arrived: the bytes of its file, its name in messages, and the number of its part."""

    content: bytes
    name: str
    part: str


class SentForm(BaseModel):
    """A checked request. Either `station` or `references` is given."""

    pictures: list[SentFile]
    station: str
    references: list[bytes]
    seconds: float


class _InMemory(MultiPartParser):
    spool_max_size = 2**31  # what arrives is limited before; a full disk must not matter here


def body_of(form: type[BaseModel], example: dict[str, Any], *, many: bool) -> dict[str, Any]:
    """The OpenAPI of a body that `read_form` reads."""
    file = {"type": "string", "format": "binary"}
    fields: dict[str, dict[str, Any]] = {
        "station": {"type": "string", "maxLength": 64},
        "part": {"type": "string", "maxLength": PART, "description": "As often as there are pictures, or not at all."},
        "seconds": {"type": "number", "minimum": LEAST_SECONDS, "maximum": MOST_SECONDS, "default": SECONDS},
        "reference": {"type": "array", "items": file, "maxItems": MAX_REFERENCES},
        "picture": {"type": "array", "items": file, "maxItems": MAX_PICTURES, "minItems": 1} if many else file,
    }
    if many:
        fields["part"] = {"type": "array", "items": fields["part"], "maxItems": MAX_PICTURES}
    multipart = {"type": "object", "properties": fields, "required": ["picture"], "additionalProperties": False}
    schema = form.model_json_schema()
    if many:  # an OpenAPI document has no definitions inside a body
        schema["properties"]["pictures"]["items"] = schema.pop("$defs")["SentPicture"]
    content = {JSON: {"schema": schema, "example": example}, MULTIPART: {"schema": multipart}}
    return {"requestBody": {"required": True, "content": content}}


async def read_form(request: Request, form: type[InspectForm] | type[BatchForm]) -> SentForm:
    """The checked request. InputError names the field; HTTPException 415 for another type of content."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == JSON:
        sent = _read_json(await request.body(), form)
    elif kind == MULTIPART:
        sent = await _read_multipart(request, most=1 if form is InspectForm else MAX_PICTURES)
    else:
        raise HTTPException(415, f"Content-Type must be {JSON} or {MULTIPART}")
    if bool(sent.station) == bool(sent.references):
        raise InputError("station: give the name of a station, or references, and not both")
    return sent


def _read_json(body: bytes, form: type[InspectForm] | type[BatchForm]) -> SentForm:
    try:
        values = form.model_validate_json(body)
    except ValidationError as error:
        raise InputError(first_problem(error)) from None
    pictures: Sequence[SentPicture] = values.pictures if isinstance(values, BatchForm) else [values]
    return SentForm(
        pictures=[
            SentFile(content=_decode(each.picture, "picture"), name=each.part or "picture", part=each.part)
            for each in pictures
        ],
        station=values.station,
        references=[_decode(reference, "references") for reference in values.references],
        seconds=values.seconds,
    )


async def _read_multipart(request: Request, most: int) -> SentForm:
    limit = 2 * (most + MAX_REFERENCES)
    parser = _InMemory(request.headers, request.stream(), max_files=limit, max_fields=limit)
    try:
        form = await parser.parse()
        texts, files = await _sort_fields(form)
    except MultiPartException as error:
        raise InputError(f"the form cannot be read: {error.message}") from None
    except (KeyError, ValueError) as error:  # no boundary, a charset that does not exist
        raise InputError(f"the form cannot be read: {type(error).__name__}") from None
    finally:  # also when the client is gone in the middle
        for file in parser._files_to_close_on_error:
            file.close()
    return _check_fields(texts, files, most)


async def _sort_fields(form: FormData) -> tuple[dict[str, list[str]], dict[str, list[SentFile]]]:
    """The texts and the files of a form by their fields. InputError for a field that is not known."""
    texts: dict[str, list[str]] = {"station": [], "part": [], "seconds": []}
    files: dict[str, list[SentFile]] = {"picture": [], "reference": []}
    for field, value in form.multi_items():
        if isinstance(value, UploadFile) and field in files:
            name = printable(value.filename or field)[:PART]
            files[field].append(SentFile(content=await value.read(), name=name, part=""))
        elif isinstance(value, str) and field in texts:
            texts[field].append(value)
        else:
            kind = "a file" if field in files else "a text" if field in texts else "not known"
            raise InputError(
                f"{printable(field)[:60]}: this field is {kind}; give station, part, seconds, picture, reference"
            )
    return texts, files


def _check_fields(texts: dict[str, list[str]], files: dict[str, list[SentFile]], most: int) -> SentForm:
    pictures, parts = files["picture"], texts["part"]
    if not 1 <= len(pictures) <= most:
        raise InputError(f"picture: give {'one file' if most == 1 else f'1 to {most} files'}, not {len(pictures)}")
    if parts and len(parts) != len(pictures):
        raise InputError(f"part: give it once for each picture: {len(parts)} for {len(pictures)} pictures")
    for field in ("station", "seconds"):
        if len(texts[field]) > 1:
            raise InputError(f"{field}: give it once")
    common: dict[str, Any] = {field: texts[field][0] for field in ("station", "seconds") if texts[field]}
    try:
        values = _Common.model_validate(common)
        if len(files["reference"]) > MAX_REFERENCES:
            raise InputError(f"reference: give at most {MAX_REFERENCES} files")
        for picture, part in zip(pictures, parts, strict=False):
            picture.part = SentPicture(picture="-", part=printable(part)).part
    except ValidationError as error:
        raise InputError(first_problem(error)) from None
    return SentForm(
        pictures=pictures,
        station=values.station,
        references=[file.content for file in files["reference"]],
        seconds=values.seconds,
    )


def _decode(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{field}: not valid base64") from None
