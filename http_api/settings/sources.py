"""The source of each setting's value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from http_api.settings.complaint import BadSettings
from http_api.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class Origin:
    """`name`: `environment`, `.env` or `default`. `raw`: the value as written in the source, None for a default."""

    name: str
    raw: str | None = field(default=None, repr=False)


def origins(kind: type[Settings]) -> dict[str, Origin]:
    """The origin of each field's value, valid or not. Raises BadSettings when `.env` can't be read."""
    try:
        sources = {"environment": EnvSettingsSource(kind), ".env": DotEnvSettingsSource(kind)}
    except (OSError, UnicodeError) as error:
        raise BadSettings(f"{kind.dotenv()} can't be read: {type(error).__name__}") from None

    def origin(name: str, info: Any) -> Origin:
        for source_name, source in sources.items():
            raw = source.get_field_value(info, name)[0]
            if raw is not None:
                return Origin(source_name, raw)
        return Origin("default")

    return {name: origin(name, info) for name, info in kind.model_fields.items()}
