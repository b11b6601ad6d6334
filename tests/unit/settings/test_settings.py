"""The settings of the session manager: read once, and all errors named at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from http_api.access.api_keys import digest_of
from http_api.settings.complaint import BadSettings
from http_api.settings.misspelt import likely_meant
from http_api.settings.secret_values import kept_from_logs, secret_values, short_secrets
from http_api.settings.settings import DOTENV, DevSettings, Settings
from manager_agent.outbound.address_policy import LOOPBACK, PRIVATE

pytestmark = pytest.mark.unit

SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Read neither the environment nor .env of this machine."""
    for name in (*Settings.model_fields, "livekit_url"):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    for kind in (Settings, DevSettings):
        monkeypatch.setitem(kind.model_config, "env_file", tmp_path / ".env")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", SECRET)


def complaint() -> str:
    with pytest.raises(BadSettings) as caught:
        Settings.load()
    return str(caught.value)


def test_in_dev_mode_no_setting_is_required() -> None:
    settings = Settings.load(dev=True)
    assert settings.dev
    assert (settings.server_host, settings.server_port, settings.log_level) == ("127.0.0.1", 8080, "debug")
    assert settings.invite_keys == ("devkey", "secret")
    assert settings.public_url == settings.livekit_server_url == "ws://localhost:7880"
    assert settings.agent_name == "session-manager-default"


def test_outside_dev_mode_the_livekit_keys_are_required() -> None:
    said = complaint()
    assert "LIVEKIT_API_KEY: is missing" in said
    assert "LIVEKIT_API_SECRET: is missing" in said
    assert "--dev" in said


def test_missing_settings_say_where_they_were_looked_for(tmp_path: Path) -> None:
    assert f"{tmp_path}/.env, which does not exist" in complaint()
    (tmp_path / ".env").write_text("LIVEKIT_API_KY=key\n")
    said = complaint()
    assert f"{tmp_path}/.env." in said
    assert "LIVEKIT_API_KY is set: is LIVEKIT_API_KEY meant?" in said


