"""What the check is told on its command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field

from yarl import URL

from manager_agent.messages import ReadyOn
from service_kit.settings import DEV_KEY, DEV_SECRET


@dataclass(frozen=True)
class Timeouts:
    """How many seconds the service has for what it is to do, and how long it is watched for what it must not do."""

    answer: float = 5.0
    join: float = 10.0
    ready: float = 30.0
    leave: float = 10.0
    watch: float = 3.0
    repeat: float = 15.0
    """for three tries to be heard."""


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
    """The port on which the manager's HTTP API is played; None: nowhere."""
    api_key: str | None = field(default=None, repr=False)
    """What the service has to send there when it registers; None: nothing."""
    json: bool = False
    timeouts: Timeouts = Timeouts()

    @classmethod
    def from_command_line(cls, arguments: Sequence[str] | None = None) -> Options:
        """Exits with code 2 and a message when they are wrong."""
        parser = _parser()
        given = vars(parser.parse_args(arguments))
        if URL(given["endpoint"]).scheme not in ("http", "https") or not URL(given["endpoint"]).host:
            parser.error(f"{given['endpoint']} is no http(s) URL")
        if URL(given["livekit"]).scheme not in ("ws", "wss", "http", "https") or not URL(given["livekit"]).host:
            parser.error(f"--livekit {given['livekit']} is no ws(s) URL")
        ready = given.pop("ready_timeout")
        if ready <= 0:
            parser.error("--ready-timeout should be more than 0")
        return cls(**given | {"ready_on": ReadyOn(given["ready_on"]), "timeouts": Timeouts(ready=ready)})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service_kit.check",
        description="Plays the session manager for one service, and tells which rules it keeps.",
        epilog="Exit code: 0 all rules are kept, 1 some are not, 2 the check could not be made.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("endpoint", help="where the service takes its invites")
    parser.add_argument("--service-id", default=Options.service_id, help="what the service is called")
    parser.add_argument("--ready-on", choices=[*ReadyOn], default=ReadyOn.SIGNAL.value, help="as it registers")
    parser.add_argument("--key", default=DEV_KEY, help="signs the invites (INVITE_API_KEY)")
    parser.add_argument("--secret", default=DEV_SECRET, help="signs the invites (INVITE_API_SECRET)")
    parser.add_argument("--livekit", default=Options.livekit, help="livekit-server, as the service reaches it too")
    parser.add_argument("--livekit-key", default=DEV_KEY, help="its API key")
    parser.add_argument("--livekit-secret", default=DEV_SECRET, help="its API secret")
    parser.add_argument("--ready-timeout", type=float, default=Timeouts.ready, help="seconds it may take to be ready")
    parser.add_argument(
        "--listen", type=int, help="play the manager's HTTP API on this port, for a service that says ready over HTTP"
    )
    parser.add_argument(
        "--api-key", help="what it has to register with there (SESSION_MANAGER_API_KEY); 401 if it does not"
    )
    parser.add_argument("--json", action="store_true", help="the outcome as JSON")
    return parser
