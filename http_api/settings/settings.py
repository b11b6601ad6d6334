"""Every setting, read once: the environment, then `.env` beside the project. Nothing else reads either."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from aiohttp import web
from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from http_api.models.field_types import MONTH
from http_api.settings.log_endpoint import LogEndpoint
from http_api.settings.types import (
    ApiKeys,
    CallbackUrls,
    Claim,
    CollectorUrl,
    Grants,
    JwksUrl,
    Key,
    LogFormat,
    LogLevel,
    Networks,
    Origins,
    OtlpHeaders,
    Seconds,
    Secret,
    ServerUrl,
    ShippedTo,
    is_loopback,
    secrets_of,
)
from manager_agent.livekit.tokens import EVERY_GRANT
from manager_agent.outbound.address_policy import LOOPBACK, PRIVATE
from manager_agent.session.session import Limits

DOTENV = Path(__file__).resolve().parents[2] / ".env"
OTHER_NAMES = {"LIVEKIT_SERVER_URL": "LIVEKIT_URL"}
"""Variables that have a second name, and that name: the ecosystem's own."""


class BadSettings(Exception):
    """The settings can't be used. The message names every bad variable and shows no value of any."""


class Settings(BaseSettings):
    """Each field is the variable of the same name in capitals. Times are in seconds, decimals allowed."""

    model_config = SettingsConfigDict(
        env_file=DOTENV,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        str_strip_whitespace=True,
        use_attribute_docstrings=True,  # `session-manager config` shows them
    )
    dev: ClassVar[bool] = False

    livekit_api_key: Key
    """The key that livekit-server knows us by."""
    livekit_api_secret: Secret
    """Its secret: signs tokens and requests, verifies webhooks."""
    livekit_server_url: Annotated[
        ServerUrl, Field(validation_alias=AliasChoices("LIVEKIT_SERVER_URL", OTHER_NAMES["LIVEKIT_SERVER_URL"]))
    ] = "ws://localhost:7880"
    """Where livekit-server is."""
    livekit_public_url: ServerUrl | None = None
    """What clients and services are told to connect to; the server's own URL when not set."""
    server_host: Annotated[str, Field(min_length=1, max_length=253)] = "0.0.0.0"
    """The address to listen on."""
    server_port: Annotated[int, Field(ge=1, le=65_535)] = 8080
    """The port to listen on."""
    log_level: LogLevel = "info"
    """`debug`, `info`, `warning` or `error`: what is logged, and what is worse."""
    vector_log_enabled: bool = False
    """Whether the log is shipped to Vector, or to another collector, besides being written."""
    vector_log_endpoint: ShippedTo = LogEndpoint("http://localhost:8686")
    """Where to: the URL of Vector's http_server source, with `user:password@` if it asks for that."""
    vector_log_format: LogFormat = "json"
    """`json`, a line for each entry, or `otlp`, for Vector's opentelemetry source and every other collector of OTLP."""

    otel_exporter_otlp_endpoint: CollectorUrl | None = None
    """The OpenTelemetry collector that traces are sent to, by OTLP over HTTP, below `/v1/traces`."""
    otel_exporter_otlp_traces_endpoint: CollectorUrl | None = None
    """The same with its path, where that is another."""
    otel_exporter_otlp_headers: OtlpHeaders = {}
    """`name=value`, separated by commas, values URL-encoded: what proves to the collector who sends."""
    otel_service_name: Annotated[str, Field(min_length=1, max_length=255)] = "session-manager"
    """The name that traces show, and the log as OTLP."""
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Which part of the traces that begin here is recorded, 0 to 1; of all others their beginning has decided."""

    api_keys: ApiKeys = ()
    """`name:sha256` or `name:sha256:scope+scope`, separated by commas: who may call."""
    jwks_url: JwksUrl | None = None
    """Where the keys are that users' JWTs are signed with, by an issuer of the callers' own."""
    jwks_audience: Annotated[Claim | None, Field(validate_default=True)] = None
    """What those JWTs must be meant for."""
    jwks_issuer: Claim | None = None
    """Who must have made them, where that is to be checked."""
    cors_origins: Origins = ()
    """The origins, separated by commas, whose pages may call from a browser."""

    callback_urls: CallbackUrls = {}
    """`name=url`, separated by commas: where a caller is told of those sessions that name no URL themselves."""

    invite_api_key: Key | None = None
    """The key that services know the invites by; LiveKit's own when not set."""
    invite_api_secret: Annotated[Secret | None, Field(validate_default=True)] = None
    """Signs the invites, so that a service can verify them without holding LiveKit's secret."""
    invite_networks: Networks = PRIVATE
    """Where services and callbacks may be called, separated by commas."""
    deployment: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")] = "default"
    """Names whose rooms are whose."""
    services_file: Path | None = None
    """YAML: static services, and profiles."""
    default_profile: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """The profile of whoever asks for a token and names no agent; the one called `default`, if there is one, when not
    set."""
    user_grants: Grants = EVERY_GRANT
    """What callers may let users do in their rooms, separated by commas; no user is ever allowed anything else."""
    state_dir: Path | None = None
    """Where registrations are kept over a restart; a directory for this process alone."""

    ready_timeout: Annotated[Seconds, Field(le=600)] = 30.0
    """Until when all required services must be ready."""
    service_join_timeout: Seconds = 10.0
    """How long a service that accepted its invite may take to join before another is invited."""
    user_join_timeout: Seconds = 120.0
    """How long the user may take to join, once the session is ready."""
    user_rejoin_timeout: Seconds = 20.0
    """How long the user may be away before the session ends."""
    replacement_timeout: Seconds = 20.0
    """How long a session may be degraded."""
    session_ttl: Seconds = 86_400.0
    """How long a session may last."""
    session_retention: Annotated[float, Field(ge=0, le=MONTH, allow_inf_nan=False)] = 3_600.0
    """How long a session that is over can still be read."""
    rate_limit: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] = 50.0
    """Requests a second that one caller may send, or one address that proves nothing."""
    rate_limit_burst: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """How many of them at once, after a while without any."""
    sessions_per_caller: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """How many sessions one caller may have at once."""
    sessions_max: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """How many sessions there may be at once."""
    creates_in_flight: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """How many of them may be without their room, which is being made."""
    waiters_max: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """How many requests may wait at once: for a session to get ready, for its next change, as streams of events. One
    caller may follow a tenth of them as streams."""

    @field_validator("jwks_audience")
    @classmethod
    def _comes_with_its_url(cls, audience: str | None, info: ValidationInfo) -> str | None:
        if "jwks_url" in info.data and (info.data["jwks_url"] is None) != (audience is None):
            raise ValueError("set it together with JWKS_URL, or neither")
        return audience

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
    def is_open(self) -> bool:
        """Callers need no proof: it is dev mode, and only this machine reaches it."""
        return self.dev and is_loopback(self.server_host)

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
    def traces_url(self) -> str | None:
        """Where spans are sent; None: nowhere."""
        if self.otel_exporter_otlp_traces_endpoint or self.otel_exporter_otlp_endpoint is None:
            return self.otel_exporter_otlp_traces_endpoint
        return self.otel_exporter_otlp_endpoint.rstrip("/") + "/v1/traces"

    @property
    def secrets(self) -> frozenset[str]:
        """The values that must never be shown."""
        digests = (entry.digest for entry in self.api_keys)
        proofs = (value.get_secret_value() for value in self.otel_exporter_otlp_headers.values())
        words = (word for proof in proofs for word in (proof, proof.split()[-1]))  # of `Bearer ...` the latter alone
        ours = {self.livekit_api_secret.get_secret_value(), self.invite_keys[1], *digests, *words}
        return frozenset(ours) | self.vector_log_endpoint.secrets

    @property
    def kept_from_logs(self) -> frozenset[str]:
        """The secrets, and what may be one in a URL that its owner alone is shown."""
        return self.secrets.union(*(secrets_of(url.get_secret_value()) for url in self.callback_urls.values()))

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


SETTINGS = web.AppKey("SETTINGS", Settings)
