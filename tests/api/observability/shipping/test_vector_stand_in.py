"""The receiver of the shipping tests: it takes and refuses what Vector does."""

from __future__ import annotations

import gzip

import pytest

from tests.vector_stand_in import VectorStandIn, post

pytestmark = pytest.mark.api

GOOD = b'{"event":"a"}\n{"event":"b"}\n'


async def test_vector_stand_in_takes_plain_and_gzipped_json_lines() -> None:
    async with VectorStandIn() as vector:
        assert await post(vector.url, GOOD) == 200
        assert await post(vector.url, gzip.compress(GOOD), Content_Encoding="gzip") == 200
        assert vector.names == ["a", "b"] * 2


async def test_vector_stand_in_splits_an_array_into_events() -> None:
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
async def test_vector_stand_in_refuses_a_batch_with_one_bad_line(line: bytes) -> None:
    async with VectorStandIn() as vector:
        assert await post(vector.url, GOOD + line + b"\n" + GOOD) == 400
        assert vector.events == []


async def test_vector_stand_in_answers_other_mistakes_with_their_own_status() -> None:
    async with VectorStandIn(body_max=100) as vector, VectorStandIn(path="/logs") as elsewhere:
        assert await post(f"{vector.url}/logs", GOOD) == 404
        assert await post(elsewhere.url, GOOD) == 405
        assert await post(vector.url, GOOD * 100) == 413
        assert await post(vector.url, GOOD, Content_Encoding="GZIP") == 415
        assert await post(vector.url, b"no gzip", Content_Encoding="gzip") == 422
    async with VectorStandIn(authorization="Basic YTpi") as guarded:
        assert await post(guarded.url, GOOD) == 401
        assert await post(guarded.url, GOOD, Authorization="Basic YTpi") == 200


async def test_vectors_own_api_answers_200_and_keeps_nothing() -> None:
    async with VectorStandIn(is_own_api=True) as api:
        assert await post(f"{api.url}/whatever", b"not json") == 200
        assert api.events == []
