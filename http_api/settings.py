"""Every setting, read once: the environment, then `.env` beside the project. Nothing else reads either."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from yarl import URL

from manager_agent.addresses import LOOPBACK, PRIVATE, Network, read_networks
from manager_agent.session import Limits

DOTENV = Path(__file__).resolve().parent.parent / ".env"
MONTH = 30 * 86_400.0
OTHER_NAMES = {"LIVEKIT_SERVER_URL": "LIVEKIT_URL"}
"""Variables that have a second name, and that name: the ecosystem's own."""


class BadSettings(Exception):
    """The settings can't be used. The message names every bad variable and shows no value of any."""


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


def _not_blank(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value():
        raise ValueError("is blank")
    return secret


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _networks(value: Any) -> Any:
    return read_networks(value) if isinstance(value, str) else value


ServerUrl = Annotated[str, AfterValidator(_url)]
Key = Annotated[str, Field(min_length=1, max_length=256)]
Secret = Annotated[SecretStr, AfterValidator(_not_blank)]
Seconds = Annotated[float, Field(gt=0, le=MONTH, allow_inf_nan=False)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]


class Settings(BaseSettings):
    """Each field is the variable of the same name in capitals. Times are in seconds, decimals allowed."""

    model_config = SettingsConfigDict(
        env_file=DOTENV,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        str_strip_whitespace=True,
    )
    dev: ClassVar[bool] = False

    livekit_api_key: Key
    livekit_api_secret: Secret
    livekit_server_url: Annotated[
        ServerUrl, Field(validation_alias=AliasChoices("LIVEKIT_SERVER_URL", OTHER_NAMES["LIVEKIT_SERVER_URL"]))
    ] = "ws://localhost:7880"
    livekit_public_url: ServerUrl | None = None
    """What clients and services are told to connect to; the server's own URL when not set."""
    server_host: Annotated[str, Field(min_length=1, max_length=253)] = "0.0.0.0"
    server_port: Annotated[int, Field(ge=1, le=65_535)] = 8080
    log_level: LogLevel = "info"

    invite_api_key: Key | None = None
    invite_api_secret: Annotated[Secret | None, Field(validate_default=True)] = None
    """Sign the invites, so that a service can verify them without holding LiveKit's secret."""
    invite_networks: Networks = PRIVATE
    """Where services may be called, separated by commas."""
    deployment: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")] = "default"
    """Names whose rooms are whose."""
    services_file: Path | None = None
    """YAML: static services, and profiles."""
    state_dir: Path | None = None
    """Where registrations are kept over a restart; a directory for this process alone."""

    ready_timeout: Annotated[Seconds, Field(le=600)] = 30.0
    service_join_timeout: Seconds = 10.0
    """How long a service that accepted its invite may take to join before another is invited."""
    user_join_timeout: Seconds = 120.0
    user_rejoin_timeout: Seconds = 20.0
    replacement_timeout: Seconds = 20.0
    """How long a session may be degraded."""
    session_ttl: Seconds = 86_400.0
    session_retention: Annotated[float, Field(ge=0, le=MONTH, allow_inf_nan=False)] = 3_600.0

    @field_validator("invite_api_secret")
    @classmethod
    def _comes_with_its_key(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "invite_api_key" in info.data and (info.data["invite_api_key"] is None) != (secret is None):
            raise ValueError("set it together with INVITE_API_KEY, or neither")
        return secret

    @classmethod
    def load(cls, *, dev: bool = False) -> Settings:
        """Reads the settings, with the defaults of dev mode if asked. Raises BadSettings."""
        try:
            return (DevSettings if dev else Settings)()
        except ValidationError as wrong:
            raise BadSettings(_complaint(wrong, dev=dev)) from None
        except (OSError, UnicodeError) as error:
            raise BadSettings(f"{DOTENV} can't be read: {type(error).__name__}") from None

    @property
    def agent_name(self) -> str:
        """The name under which LiveKit knows the manager agents of this deployment."""
        return f"session-manager-{self.deployment}"

    @property
    def public_url(self) -> str:
        return self.livekit_public_url or self.livekit_server_url

    @property
    def invites_have_own_key(self) -> bool:
        return self.invite_api_key is not None

    @property
    def invite_keys(self) -> tuple[str, str]:
        """Key and secret that sign the invites: LiveKit's own when no others are set."""
        if self.invite_api_key is not None and self.invite_api_secret is not None:
            return self.invite_api_key, self.invite_api_secret.get_secret_value()
        return self.livekit_api_key, self.livekit_api_secret.get_secret_value()

    @property
    def secrets(self) -> frozenset[str]:
        """The values that must never be shown."""
        return frozenset({self.livekit_api_secret.get_secret_value(), self.invite_keys[1]})

    def limits(self) -> Limits:
        return Limits(
            ready_timeout=self.ready_timeout,
            service_join_timeout=self.service_join_timeout,
            user_join_timeout=self.user_join_timeout,
            user_rejoin_timeout=self.user_rejoin_timeout,
            replacement_timeout=self.replacement_timeout,
            max_duration=self.session_ttl,
            retention=self.session_retention,
        )


class DevSettings(Settings):
    """Dev mode: the same variables with other defaults, those of `livekit-server --dev`."""

    dev: ClassVar[bool] = True

    livekit_api_key: Key = "devkey"
    livekit_api_secret: Secret = SecretStr("secret")
    server_host: Annotated[str, Field(min_length=1, max_length=253)] = "127.0.0.1"
    invite_networks: Networks = LOOPBACK
    log_level: LogLevel = "debug"


def _complaint(wrong: ValidationError, *, dev: bool) -> str:
    """Every bad variable by its name. Values are not shown: they may be secret, or hold one."""
    errors = wrong.errors(include_input=False, include_url=False)
    lines = [f"  {_variable(error['loc'])}{_what(error['type'], error['msg'])}" for error in errors]
    missing = any(error["type"] == "missing" for error in errors)
    hint = "\n`--dev` starts with the key and secret of `livekit-server --dev`." if missing and not dev else ""
    return "These environment variables are missing or wrong:\n" + "\n".join(lines) + hint


def _variable(loc: tuple[int | str, ...]) -> str:
    name = str(loc[0]).upper()
    return f"{name} (or {OTHER_NAMES[name]}): " if name in OTHER_NAMES else f"{name}: "


def _what(kind: str, message: str) -> str:
    return "is missing" if kind == "missing" else message.removeprefix("Value error, ")
