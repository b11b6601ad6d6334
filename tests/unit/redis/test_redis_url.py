"""REDIS_URL: what is read from it, and that nothing of a secret is ever shown."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager_agent.redis.url import RedisUrl, read_redis_url

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "url", "redacted"),
    [
        ("redis://localhost", RedisUrl("single", (("localhost", 6379),)), "redis://localhost:6379"),
        (
            "redis://:s3cret@cache.internal:7000/2",
            RedisUrl("single", (("cache.internal", 7000),), db=2, password="s3cret"),
            "redis://cache.internal:7000/2",
        ),
        ("redis://localhost?db=3", RedisUrl("single", (("localhost", 6379),), db=3), "redis://localhost:6379/3"),
        (
            "rediss://manager:p%40ss%3A%2F%23@[::1]:6380/0",
            RedisUrl("single", (("::1", 6380),), username="manager", password="p@ss:/#", tls=True),
            "rediss://[::1]:6380",
        ),
        (
            "rediss://h?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_check_hostname=false",
            RedisUrl(
                "single",
                (("h", 6379),),
                tls=True,
                ca_file="/ca.pem",
                certificate_file="/c.pem",
                key_file="/k.pem",
                check_hostname=False,
            ),
            "rediss://h:6379",
        ),
        (
            "rediss://h?ssl_cert_reqs=none",
            RedisUrl("single", (("h", 6379),), tls=True, verify=False),
            "rediss://h:6379",
        ),
        ("unix:///run/redis.sock?db=1", RedisUrl("unix", path="/run/redis.sock", db=1), "unix:///run/redis.sock"),
        (
            "unix://u:s3cret@/run/redis.sock",
            RedisUrl("unix", path="/run/redis.sock", username="u", password="s3cret"),
            "unix:///run/redis.sock",
        ),
        (
            "redis+sentinel://:s3cret@a:1,b,[::2]:3/main/4?sentinel_password=0ther",
            RedisUrl(
                "sentinel",
                (("a", 1), ("b", 26379), ("::2", 3)),
                service="main",
                db=4,
                password="s3cret",
                sentinel_password="0ther",
            ),
            "redis+sentinel://a:1,b:26379,[::2]:3/main/4",
        ),
        (
            "rediss+cluster://a,b:7001",
            RedisUrl("cluster", (("a", 6379), ("b", 7001)), tls=True),
            "rediss+cluster://a:6379,b:7001",
        ),
    ],
)
def test_what_is_read(text: str, url: RedisUrl, redacted: str) -> None:
    read = read_redis_url(text)
    assert read == url
    assert read.redacted == redacted == str(read)
    shown = f"{read!r} {read}"
    assert not any(secret in shown for secret in ("s3cret", "0ther", "p@ss", "p%40ss", "manager"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:6379",
        "http://localhost",
        "redis:///0",
        "redis://a,b",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:s3cret",
        "redis://h/zero",
        "redis://h/-1",
        "redis://h/1/2",
        "redis://h/1?db=1",
        "redis://h/65536",
        "redis://h?timeout=s3cret",
        "redis://h?s3cret",
        "redis://h#s3cret",
        "redis://h ",
        "redis://h\n",
        "redis://:s3c/ret@h",
        "redis://:s3c#ret@h",
        "redis://:s3c?ret@h",
        "redis://:s3c@ret@h",
        "redis://a:s3c:ret@h",
        "redis://:s3cret%@h",
        "redis://:s3cret%ff@h",
        "redis://:s3cret%00@h",
        "redis://s3cret@h",
        "redis://h_[s3cret",
        "redis://[s3cret]:1",
        "redis://h?ssl_ca_certs=/ca.pem",
        "rediss://h?ssl_cert_reqs=s3cret",
        "rediss://h?ssl_check_hostname=s3cret",
        "rediss://h?ssl_certfile=/c.pem",
        "rediss://h?ssl_ca_certs=/a&ssl_ca_certs=",
        "unix://host/run/redis.sock",
        "unix://",
        "unix:///",
        "redis+sentinel://h:1",
        "redis+sentinel://h:1/s3 cret",
        "redis+sentinel://h:1/s3%20cret",
        "redis+sentinel://h:1,/main",
        "redis+cluster://h/1",
        "redis+cluster://" + ",".join(f"h{number}" for number in range(65)),
    ],
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|may|is not)") as caught:
        read_redis_url(text)
    assert caught.value.__cause__ is None
    assert not any(part in str(caught.value) for part in ("s3c", "ret@", "timeout"))


@given(
    st.text(),
    st.sampled_from(["", "redis://", "rediss://u:p@h", "unix://", "redis+sentinel://h/", "redis+cluster://h"]),
)
def test_any_text_is_read_or_refused(text: str, start: str) -> None:
    with suppress(ValueError):
        url = read_redis_url(start + text)
        assert read_redis_url(url.redacted).nodes == url.nodes
