"""Read JSON bodies and queries strictly, and report everything that is wrong with them.

JSON that parsers interpret differently (duplicate keys, NaN, lone surrogates) is rejected here, so that no later code
has to deal with it.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeVar

from aiohttp import HttpVersion11, web
from pydantic import BaseModel, ValidationError

from http_api.errors import (
    FIELDS_MAX,
    BodyTooLarge,
    FieldError,
    Invalid,
    MalformedBody,
    SlowBody,
    UnsupportedBody,
    UnsupportedEncoding,
)
from manager_agent.characters import position_of

BODY_MAX = 64 * 1024
CONTINUE = "100-continue"
BODY_TIMEOUT = 10.0
"""Seconds."""
DEPTH_MAX = 32
VALUES_MAX = 10_000
"""The most values in one body. What the fields of any body may have is fewer: 16 KiB of metadata have 8,192."""
KEY_SHOWN = 64
STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
MAYBE_UNPRINTABLE = re.compile(r"\\[bf]|\\u(?:00[0189]|007[fF]|[dD][89a-fA-F])|[\x7f-\x9f]")
"""What a JSON text has if one of its strings has UNPRINTABLE characters: mostly escapes."""
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters except tab and line breaks, and lone surrogates."""

Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: web.Request, model: type[Model], **context: Any) -> Model:
    """The request's JSON body as `model`, whose validators receive `context`.

    Raises UnsupportedBody, MalformedBody, Invalid, and what read_bytes raises.
    """
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnsupportedBody(request.headers.get("Content-Type", ""))
    return validated(model, parse_json(await read_bytes(request)), **context)


async def read_bytes(request: web.Request, most: int = BODY_MAX) -> bytes:
    """The raw body. Raises BodyTooLarge when it has more than `most` bytes, SlowBody, UnsupportedEncoding.

    A client that sent `Expect: 100-continue` sends its body only now, so that a refused one is never sent.
    """
    if BODY in request:
        return request[BODY]
    coding = ",".join(request.headers.getall("Content-Encoding", ()))
    if coding.strip().lower() not in ("", "identity"):
        raise UnsupportedEncoding(coding)
    if (request.content_length or 0) > most:
        raise BodyTooLarge(most)
    await _ask_for_body(request)
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await request.clone(client_max_size=most).read()
    except web.HTTPRequestEntityTooLarge:
        raise BodyTooLarge(most) from None
    except TimeoutError:
        raise SlowBody(f"the body was not received within {BODY_TIMEOUT:g} seconds") from None


async def expect(request: web.Request) -> None:
    """An expect handler of aiohttp that leaves the `100 Continue` to read_bytes. Raises HTTPExpectationFailed."""
    if request.headers.get("Expect", "").lower() != CONTINUE:
        raise web.HTTPExpectationFailed


async def _ask_for_body(request: web.Request) -> None:
    if request.headers.get("Expect", "").lower() == CONTINUE and request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the response has not started


def read_query(request: web.Request, model: type[Model]) -> Model:
    """The request's query as `model`; a repeated parameter becomes a list. Raises Invalid."""
    query = request.query
    return validated(model, {key: _one_or_all(query.getall(key)) for key in query})


def validated(model: type[Model], value: Any, **context: Any) -> Model:
    """The value as `model`. Raises Invalid."""
    value, more = _few_unknown(model, value)
    try:
        return model.model_validate(value, context=context)
    except ValidationError as wrong:
        errors = wrong.errors(include_url=False, include_input=False, include_context=False)
        raise Invalid([FieldError(field_path(error["loc"]), error["msg"]) for error in errors], more) from None


def _few_unknown(model: type[BaseModel], value: Any) -> tuple[Any, int]:
    """The value without most of its unknown fields, if the model rejects them, and the number of those left out.
    pydantic would make an error of each of thousands."""
    if model.model_config.get("extra") != "forbid" or not isinstance(value, dict):
        return value, 0
    unknown = [key for key in value if key not in model.model_fields]
    left_out = frozenset(unknown[FIELDS_MAX:])
    return {key: inner for key, inner in value.items() if key not in left_out} if left_out else value, len(left_out)


def field_path(loc: tuple[int | str, ...]) -> str:
    """`required_services[0].type` for ("required_services", 0, "type"). Names in parentheses, which mark the branch of
    a union, and pydantic's `[key]`, which marks an invalid key, are omitted. The body as a whole is `(body)`."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("(") and part != "[key]":
            path += ("." if path else "") + UNPRINTABLE.sub("?", part[:KEY_SHOWN])
    return path or "(body)"


def parse_json(raw: bytes) -> Any:
    """Parse a JSON text. Raises MalformedBody, or Invalid for strings with unprintable characters."""
    try:
        text = raw.decode()
        _refuse_many(text)
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite)
    except UnicodeDecodeError:
        raise MalformedBody("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedBody(f"{error.msg}: {where}" if text.strip() else "the body is empty") from None
    except RecursionError:
        raise MalformedBody(f"nested deeper than {DEPTH_MAX} levels") from None
    except ValueError as error:  # an integer of thousands of digits
        raise MalformedBody(str(error)) from None
    _refuse_deep(value)
    if MAYBE_UNPRINTABLE.search(text):
        _refuse_unprintable(value)
    return value


def _refuse_many(text: str) -> None:
    """Raise Invalid for a JSON text with too many values, before they are made."""
    if text.count(",") + text.count("[") + text.count("{") < VALUES_MAX:
        return
    bare = STRING.sub("", text)
    if bare.count(",") + bare.count("[") + bare.count("{") >= VALUES_MAX:
        raise Invalid([FieldError("(body)", f"has more than {VALUES_MAX} values")])


def _refuse_unprintable(value: Any) -> None:
    found, more = list[FieldError](), 0
    for loc, text in _texts(value):
        if (bad := UNPRINTABLE.search(text)) is None:
            continue
        if len(found) == FIELDS_MAX:
            more += 1
            continue
        why = f"may not have control characters or lone surrogates: {position_of(text, bad.start())}"
        found.append(FieldError(field_path(loc), why))
    if found:
        raise Invalid(found, more)


def _refuse_deep(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth > DEPTH_MAX:
            raise MalformedBody(f"nested deeper than {DEPTH_MAX} levels")
        inner: list[Any] = []
        for item in level:
            if type(item) is dict:
                inner.extend(item.values())
            elif type(item) is list:
                inner.extend(item)
        level, depth = inner, depth + 1


def _texts(value: Any) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Every string in `value` with its location; a key has the location of its object."""
    rest: list[tuple[tuple[int | str, ...], Any]] = [((), value)]
    while rest:
        loc, item = rest.pop()
        if isinstance(item, str):
            yield loc, item
        elif isinstance(item, Mapping):
            yield from ((loc, key) for key in item)
            rest.extend(((*loc, key), inner) for key, inner in item.items())
        elif isinstance(item, list):
            rest.extend(((*loc, index), inner) for index, inner in enumerate(item))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise MalformedBody(f"duplicate key {twice[:KEY_SHOWN]!a} in an object")
    return found


def _no_number(name: str) -> NoReturn:
    raise MalformedBody(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise MalformedBody("a number is too large")
    return number


def _one_or_all(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


BODY = web.RequestKey("BODY", bytes)
"""The raw body, if it was already read."""
