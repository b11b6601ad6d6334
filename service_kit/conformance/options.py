"""The command line of the check."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field

from yarl import URL

from manager_agent.messages import ReadyOn
from service_kit.settings import DEV_KEY, DEV_SECRET


@dataclass(frozen=True)
class Timeouts:
    """Seconds that the service has for each required step, and for which it is watched for forbidden ones."""

    answer: float = 5.0
    join: float = 10.0
    ready: float = 30.0
    leave: float = 10.0
    watch: float = 3.0
    repeat: float = 15.0
    """Seconds to observe three tries of an unacknowledged signal."""


@dataclass(frozen=True)
class Options:
    endpoint: str
    service_id: str = "my-service"
    ready_on: ReadyOn = ReadyOn.SIGNAL
    key: str = DEV_KEY
    secret: str = field(default=DEV_SECRET, repr=False)
    livekit: str = "ws://localhost:7880"
    livekit_key: str = DEV_KEY
    livekit_secret: str = field(default=DEV_SECRET, repr=False)
    listen: int | None = None
    """The port for the manager's HTTP API; None: do not serve it."""
    api_key: str | None = field(default=None, repr=False)
    """The API key that the service has to register with on that port; None: no key is needed."""
    json: bool = False
    timeouts: Timeouts = Timeouts()

    @classmethod
    def from_command_line(cls, arguments: Sequence[str] | None = None) -> Options:
        """Parse the arguments. Exits with code 2 and a message if they are invalid."""
        parser = _parser()
        given = vars(parser.parse_args(arguments))
        if URL(given["endpoint"]).scheme not in ("http", "https") or not URL(given["endpoint"]).host:
            parser.error(f"{given['endpoint']} is not an http(s) URL")
        if URL(given["livekit"]).scheme not in ("ws", "wss", "http", "https") or not URL(given["livekit"]).host:
            parser.error(f"--livekit {given['livekit']} is not a ws(s) URL")
        ready = given.pop("ready_timeout")
        if ready <= 0:
            parser.error("--ready-timeout must be greater than 0")
        return cls(**given | {"ready_on": ReadyOn(given["ready_on"]), "timeouts": Timeouts(ready=ready)})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service_kit.check",
        description="Act as the session manager for one service, and check which rules the service keeps.",
        epilog="Exit code: 0 all rules passed, 1 a rule failed, 2 the check could not run.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("endpoint", help="URL at which the service receives invites")
    parser.add_argument("--service-id", default=Options.service_id, help="the service's id")
    parser.add_argument("--ready-on", choices=[*ReadyOn], default=ReadyOn.SIGNAL.value, help="as registered")
    parser.add_argument("--key", default=DEV_KEY, help="key that signs invites (INVITE_API_KEY)")
    parser.add_argument("--secret", default=DEV_SECRET, help="secret that signs invites (INVITE_API_SECRET)")
    parser.add_argument("--livekit", default=Options.livekit, help="URL of livekit-server, also for the service")
    parser.add_argument("--livekit-key", default=DEV_KEY, help="LiveKit API key")
    parser.add_argument("--livekit-secret", default=DEV_SECRET, help="LiveKit API secret")
    parser.add_argument("--ready-timeout", type=float, default=Timeouts.ready, help="seconds to become ready")
    parser.add_argument(
        "--listen", type=int, help="serve the manager's HTTP API on this port, for services that signal over HTTP"
    )
    parser.add_argument(
        "--api-key", help="API key required to register there (SESSION_MANAGER_API_KEY); without it: 401"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser
