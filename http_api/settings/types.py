"""The types of settings: how each is parsed and validated."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode
from yarl import URL

from http_api.access.api_keys import KeyEntry, read_api_keys
from http_api.models.field_types import MONTH
from http_api.protocol import forwarded
from http_api.protocol.origins import read_origins
from http_api.settings.log_endpoint import LogEndpoint, read_log_endpoint
from manager_agent.comma_list import read_list
from manager_agent.livekit.tokens import Grant
from manager_agent.livekit_url import read_livekit_url
from manager_agent.loopback import is_loopback
from manager_agent.outbound.address_policy import AddressRefused, Networks, read_networks, read_url
from manager_agent.redis.url import read_redis_url

QUERY_SECRET_MIN = 8
"""The minimum length at which a value in a URL's query counts as a secret. Hiding every `1` and `true` in the log would
hide too much."""
HEADER_NAME, HEADER_VALUE = (
    re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"),
    re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?"),
)


def _url(text: str) -> str:
    try:
        url = URL(text)
    except ValueError:
        raise ValueError("is not a URL") from None
    if url.scheme not in ("ws", "wss", "http", "https") or not url.host:
        raise ValueError("must be a ws, wss, http or https URL with a host")
    if url.user is not None or url.password is not None or url.query_string or url.fragment:
        raise ValueError("must be a plain URL: no user or password, query or fragment")
    return text


def _key_url(text: str) -> str:
    url = URL(_url(text))
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.host or "")):
        raise ValueError("must be an https URL (http is allowed for loopback)")
    return text


def _collector_url(text: str) -> str:
    if URL(_url(text)).scheme not in ("http", "https"):
        raise ValueError("must be an http or https URL")
    return text


def _not_blank(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value():
        raise ValueError("is blank")
    return secret


def _redis_url(secret: SecretStr) -> SecretStr:
    read_redis_url(secret.get_secret_value())
    return secret


def _from_text(read: Callable[[str], Any]) -> BeforeValidator:
    """Parse strings with `read`; leave other values to pydantic."""
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


def read_callback_urls(text: str) -> dict[str, str]:
    """Parse `name=url` pairs separated by commas into URLs by name. Raises ValueError with the number of the invalid
    entry and nothing of its content: a URL may contain a secret."""
    urls: dict[str, str] = {}

    def read(entry: str) -> None:
        name, _, url = (part.strip() for part in entry.partition("="))
        if not name or name in urls:
            raise ValueError("should be name=url, with a caller's name that no other entry has")
        try:
            read_url(url)
        except AddressRefused as refused:
            raise ValueError(f"has a URL that can't be used: it {refused}") from None
        urls[name] = url

    read_list(text, read)
    return urls


def secrets_of(url: str) -> frozenset[str]:
    """Possible secrets in a URL: the whole URL, and the values in its query, decoded and as written."""
    query = urlsplit(url).query
    values = {value for pair in query.split("&") for raw in (pair.partition("=")[2],) for value in (raw, unquote(raw))}
    return frozenset({url, *(value for value in values if len(value) >= QUERY_SECRET_MIN)})


def read_otlp_headers(text: str) -> dict[str, str]:
    """Parse headers in OpenTelemetry's format: `name=value` pairs separated by commas, values URL-encoded. Raises
    ValueError with the number of the invalid entry and nothing of its content."""
    return dict(read_list(text, _header))


def _header(entry: str) -> tuple[str, str]:
    name, _, value = (unquote(part.strip()).strip() for part in entry.partition("="))
    if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
        raise ValueError("should be a header in the form name=value")
    return name.lower(), value


def _names(text: str) -> tuple[str, ...]:
    return read_list(text, str)


ServerUrl = Annotated[str, AfterValidator(read_livekit_url)]
CollectorUrl = Annotated[str, AfterValidator(_collector_url)]
JwksUrl = Annotated[str, AfterValidator(_key_url)]
RedisAddress = Annotated[SecretStr, AfterValidator(_redis_url)]
Key = Annotated[str, Field(min_length=1, max_length=256)]
Secret = Annotated[SecretStr, AfterValidator(_not_blank)]
Seconds = Annotated[float, Field(gt=0, le=MONTH, allow_inf_nan=False)]
NetworkList = Annotated[Networks, NoDecode, _from_text(read_networks)]
ApiKeys = Annotated[tuple[KeyEntry, ...], NoDecode, _from_text(read_api_keys)]
Proxies = Annotated[forwarded.Proxies, NoDecode, _from_text(forwarded.read_proxies)]
Origins = Annotated[tuple[str, ...], NoDecode, _from_text(read_origins)]
CallbackUrls = Annotated[Mapping[str, SecretStr], NoDecode, _from_text(read_callback_urls)]
OtlpHeaders = Annotated[Mapping[str, SecretStr], NoDecode, _from_text(read_otlp_headers)]
Claim = Annotated[str, Field(min_length=1, max_length=512)]
Parties = Annotated[tuple[Claim, ...], NoDecode, _from_text(_names)]
Grants = Annotated[tuple[Grant, ...], NoDecode, _from_text(_names)]
ShippedTo = Annotated[LogEndpoint, NoDecode, _from_text(read_log_endpoint)]
LogFormat = Annotated[Literal["json", "otlp"], _from_text(str.lower)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], _from_text(str.lower)]
