"""Where Redis is and how to log in, read from one URL. PURE.

    redis://[[user]:password@]host[:port][/db]              rediss:// with TLS
    unix://[[user]:password@]/path/of/socket[?db=0]
    redis+sentinel://[[user]:password@]host[:port],.../service[/db]
    redis+cluster://[[user]:password@]host[:port],...       any of its nodes; rediss+sentinel, rediss+cluster with TLS

User and password are percent-encoded. The options of the query are named as redis-py names them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

RedisKind = Literal["single", "unix", "sentinel", "cluster"]

KINDS: dict[str, tuple[RedisKind, bool]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
"""Scheme -> what is there, and whether TLS is used."""
PORTS: dict[RedisKind, int] = {"single": 6379, "unix": 0, "sentinel": 26379, "cluster": 6379}
TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})
SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})
MAX_DB = 65_535
MAX_NODES = 64

SERVICE = re.compile(r"[A-Za-z0-9._-]{1,128}")
HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}(?:%25[A-Za-z0-9._-]{1,32})?\]")


@dataclass(frozen=True)
class RedisUrl:
    kind: RedisKind
    nodes: tuple[tuple[str, int], ...] = ()
    """Host and port: of the server, of the sentinels, or of nodes of the cluster. Empty for a unix socket."""
    path: str = ""
    """Of the unix socket."""
    service: str = ""
    """The name by which the sentinels know the server."""
    db: int = 0
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    sentinel_username: str = field(default="", repr=False)
    """Sentinels are logged in to with these, not with the server's."""
    sentinel_password: str = field(default="", repr=False)
    tls: bool = False
    ca_file: str = ""
    """Of the authorities that are trusted; empty: the system's."""
    certificate_file: str = ""
    """Our own, for a server that asks for it."""
    key_file: str = ""
    verify: bool = True
    """Whether the server's certificate must be valid."""
    check_hostname: bool = True

    @property
    def redacted(self) -> str:
        """Where it is, without user, password and options: for logs."""
        scheme = next(name for name, known in KINDS.items() if known == (self.kind, self.tls))
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        path = self.path or "".join(f"/{part}" for part in (self.service, self.db) if part)
        return f"{scheme}://{hosts}{path}"

    def __str__(self) -> str:
        return self.redacted


def read_redis_url(text: str) -> RedisUrl:
    """Raises ValueError, whose message contains nothing of the text."""
    if not text.isprintable() or " " in text:
        raise ValueError("must be a URL without spaces and control characters")
    try:
        parts = urlsplit(text)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=9)
    except ValueError:
        raise ValueError("is not a URL; percent-encode special characters of user and password") from None
    options = dict(pairs)
    if len(options) < len(pairs):
        raise ValueError("must have each option once")
    if parts.scheme not in KINDS:
        raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in KINDS)}")
    if parts.fragment or "#" in text:
        raise ValueError("must have no fragment; percent-encode # in the password")
    kind, tls = KINDS[parts.scheme]
    username, password, hosts = _login(parts)
    _require_known(options, kind, tls)
    service, db = _service_and_db(parts, kind, options)
    return RedisUrl(
        kind,
        nodes=_nodes(hosts, kind),
        path=_socket_path(parts, hosts) if kind == "unix" else "",
        service=service,
        db=db,
        username=username,
        password=password,
        sentinel_username=options.get("sentinel_username", ""),
        sentinel_password=options.get("sentinel_password", ""),
        tls=tls,
        ca_file=options.get("ssl_ca_certs", ""),
        certificate_file=options.get("ssl_certfile", ""),
        key_file=options.get("ssl_keyfile", ""),
        verify=_choice(options, "ssl_cert_reqs", {"required": True, "none": False}),
        check_hostname=_choice(options, "ssl_check_hostname", {"true": True, "false": False}),
    )


def _login(parts: SplitResult) -> tuple[str, str, str]:
    """User, password, and the rest of the network location."""
    login, at, hosts = parts.netloc.rpartition("@")
    if "@" in login:
        raise ValueError("must have at most one @ before the host; percent-encode the one in the password")
    username, _, password = login.partition(":")
    if ":" in password:
        raise ValueError("must have at most one : in user and password; percent-encode the one in the password")
    if at and not password:
        raise ValueError("must have a password where it has an @: [user]:password@host")
    return _decoded(username), _decoded(password), hosts


def _decoded(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError("must have a user and a password that are percent-encoded: write % as %25")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("must have a user and a password that are percent-encoded UTF-8") from None
    if "\0" in decoded:
        raise ValueError("must have a user and a password without NUL")
    return decoded


def _nodes(hosts: str, kind: RedisKind) -> tuple[tuple[str, int], ...]:
    if kind == "unix":
        return ()
    several = hosts.split(",")
    if len(several) > 1 and kind == "single":
        raise ValueError("must have one host; several are for redis+sentinel:// and redis+cluster://")
    if len(several) > MAX_NODES:
        raise ValueError(f"must have at most {MAX_NODES} hosts")
    return tuple(_node(one, PORTS[kind]) for one in several)


def _node(text: str, port: int) -> tuple[str, int]:
    match = re.fullmatch(rf"({HOST.pattern})(?::([0-9]{{1,5}}))?", text)
    if match is None:
        raise ValueError("must have a host, or host:port, after ://; percent-encode special characters of the password")
    if match[2] is not None and not 0 < (port := int(match[2])) < 65_536:
        raise ValueError("must have a port from 1 to 65535")
    return match[1].strip("[]").replace("%25", "%"), port


def _socket_path(parts: SplitResult, hosts: str) -> str:
    path = _decoded(parts.path)
    if hosts or len(path) < 2:
        raise ValueError("must have the absolute path of a socket: unix:///run/redis.sock")
    return path


def _service_and_db(parts: SplitResult, kind: RedisKind, options: dict[str, str]) -> tuple[str, int]:
    path = [] if kind == "unix" else [part for part in parts.path.split("/") if part]
    service = ""
    if kind == "sentinel":
        service = path.pop(0) if path else ""
        if not SERVICE.fullmatch(service):
            raise ValueError(
                "must have the name of the service after the sentinels: redis+sentinel://host:port/service"
            )
    chosen = [*path, *([options["db"]] if "db" in options else [])]
    if len(chosen) > 1 or not all(re.fullmatch(r"[0-9]{1,5}", one) for one in chosen):
        raise ValueError("must have a single number of a database, if any")
    db = int(chosen[0]) if chosen else 0
    if db > MAX_DB:
        raise ValueError(f"must have a database from 0 to {MAX_DB}")
    if db and kind == "cluster":
        raise ValueError("must have no database: a cluster has only database 0")
    return service, db


def _require_known(options: dict[str, str], kind: RedisKind, tls: bool) -> None:
    """The names of unknown options are not repeated: they may be the rest of a password."""
    known = {"db"} | (TLS_OPTIONS if tls else set()) | (SENTINEL_OPTIONS if kind == "sentinel" else set())
    if options.keys() - known:
        raise ValueError(f"may have only these options here: {', '.join(sorted(known))}")
    if bool(options.get("ssl_certfile")) != bool(options.get("ssl_keyfile")):
        raise ValueError("must have both ssl_certfile and ssl_keyfile, or neither")


def _choice(options: dict[str, str], name: str, choices: dict[str, bool]) -> bool:
    if (said := options.get(name)) is None:
        return True
    if said not in choices:
        raise ValueError(f"must have {' or '.join(choices)} as {name}")
    return choices[said]
