"""`session-manager config`: list every setting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from http_api.attribute_docstrings import attribute_docstrings
from http_api.cli import output
from http_api.cli.exits import errors_reported
from http_api.cli.target import Dev, Json

HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable. Values are written as in the environment; None means not set."""

    name: str
    value: str | None
    default: str | None
    source: str
    purpose: str


def config(dev: Dev = False, as_json: Json = False) -> None:
    """List every setting: its value, where the value comes from, its default and its purpose.

    Secrets are hidden. Variables that look like a misspelt setting are named too. Exit code 2: some settings are
    missing or invalid; each is named.
    """
    from http_api.settings.settings import Settings

    with errors_reported(as_json=as_json):
        found = list(settings_of(dev=dev))
        misspelt = Settings.misspelt()
    if as_json:
        output.print_json({"settings": [asdict(setting) for setting in found], "misspelt": misspelt})
        return
    columns = ("variable", "value", "from", "default", "for")
    rows = [[one.name, one.value, one.source, one.default, one.purpose] for one in found]
    output.out().print(output.table(*columns, rows=rows))
    for name, meant in misspelt.items():
        output.print_error(f"{name} has no effect: is {meant} meant?")


def settings_of(*, dev: bool) -> Iterable[Setting]:
    """Load the settings and describe each. Raises BadSettings."""
    from http_api.settings.settings import Settings
    from http_api.settings.sources import origins

    settings = Settings.load(dev=dev)
    kind = type(settings)
    sources, purposes = origins(kind), attribute_docstrings(Settings)
    for name, info in kind.model_fields.items():
        yield Setting(
            name=name.upper(),
            value=_shown(getattr(settings, name)),
            default=None if info.is_required() else _shown(info.get_default(call_default_factory=True)),
            source=sources[name].name,
            purpose=_in_one_line(purposes.get(name, "")),
        )


def _in_one_line(text: str) -> str:
    line = " ".join(text.split())
    return line[:1].upper() + line[1:]


def _shown(value: Any) -> str | None:
    from pydantic import SecretStr

    from http_api.access.api_keys import KeyEntry

    match value:
        case None | () | "":
            return None
        case Mapping():  # URLs by name: a URL may contain a secret
            return ",".join(f"{name}={HIDDEN}" for name in value) or None
        case SecretStr():
            return HIDDEN
        case KeyEntry():  # without the digest, which is a secret
            return f"{value.name}:{HIDDEN}:{'+'.join(sorted(value.scopes))}"
        case tuple():
            return ",".join(filter(None, map(_shown, value)))
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
    return str(value)
