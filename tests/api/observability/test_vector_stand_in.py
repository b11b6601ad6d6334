"""The receiver that the tests of shipping believe: it takes and refuses what Vector was seen to take and refuse."""

from __future__ import annotations

import gzip

import pytest

from tests.vector_stand_in import VectorStandIn, post

pytestmark = pytest.mark.api

GOOD = b'{"event":"a"}\n{"event":"b"}\n'


async def test_lines_of_json_are_taken_plain_and_compressed() -> None:
    async with VectorStandIn() as vector:
        assert await post(vector.url, GOOD) == 200
        assert await post(vector.url, gzip.compress(GOOD), Content_Encoding="gzip") == 200
        assert vector.names == ["a", "b"] * 2


async def test_an_array_on_one_line_is_several_events() -> None:
    async with VectorStandIn() as vector:
        assert await post(vector.url, b'[{"event":"a"},{"event":"b"}]') == 200
        assert vector.names == ["a", "b"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"x":NaN}',
        b'{"x":1e400}',
        b'{"x":"\\ud800"}',
        b'\xef\xbb\xbf{"x":1}',
        b"   ",
        b"1",
        b'"text"',
        b"[1]",
        b'{"x":' * 130 + b"1" + b"}" * 130,
        b'{\n  "x": 1\n}',
        b"not json",
    ],
)
async def test_one_bad_line_has_the_good_ones_refused_too(line: bytes) -> None:
    async with VectorStandIn() as vector:
        assert await post(vector.url, GOOD + line + b"\n" + GOOD) == 400
        assert vector.events == []


async def test_other_mistakes_have_their_own_status() -> None:
    async with VectorStandIn(body_max=100) as vector, VectorStandIn(path="/logs") as elsewhere:
        assert await post(f"{vector.url}/logs", GOOD) == 404
        assert await post(elsewhere.url, GOOD) == 405
        assert await post(vector.url, GOOD * 100) == 413
        assert await post(vector.url, GOOD, Content_Encoding="GZIP") == 415
        assert await post(vector.url, b"no gzip", Content_Encoding="gzip") == 422
    async with VectorStandIn(authorization="Basic YTpi") as guarded:
        assert await post(guarded.url, GOOD) == 401
        assert await post(guarded.url, GOOD, Authorization="Basic YTpi") == 200


async def test_vectors_own_api_answers_200_to_everything_and_keeps_nothing() -> None:
    async with VectorStandIn(is_own_api=True) as api:
        assert await post(f"{api.url}/whatever", b"not json") == 200
        assert api.events == []