def test_dotenv_of_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by services of the kit and by scripts/run."""
    monkeypatch.setitem(DevSettings.model_config, "env_file", DOTENV)
    (tmp_path / ".env").write_text("SERVER_PORT=8090\n")
    monkeypatch.chdir(tmp_path)
    assert Settings.load(dev=True).server_port == 8090


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SESSION_TTLL", "SESSION_TTL"),
        ("READY_TIMOUT", "READY_TIMEOUT"),
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("REDIS_URI", "REDIS_URL"),
        ("LIVEKIT_ULR", "LIVEKIT_URL"),
    ],
)
def test_misspelt_settings_are_recognized(name: str, meant: str) -> None:
    known = {*(field.upper() for field in Settings.model_fields), "LIVEKIT_URL"}
    assert likely_meant([name, "SERVER_PORT"], known) == {name: meant}
    assert likely_meant([name, meant], known) == {}


def test_variables_of_other_programs_are_not_taken_for_misspelt_settings() -> None:
    others = "PATH HOME SERVICE_PORT SERVICE_HOST LIVEKIT_PORT SESSION_MANAGER_URL OTEL_EXPORTER_OTLP_TRACES_HEADERS"
    assert likely_meant(others.split(), [field.upper() for field in Settings.model_fields]) == {}


@pytest.mark.usefixtures("keys")
def test_all_invalid_settings_are_named_at_once_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "LIVEKIT_URL": f"wss://user:{SECRET}@host",
        "LIVEKIT_PUBLIC_URL": "host:7880",
        "SERVER_PORT": "80800",
        "LOG_LEVEL": "loud",
        "INVITE_API_SECRET": SECRET,
        "API_KEYS": f"acme:{SECRET}",
        "JWKS_URL": f"https://issuer.example.com/?key={SECRET}",
        "CORS_ORIGINS": "*",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"wss://collector/{SECRET}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={SECRET},{SECRET}",
        "OTEL_TRACES_SAMPLER_ARG": "1.5",
        "DEPLOYMENT": "a b",
        "INVITE_NETWORKS": "10.0.0.0/8,10.0.0.1/8",
        "READY_TIMEOUT": "30s",
        "USER_JOIN_TIMEOUT": "nan",
        "USER_REJOIN_TIMEOUT": "0",
        "REPLACEMENT_TIMEOUT": "-1",
        "SESSION_TTL": "1e12",
        "SESSION_RETENTION": "inf",
        "VECTOR_LOG_ENABLED": "perhaps",
        "VECTOR_LOG_ENDPOINT": f"http://vector/?key={SECRET}",
        "VECTOR_LOG_FORMAT": "xml",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    said = complaint()
    assert set(re.findall(r"[A-Z_]+(?=[:)])", said)) >= wrong.keys()
    assert len(said.splitlines()) == 1 + len(wrong)
    assert SECRET not in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "manager.example.com"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [("LIVEKIT_API_KEY", "devkey"), ("LIVEKIT_API_SECRET", "secret"), ("INVITE_API_SECRET", "secret")],
)
@pytest.mark.usefixtures("keys")
def test_a_key_that_everyone_knows_stops_the_start_unless_on_loopback(
    monkeypatch: pytest.MonkeyPatch, host: str, variable: str, value: str
) -> None:
    monkeypatch.setenv("INVITE_API_KEY", "invites")
    monkeypatch.setenv("INVITE_API_SECRET", "a secret of the invites")
    monkeypatch.setenv("SERVER_HOST", host)
    monkeypatch.setenv(variable, value)
    said = complaint()
    assert f"{variable}: is the one of `livekit-server --dev`" in said
    assert len(said.splitlines()) == 2
    monkeypatch.setenv("SERVER_HOST", "127.0.0.1")
    Settings.load()


def test_dev_mode_off_loopback_needs_keys_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_HOST", "0.0.0.0")
    with pytest.raises(BadSettings, match=r"LIVEKIT_API_KEY: is the one of .*\n  LIVEKIT_API_SECRET: is the one of"):
        Settings.load(dev=True)


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize(
    "variable", ["LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "SERVER_HOST", "SERVER_PORT", "API_KEYS"]
)
@pytest.mark.usefixtures("keys")
def test_a_value_in_quotes_is_refused_by_that_name(monkeypatch: pytest.MonkeyPatch, variable: str, quote: str) -> None:
    monkeypatch.setenv(variable, f" {quote}{SECRET}{quote}\n")
    said = complaint()
    assert f"{variable}: is in quotes" in said
    assert SECRET not in said


def test_spaces_and_line_ends_around_keys_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", " APIx\r\n")
    monkeypatch.setenv("LIVEKIT_API_SECRET", f"\t{SECRET}\n")
    settings = Settings.load()
    assert (settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()) == ("APIx", SECRET)


@pytest.mark.usefixtures("keys")
def test_blank_settings_are_unset_and_values_are_stripped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_PORT", "")
    monkeypatch.setenv("LIVEKIT_API_SECRET", f" {SECRET}\n")
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    settings = Settings.load()
    assert (settings.server_port, settings.log_level) == (8080, "warning")
    assert settings.livekit_api_secret.get_secret_value() == SECRET


@pytest.mark.usefixtures("keys")
def test_the_dotenv_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SERVER_PORT=1\nREADY_TIMEOUT=2.5\nSOMETHING_ELSE=x\nLIVEKIT_URL=wss://lk\n")
    monkeypatch.setenv("SERVER_PORT", "2")
    settings = Settings.load()
    assert (settings.server_port, settings.limits().ready_timeout) == (2, 2.5)
    assert settings.public_url == "wss://lk"


@pytest.mark.usefixtures("keys")
def test_services_get_the_url_of_browsers_unless_they_have_one_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_SERVER_URL", "ws://livekit:7880")
    assert Settings.load().services_url == "ws://livekit:7880"
    monkeypatch.setenv("LIVEKIT_PUBLIC_URL", "https://livekit.example.com/")
    settings = Settings.load()
    assert settings.public_url == settings.services_url == "wss://livekit.example.com"
    monkeypatch.setenv("LIVEKIT_SERVICES_URL", "ws://livekit:7880/")
    settings = Settings.load()
    assert (settings.public_url, settings.services_url) == ("wss://livekit.example.com", "ws://livekit:7880")


@pytest.mark.usefixtures("keys")
def test_an_unreadable_dotenv_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SERVER_PORT=\xff\xfe")
    assert ".env" in complaint()


@pytest.mark.usefixtures("keys")
def test_invites_can_have_a_signing_key_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Settings.load().invites_have_own_key
    monkeypatch.setenv("INVITE_API_KEY", "invites")
    monkeypatch.setenv("INVITE_API_SECRET", "other")
    settings = Settings.load()
    assert settings.invite_keys == ("invites", "other")
    assert secret_values(settings) == {SECRET, "other"}
    assert SECRET not in repr(settings)


@pytest.mark.usefixtures("keys")
def test_api_key_digests_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has only the digests. With one, anybody could sign callbacks."""
    digests = [digest_of("one"), digest_of("two")]
    monkeypatch.setenv("API_KEYS", f"acme:{digests[0]},operator:{digests[1].upper()}:admin+metrics")
    settings = Settings.load()
    assert [entry.name for entry in settings.api_keys] == ["acme", "operator"]
    assert secret_values(settings) == {SECRET, *digests}
    assert not any(digest in repr(settings) for digest in digests)


@pytest.mark.usefixtures("keys")
def test_an_invalid_api_keys_setting_names_the_position_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", f"acme:{digest_of('one')},{SECRET}")
    assert re.search(r"^  API_KEYS: entry 2 should", complaint(), re.M)
    assert SECRET not in complaint()
    assert digest_of("one") not in complaint()


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("url", ["https://issuer.example.com/jwks", "http://localhost:9/jwks", "http://127.0.0.1:9/"])
@pytest.mark.parametrize("claim", ["JWKS_AUDIENCE", "JWKS_ISSUER", "JWKS_AUTHORIZED_PARTIES"])
def test_a_jwks_url_requires_a_claim_that_says_whose_tokens_count(
    claim: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWKS_URL", url)
    assert "JWKS_URL needs one of JWKS_AUDIENCE, JWKS_ISSUER and JWKS_AUTHORIZED_PARTIES" in complaint()
    monkeypatch.setenv(claim, "us")
    assert Settings.load().jwks_url == url
    monkeypatch.delenv("JWKS_URL")
    assert "they need JWKS_URL" in complaint()


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("url", ["http://issuer.example.com/jwks", "http://10.0.0.1/", "wss://issuer.example.com/"])
def test_a_jwks_url_without_tls_is_an_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWKS_URL", url)
    monkeypatch.setenv("JWKS_AUDIENCE", "us")
    assert "JWKS_URL: must be an https URL" in complaint()


@pytest.mark.usefixtures("keys")
def test_services_are_called_in_private_networks_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load().invite_networks == PRIVATE
    assert Settings.load(dev=True).invite_networks == LOOPBACK
    monkeypatch.setenv("INVITE_NETWORKS", "203.0.113.7, fd12:3456::/32")
    assert [str(network) for network in Settings.load(dev=True).invite_networks] == ["203.0.113.7/32", "fd12:3456::/32"]


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    "networks",
    ["10.0.0.0/33", "10.0.0.1/8", "localhost", "10.0.0.0/8,", "::ffff:10.0.0.0/104", "fd00::%1/8", "169.254.0.0/16",
     "169.254.169.254", "fe80::/64", "64:ff9b::/96", "100.100.100.200", "fd00:ec2::254", "0.0.0.0", "[10.0.0.0/8]"],
)  # fmt: skip
def test_an_invalid_or_forbidden_network_setting_is_an_error(networks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVITE_NETWORKS", networks)
    assert re.search(r"^  INVITE_NETWORKS: entry [12] ", complaint(), re.M)


@pytest.mark.usefixtures("keys")
def test_callers_may_grant_all_user_grants_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every = ["can_publish", "can_subscribe", "can_publish_data", "can_publish_sources", "can_update_own_metadata"]
    assert list(Settings.load().user_grants) == every
    monkeypatch.setenv("USER_GRANTS", "can_subscribe, can_publish")
    assert list(Settings.load().user_grants) == ["can_subscribe", "can_publish"]
    monkeypatch.setenv("USER_GRANTS", "can_subscribe,room_admin")
    assert "USER_GRANTS" in complaint()


@pytest.mark.usefixtures("keys")
def test_every_time_limit_has_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        *("READY_TIMEOUT", "SERVICE_JOIN_TIMEOUT", "USER_JOIN_TIMEOUT", "USER_REJOIN_TIMEOUT"),
        *("REPLACEMENT_TIMEOUT", "SESSION_TTL", "SESSION_RETENTION"),
    ]
    for seconds, name in enumerate(names, start=1):
        monkeypatch.setenv(name, str(seconds))
    limits = Settings.load().limits()
    assert [getattr(limits, name) for name in limits.__struct_fields__] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.usefixtures("keys")
