"""`session-manager config`: every setting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from http_api.cli import output
from http_api.cli.exits import failures_told
from http_api.cli.target import Dev, Json

HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable. Values are as they would be written; None is not set."""

    name: str
    value: str | None
    default: str | None
    source: str
    purpose: str


def config(dev: Dev = False, as_json: Json = False) -> None:
    """List every setting: its value, where that is from, its default, and what it is for.

    Secrets are not shown. Exit code 2: some are missing or wrong; each is named.
    """
    with failures_told(as_json=as_json):
        found = list(settings_of(dev=dev))
    if as_json:
        output.print_json({"settings": [asdict(setting) for setting in found]})
        return
    columns = ("variable", "value", "from", "default", "for")
    rows = [[one.name, one.value, one.source, one.default, one.purpose] for one in found]
    output.out().print(output.table(*columns, rows=rows))


def settings_of(*, dev: bool) -> Iterable[Setting]:
    """Raises BadSettings."""
    from http_api.settings.settings import Settings
    from http_api.settings.sources import origins

    settings = Settings.load(dev=dev)
    kind = type(settings)
    sources = origins(kind)
    for name, info in kind.model_fields.items():
        yield Setting(
            name=name.upper(),
            value=_shown(getattr(settings, name)),
            default=None if info.is_required() else _shown(info.get_default(call_default_factory=True)),
            source=sources[name].name,
            purpose=_purpose(name),
        )


def _purpose(name: str) -> str:
    """The field's docstring, as a sentence."""
    from http_api.settings.settings import Settings

    said = " ".join((Settings.model_fields[name].description or "").split())
    return said[:1].upper() + said[1:]


def _shown(value: Any) -> str | None:
    from pydantic import SecretStr

    from http_api.access.api_keys import KeyEntry

    match value:
        case None | () | "":
            return None
        case Mapping():  # of addresses, which may have a secret in them
            return ",".join(f"{name}={HIDDEN}" for name in value) or None
        case SecretStr():
            return HIDDEN
        case KeyEntry():  # with the digest it would be a secret
            return f"{value.name}:{HIDDEN}:{'+'.join(sorted(value.scopes))}"
        case tuple():
            return ",".join(filter(None, map(_shown, value)))
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
    return str(value)
