"""All settings, read once from the environment, then from `.env` in the working directory. No other code reads
either."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from aiohttp import web
from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from http_api.models.field_types import MONTH
from http_api.protocol.local_callers import AllowedOrigins
from http_api.settings.complaint import COMPLAINT, OTHER_NAMES, BadSettings, complaint
from http_api.settings.log_endpoint import LogEndpoint
from http_api.settings.misspelt import misspelt
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
    NetworkList,
    Origins,
    OtlpHeaders,
    Parties,
    Proxies,
    RedisAddress,
    Seconds,
    Secret,
    ServerUrl,
    ShippedTo,
)
from manager_agent.livekit.tokens import EVERY_GRANT
from manager_agent.loopback import is_loopback
from manager_agent.outbound.address_policy import LOOPBACK, PRIVATE, PUBLIC
from manager_agent.proxy_rule import BadProxy, proxy_rule
from manager_agent.redis.url import RedisUrl, read_redis_url
from manager_agent.session.session import Limits
from manager_agent.setting_text import without_quotes

DOTENV = Path(".env")
"""In the working directory, as for the services of the kit."""
PUBLISHED = frozenset({"devkey", "secret"})
"""The key and secret of `livekit-server --dev`. A caller that holds them is an administrator of the API."""


class Settings(BaseSettings):
    """Each field is read from the environment variable of the same name in upper case. Times are in seconds and may
    have decimals."""

    model_config = SettingsConfigDict(
        defer_build=True,  # only one of Settings and DevSettings is used
        env_file=DOTENV,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        str_strip_whitespace=True,
    )
    dev: ClassVar[bool] = False

    server_host: Annotated[str, Field(min_length=1, max_length=253)] = "0.0.0.0"
    """The address to listen on."""
    server_port: Annotated[int, Field(ge=1, le=65_535)] = 8080
    """The port to listen on."""
    livekit_api_key: Annotated[Key, Field(validate_default=True)]
    """The API key of livekit-server."""
    livekit_api_secret: Annotated[Secret, Field(validate_default=True)]
    """The secret of that key: signs tokens and requests, verifies webhooks."""
    livekit_server_url: Annotated[
        ServerUrl, Field(validation_alias=AliasChoices("LIVEKIT_SERVER_URL", OTHER_NAMES["LIVEKIT_SERVER_URL"]))
    ] = "ws://localhost:7880"
    """The URL of livekit-server."""
    livekit_public_url: ServerUrl | None = None
    """The LiveKit URL given to clients; LIVEKIT_SERVER_URL when not set."""
    livekit_services_url: ServerUrl | None = None
    """The LiveKit URL given to services; LIVEKIT_PUBLIC_URL when not set, else LIVEKIT_SERVER_URL."""
    log_level: LogLevel = "info"
    """The lowest level logged: `debug`, `info`, `warning` or `error`."""
    vector_log_enabled: bool = False
    """Whether to ship the log to Vector or another collector, in addition to writing it to stderr."""
    vector_log_endpoint: ShippedTo = LogEndpoint("http://localhost:8686")
    """The URL of Vector's http_server source, with `user:password@` if it requires authentication."""
    vector_log_format: LogFormat = "json"
    """`json`, one line per entry, or `otlp`, for Vector's opentelemetry source and any other OTLP collector."""

    otel_exporter_otlp_endpoint: CollectorUrl | None = None
    """The base URL of the OpenTelemetry collector for traces, by OTLP over HTTP; `/v1/traces` is appended."""
    otel_exporter_otlp_traces_endpoint: CollectorUrl | None = None
    """The full URL for traces, when its path is not `/v1/traces`."""
    otel_exporter_otlp_headers: OtlpHeaders = {}
    """Headers for the collector, such as credentials: `name=value`, separated by commas, values URL-encoded."""
    otel_service_name: Annotated[str, Field(min_length=1, max_length=255)] = "session-manager"
    """The service name in traces, and in logs shipped as OTLP."""
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The fraction (0 to 1) of new traces to record. Incoming traces keep their parent's sampling decision."""

    api_keys: ApiKeys = ()
    """The callers' API keys: `name:sha256` or `name:sha256:scope+scope`, separated by commas."""
    jwks_url: JwksUrl | None = None
    """The URL of the key set with which the callers' own issuer signs users' JWTs."""
    jwks_audience: Claim | None = None
    """The required `aud` claim of those JWTs. When not set, JWTs with an `aud` are refused."""
    jwks_issuer: Claim | None = None
    """The required `iss` claim of those JWTs; not checked when not set."""
    jwks_rooms_claim: Claim | None = None
    """The claim of those JWTs with the names of the rooms that a user shares with the issuer's other users. When not
    set, a user can't enter a room that another user opened."""
    jwks_authorized_parties: Annotated[Parties, Field(validate_default=True)] = ()
    """The values, separated by commas, of which the `azp` claim of those JWTs must be one; not checked when not set."""
    cors_origins: Origins = ()
    """The origins, separated by commas, whose pages may call the API from a browser. Where callers need no key,
    pages that are served on loopback may call too."""

    trusted_proxies: Proxies = ()
    """The networks, separated by commas, of the reverse proxies whose `Forwarded` or `X-Forwarded-For` header tells the
    client's address, for rate limits and the log."""

    callback_urls: CallbackUrls = {}
    """The callers' default callback URLs for sessions that have none of their own: `name=url`, separated by commas."""

    invite_api_key: Key | None = None
    """The key that signs invites and by which services verify them; LIVEKIT_API_KEY when not set."""
    invite_api_secret: Annotated[Secret | None, Field(validate_default=True)] = None
    """The secret of that key. With it services can verify invites without having LiveKit's secret."""
    invite_networks: NetworkList = PRIVATE
    """The networks, separated by commas, in which services may be called; `public` stands for all public addresses."""
    callback_networks: NetworkList = (PUBLIC,)
    """The networks, separated by commas, in which receivers of callbacks may be called; `public` stands for all public
    addresses."""
    deployment: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")] = "default"
    """The name of this deployment, which marks the rooms that belong to it."""
    services_file: Path | None = None
    """A YAML file with static services and profiles."""
    default_profile: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """The profile for token requests that name no agent; when not set, the profile called `default`, if there is
    one."""
    user_grants: Grants = EVERY_GRANT
    """The permissions, separated by commas, that callers may grant to users in rooms. All others are always denied."""
    state_dir: Path | None = None
    """The directory in which survives what LiveKit's rooms can't hold: registrations, kept answers, undelivered
    callbacks, ended sessions. On a local disk. `session-manager serve` and scripts/run have a default."""

    redis_url: RedisAddress | None = None
    """The URL of the Redis that several replicas of this deployment share, which all serve the same sessions. With it,
    STATE_DIR is not used."""
    replica_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$")] | None = None
    """The name of this replica on the page and in `/health`; machine and port when not set."""

    stop_ends_sessions: bool = False
    """Whether all sessions end when the process is stopped. Otherwise the next process continues them."""

    ready_timeout: Annotated[Seconds, Field(le=600)] = 30.0
    """How long all required services may take to become ready."""
    service_join_timeout: Seconds = 10.0
    """How long a service that accepted its invite, or signaled ready by HTTP, may take to join before another is
    invited."""
    user_join_timeout: Seconds = 120.0
    """How long the user may take to join once the session is ready."""
    token_join_timeout: Seconds = 30.0
    """How long anyone may take to join a session that was opened by `POST /api/v1/token`, instead of USER_JOIN_TIMEOUT:
    stock clients fetch tokens that they do not use."""
    user_rejoin_timeout: Seconds = 20.0
    """How long the user may be away before the session ends."""
    replacement_timeout: Seconds = 20.0
    """How long a session may be degraded before it fails."""
    session_ttl: Seconds = 86_400.0
    """How long a session may last."""
    session_retention: Annotated[float, Field(ge=0, le=MONTH, allow_inf_nan=False)] = 3_600.0
    """How long a session can still be read after it is over."""
    rate_limit: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] = 50.0
    """Requests per second allowed to one caller, or to one address for requests without credentials."""
    rate_limit_burst: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """How many requests may come at once after a period without any."""
    sessions_per_caller: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """The maximum number of concurrent sessions of one caller."""
    sessions_max: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """The maximum number of concurrent sessions."""
    creates_in_flight: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """The maximum number of sessions whose room is being created. One caller may have as many as it leaves free."""
    sessions_kept_per_caller: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """The maximum number of sessions of one caller that are kept after their end; the oldest are forgotten first."""
    sessions_kept: Annotated[int, Field(ge=1, le=1_000_000)] = 5_000
    """The maximum number of sessions that are kept after their end."""
    room_names_per_caller: Annotated[int, Field(ge=1, le=1_000_000)] = 5_000
    """The maximum number of sessions of one caller, also ended ones, whose tokens reserve the names of their rooms."""
    room_names_max: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    """The maximum number of sessions, also ended ones, whose tokens reserve the names of their rooms."""
    services_per_caller: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    """The maximum number of services registered by one caller."""
    services_max: Annotated[int, Field(ge=1, le=1_000_000)] = 5_000
    """The maximum number of registered services."""
    waiters_max: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """The maximum number of waiting requests: for a session to become ready, for its next change, and event streams.
    One caller may use a tenth of them for event streams."""

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any) -> Any:
        return without_quotes(value)

    @field_validator("livekit_api_key", "livekit_api_secret", "invite_api_key", "invite_api_secret")
    @classmethod
    def _is_not_published(cls, value: str | SecretStr | None, info: ValidationInfo) -> str | SecretStr | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text in PUBLISHED and not is_loopback(info.data.get("server_host", "127.0.0.1")):
            raise ValueError(
                "is the one of `livekit-server --dev`, which everyone knows, and SERVER_HOST is not loopback: set "
                "SERVER_HOST to 127.0.0.1, or use keys of your own (`livekit-server generate-keys`)"
            )
        return value

    @field_validator("stop_ends_sessions")
    @classmethod
    def _has_no_other_replicas(cls, ends: bool, info: ValidationInfo) -> bool:
        if ends and info.data.get("redis_url") is not None:
            raise ValueError("can't be used with REDIS_URL: a replica that stops hands its sessions over")
        return ends

    @field_validator("jwks_authorized_parties")
    @classmethod
    def _says_whose_tokens_count(cls, parties: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Any of three claims shows that a JWT is meant for this deployment; without all, any of a shared issuer's
        would do."""
        told = any((parties, info.data.get("jwks_audience"), info.data.get("jwks_issuer")))
        if {"jwks_url", "jwks_audience", "jwks_issuer"} <= info.data.keys() and told != bool(info.data["jwks_url"]):
            raise ValueError(
                "JWKS_URL needs one of JWKS_AUDIENCE, JWKS_ISSUER and JWKS_AUTHORIZED_PARTIES, and they need JWKS_URL"
            )
        return parties

    @field_validator("invite_api_secret")
    @classmethod
    def _comes_with_its_key(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "invite_api_key" in info.data and (info.data["invite_api_key"] is None) != (secret is None):
            raise ValueError("must be set together with INVITE_API_KEY, or not at all")
        return secret

    @classmethod
    def load(cls, *, dev: bool = False) -> Settings:
        """Read the settings, with dev mode's defaults if `dev`, and the variables of proxies. Raises BadSettings."""
        try:
            settings = (DevSettings if dev else Settings)()
            proxy_rule()
        except ValidationError as wrong:
            raise BadSettings(complaint(wrong, dev=dev, meant=cls.misspelt(), dotenv=cls.dotenv())) from None
        except BadProxy as wrong:
            raise BadSettings(f"{COMPLAINT}\n  {wrong}") from None
        except (OSError, UnicodeError) as error:
            raise BadSettings(f"{cls.dotenv()} can't be read: {type(error).__name__}") from None
        return settings

    @classmethod
    def misspelt(cls) -> dict[str, str]:
        """The variables that look like the name of a setting that is not set, and that name."""
        return misspelt(cls, {*(name.upper() for name in cls.model_fields), *OTHER_NAMES.values()})

    @classmethod
    def dotenv(cls) -> Path:
        """The path of the `.env` that is read if it is there."""
        return Path(str(cls.model_config["env_file"])).absolute()

    @property
    def agent_name(self) -> str:
        """The agent name with which this deployment's manager agents register with LiveKit."""
        return f"session-manager-{self.deployment}"

    @property
    def is_open(self) -> bool:
        """Whether callers need no credentials: in dev mode when the server listens only on loopback."""
        return self.dev and is_loopback(self.server_host)

    @property
    def allowed_origins(self) -> AllowedOrigins:
        return AllowedOrigins(frozenset(self.cors_origins), of_this_machine=self.is_open)

    @property
    def public_url(self) -> str:
        return self.livekit_public_url or self.livekit_server_url

    @property
    def services_url(self) -> str:
        return self.livekit_services_url or self.public_url

    @property
    def invites_have_own_key(self) -> bool:
        return self.invite_api_key is not None

    @property
    def invite_keys(self) -> tuple[str, str]:
        """The key and secret that sign invites: LiveKit's when no others are set."""
        if self.invite_api_key is not None and self.invite_api_secret is not None:
            return self.invite_api_key, self.invite_api_secret.get_secret_value()
        return self.livekit_api_key, self.livekit_api_secret.get_secret_value()

    @property
    def shared_redis(self) -> RedisUrl | None:
        """The Redis that the replicas share; None for a single process."""
        return None if self.redis_url is None else read_redis_url(self.redis_url.get_secret_value())

    @property
    def traces_url(self) -> str | None:
        """The URL to which spans are sent; None when tracing is off."""
        if self.otel_exporter_otlp_traces_endpoint or self.otel_exporter_otlp_endpoint is None:
            return self.otel_exporter_otlp_traces_endpoint
        return self.otel_exporter_otlp_endpoint.rstrip("/") + "/v1/traces"

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
    """Dev mode: the same variables with the defaults of `livekit-server --dev`."""

    dev: ClassVar[bool] = True

    livekit_api_key: Annotated[Key, Field(validate_default=True)] = "devkey"
    livekit_api_secret: Annotated[Secret, Field(validate_default=True)] = SecretStr("secret")
    server_host: Annotated[str, Field(min_length=1, max_length=253)] = "127.0.0.1"
    invite_networks: NetworkList = LOOPBACK
    callback_networks: NetworkList = (*LOOPBACK, PUBLIC)
    log_level: LogLevel = "debug"


SETTINGS = web.AppKey("SETTINGS", Settings)