def test_callers_can_have_default_callback_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL may hold a secret, and may contain the character that separates it from the name."""
    monkeypatch.setenv(
        "CALLBACK_URLS", f"shop=https://shop.example/s?key={SECRET}, jwks:https://id.example/=http://10.0.0.7"
    )
    settings = Settings.load()
    urls = {name: url.get_secret_value() for name, url in settings.callback_urls.items()}
    assert urls == {"shop": f"https://shop.example/s?key={SECRET}", "jwks:https://id.example/": "http://10.0.0.7"}
    assert SECRET not in repr(settings)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    "wrong",
    ["https://desk.example/", "desk", "desk=", "=https://desk.example/", "desk=desk.example", "desk=ftp://desk.example/",
     f"desk=https://user:{SECRET}@desk.example/", "shop=https://desk.example/", "desk=https://desk.example/#x", ""],
)  # fmt: skip
def test_an_invalid_default_callback_is_named_by_its_position_alone(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBACK_URLS", f"shop=https://shop.example/{SECRET},{wrong}")
    assert re.search(r"^  CALLBACK_URLS: entry 2[: ]", complaint(), re.M)
    assert SECRET not in complaint()
    assert "example" not in complaint()


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, "http://localhost:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector/otlp/"}, "https://collector/otlp/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/here"}, "http://localhost:4318/here"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://elsewhere/",
            },
            "http://elsewhere/",
        ),
    ],
)
def test_trace_export_follows_the_variables_of_opentelemetry(
    variables: dict[str, str], url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings.load().traces_url == url


@pytest.mark.usefixtures("keys")
def test_headers_for_the_trace_collector_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `Bearer <key>` the key alone as well, as it may be shown without the scheme."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20an%2Cingest-key, x-team = ours")
    settings = Settings.load()
    headers = {name: value.get_secret_value() for name, value in settings.otel_exporter_otlp_headers.items()}
    assert headers == {"authorization": "Bearer an,ingest-key", "x-team": "ours"}
    assert secret_values(settings) == {SECRET, "Bearer an,ingest-key", "an,ingest-key", "ours"}
    assert "ingest" not in repr(settings)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("wrong", ["", "x", "=x", "x=", "x y=z", "x=a%0d%0aHost:%20b", "x=%C3%A4", "x=%20", "x-ä=y"])
def test_an_invalid_header_for_the_trace_collector_is_an_error(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{SECRET},{wrong}")
    assert re.search(r"^  OTEL_EXPORTER_OTLP_HEADERS: entry 2 should be a header", complaint(), re.M)
    assert SECRET not in complaint()


@pytest.mark.usefixtures("keys")
def test_log_shipping_is_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load()
    assert (settings.vector_log_enabled, settings.vector_log_format) == (False, "json")
    assert str(settings.vector_log_endpoint) == "http://localhost:8686"
    monkeypatch.setenv("VECTOR_LOG_ENABLED", "true")
    monkeypatch.setenv("VECTOR_LOG_FORMAT", "OTLP")
    settings = Settings.load()
    assert (settings.vector_log_enabled, settings.vector_log_format) == (True, "otlp")


@pytest.mark.usefixtures("keys")
def test_the_password_of_the_log_endpoint_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECTOR_LOG_ENDPOINT", "https://shipper:p%40ssword@vector:8686/logs")
    settings = Settings.load()
    assert str(settings.vector_log_endpoint) == "https://vector:8686/logs"
    assert secret_values(settings) == {SECRET, "p@ssword", "p%40ssword"}
    assert "ssword" not in repr(settings)


@pytest.mark.usefixtures("keys")
def test_callback_urls_and_their_query_values_are_kept_from_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short values are not: they are no secrets, and occur everywhere."""
    url = "https://backend.example/hooks?key=a%20hidden%20word&v=1"
    monkeypatch.setenv("CALLBACK_URLS", f"frontend={url}")
    assert kept_from_logs(Settings.load()) == {SECRET, url, "a hidden word", "a%20hidden%20word"}


@pytest.mark.usefixtures("keys")
def test_secrets_short_enough_to_be_guessed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_API_SECRET", "x" * 32)
    assert short_secrets(Settings.load()) == ()
    monkeypatch.setenv("INVITE_API_KEY", "invites")
    monkeypatch.setenv("INVITE_API_SECRET", "x" * 31)
    assert short_secrets(Settings.load()) == ("INVITE_API_SECRET",)
    assert short_secrets(Settings.load(dev=True)) == ()


# --- replicas ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("keys")
def test_an_invalid_redis_url_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"http://:{SECRET}@redis.example")
    said = complaint()
    assert "REDIS_URL: must begin with one of" in said
    assert SECRET not in said


@pytest.mark.usefixtures("keys")
def test_the_password_of_redis_is_a_secret_as_it_is_and_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "rediss://app:p%40ss-word@redis.example:6380/2"
    monkeypatch.setenv("REDIS_URL", url)
    settings = Settings.load()
    assert {url, "p@ss-word", "p%40ss-word"} <= secret_values(settings)
    assert "ss-word" not in repr(settings)
    assert str(settings.shared_redis) == "rediss://redis.example:6380/2"


@pytest.mark.usefixtures("keys")
def test_replicas_hand_their_sessions_over_instead_of_ending_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    monkeypatch.setenv("STOP_ENDS_SESSIONS", "true")
    assert "STOP_ENDS_SESSIONS: can't be used with REDIS_URL" in complaint()
