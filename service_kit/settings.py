"""The settings of a service, all read here."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from yarl import URL

from manager_agent.livekit_url import read_livekit_url
from manager_agent.loopback import is_loopback
from manager_agent.proxy_rule import BadProxy, proxy_rule
from manager_agent.setting_text import without_quotes

DEV_KEY, DEV_SECRET = "devkey", "secret"
"""The public keys with which a manager in dev mode signs its invites."""
BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*")
WILDCARDS = ("", "0.0.0.0", "::")


def _sendable(key: SecretStr | None) -> SecretStr | None:
    if key is not None and not BEARER.fullmatch(key.get_secret_value()):
        raise ValueError("is not an API key")
    return key


def _livekit_url(text: str | None) -> str | None:
    return None if text is None else read_livekit_url(text)


class ServiceSettings(BaseSettings):
    """Where a service listens, which manager it registers with, and which keys sign its invites.

    Read from arguments, then the environment, then `.env` in the working directory. Raises pydantic's
    ValidationError, which names every error.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    session_manager_url: str = "http://localhost:8080"
    session_manager_api_key: Annotated[SecretStr | None, AfterValidator(_sendable)] = None
    """The API key to register with; not needed in dev mode."""
    invite_api_key: str | None = None
    invite_api_secret: SecretStr | None = None
    """The manager's INVITE_API_KEY and INVITE_API_SECRET. Default: those of dev mode if the manager is on this
    machine and can't be reached from others."""
    service_host: str = "127.0.0.1"
    service_port: int = Field(default=0, ge=0, le=65_535)
    """0: any free port."""
    service_endpoint: str | None = None
    """The URL at which the manager reaches the service. Default: http://SERVICE_HOST:SERVICE_PORT."""
    service_livekit_url: Annotated[str | None, AfterValidator(_livekit_url)] = None
    """The LiveKit URL to connect to, when this service reaches it at another one than its invites name."""
    service_drain_timeout: float | None = Field(default=None, ge=0)
    """Seconds for running jobs to finish on SIGTERM. Default: the service's own `drain_timeout`."""

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any) -> Any:
        return without_quotes(value)

    @classmethod
    def from_command_line(cls, arguments: Sequence[str] | None = None) -> Self:
        """The settings, overridden by the command line. Exits with a message if they are invalid."""
        parser = argparse.ArgumentParser(description="A service that is invited into sessions.")
        parser.add_argument("--host", dest="service_host", help="address to listen on (SERVICE_HOST)")
        parser.add_argument("--port", dest="service_port", help="port to listen on (SERVICE_PORT)")
        parser.add_argument("--endpoint", dest="service_endpoint", help="URL at which the manager reaches it")
        parser.add_argument(
            "--drain-timeout", dest="service_drain_timeout", help="seconds for running jobs to finish on SIGTERM"
        )
        parser.add_argument("--manager", dest="session_manager_url", help="URL of the session manager")
        given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as wrong:
            parser.error("; ".join(_line(error) for error in wrong.errors()))

    @property
    def api_key(self) -> str | None:
        key = self.session_manager_api_key
        return None if key is None else key.get_secret_value()

    @property
    def invite_keys(self) -> tuple[str, str]:
        """The key and secret that sign invites."""
        if self.invite_api_key is None or self.invite_api_secret is None:
            return DEV_KEY, DEV_SECRET
        return self.invite_api_key, self.invite_api_secret.get_secret_value()

    def endpoint(self, port: int, path: str) -> str:
        """The URL to register, when listening on `port`."""
        if self.service_endpoint is not None:
            return self.service_endpoint
        return str(URL.build(scheme="http", host=self.service_host, port=port, path=path))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        wrong = []
        local = is_loopback(URL(self.session_manager_url).host or "")
        if URL(self.session_manager_url).scheme not in ("http", "https"):
            wrong.append("SESSION_MANAGER_URL must be an http(s) URL")
        if (self.invite_api_key is None) != (self.invite_api_secret is None):
            wrong.append("INVITE_API_KEY and INVITE_API_SECRET must be set together")
        elif self.invite_api_key is None and not local:
            wrong.append("INVITE_API_KEY and INVITE_API_SECRET are required: the manager is not on this machine")
        hosts = (self.service_host or WILDCARDS[1], self.service_endpoint and URL(self.service_endpoint).host)
        public = next((host for host in hosts if host is not None and not is_loopback(host)), None)
        if public is not None and not {DEV_KEY, DEV_SECRET}.isdisjoint(self.invite_keys):
            wrong.append(
                "INVITE_API_KEY and INVITE_API_SECRET must be the manager's own: everyone knows those of dev mode, and "
                f"{public} can be reached from other machines"
            )
        if self.service_endpoint is None and not self._is_reachable(local):
            wrong.append(f"SERVICE_ENDPOINT is required: the manager can't reach {self.service_host or '0.0.0.0'}")
        try:
            proxy_rule()
        except BadProxy as error:
            wrong.append(str(error))
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _is_reachable(self, manager_is_local: bool) -> bool:
        return self.service_host not in WILDCARDS and (manager_is_local or not is_loopback(self.service_host))


def _line(error: ErrorDetails) -> str:
    return ": ".join((*(str(part).upper() for part in error["loc"]), error["msg"]))
