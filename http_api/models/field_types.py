"""The field types of requests: which characters and how many names, ids, labels and metadata may have. PURE."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from http_api.models import json_schemas
from manager_agent.characters import BIDI_CONTROLS, position_of
from manager_agent.outbound.address_policy import AddressRefused, read_url
from manager_agent.session.session import OUR_IDENTITIES

NAME_BYTES_MAX = 256
"""livekit-server's limit for identities and names, in bytes."""
MONTH = 30 * 86_400.0
METADATA_BYTES_MAX = 16 * 1024
ATTRIBUTES_BYTES_MAX = 8 * 1024
LABELS_MAX = 32
ATTRIBUTES_MAX = 64
OUR_AGENT_NAMES = "session-manager-"
LIVEKITS_ATTRIBUTES = "lk."
LABEL_KEY = r"^[A-Za-z0-9][A-Za-z0-9_./-]*$"
NOT_ON_ONE_LINE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""The Unicode categories of control characters, surrogates and line separators."""
UNSEEN = NOT_ON_ONE_LINE | {"Cf", "Zs"}
"""These and the invisible characters (format characters and spaces). Unassigned characters (Cn) are allowed: this
Python's Unicode tables may be older than a new emoji."""


def wrong(message: str) -> PydanticCustomError:
    """The error for a validator to raise. Callers see the message unchanged."""
    return PydanticCustomError("wrong", "{message}", {"message": message})


def _name_sized(text: str) -> str:
    if len(text.encode()) > NAME_BYTES_MAX:
        raise wrong(f"should have at most {NAME_BYTES_MAX} bytes in UTF-8, has {len(text.encode())}")
    return text


def _printable(text: str) -> str:
    for index, c in enumerate(text):
        if c != " " and unicodedata.category(c) in UNSEEN:
            raise wrong(f"should have printable characters only, not {position_of(text, index)}")
    return _no_space_at_its_ends(text)


def _no_space_at_its_ends(text: str) -> str:
    for index in (0, -1) if text else ():
        if text[index].isspace():
            raise wrong(f"should have no space at either end, not {position_of(text, index % len(text))}")
    return text


def _one_line(text: str) -> str:
    for index, c in enumerate(text):
        if unicodedata.category(c) in NOT_ON_ONE_LINE:
            raise wrong(f"should be one line without control characters, not {position_of(text, index)}")
    return text


def _in_reading_order(text: str) -> str:
    """Refuse what changes the order in which a log, a terminal or a page shows the text around it."""
    for index, c in enumerate(text):
        if c in BIDI_CONTROLS:
            raise wrong(f"should not change the direction of text by {position_of(text, index)}")
    return text


def _not_ours(identity: str) -> str:
    if identity.startswith(OUR_IDENTITIES):
        raise wrong(f"may not begin with {OUR_IDENTITIES!r}: the session manager assigns those identities")
    return identity


def _not_our_agent(name: str) -> str:
    if name.startswith(OUR_AGENT_NAMES):
        raise wrong(f"may not begin with {OUR_AGENT_NAMES!r}: reserved for the session manager")
    return name


def _http_url(text: str) -> str:
    try:
        read_url(text)
    except AddressRefused as refused:
        raise wrong(str(refused)) from None
    return text


def sized_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    return _sized(metadata, METADATA_BYTES_MAX)


def _metadata_text(text: str) -> str:
    size = len(text.encode())
    if size > METADATA_BYTES_MAX:
        raise wrong(f"should have at most {METADATA_BYTES_MAX} bytes in UTF-8, has {size}")
    return text


def _attributes(attributes: dict[str, str]) -> dict[str, str]:
    if any(key.startswith(LIVEKITS_ATTRIBUTES) for key in attributes):
        raise wrong(f"keys may not begin with {LIVEKITS_ATTRIBUTES!r}: reserved for LiveKit")
    return _sized(attributes, ATTRIBUTES_BYTES_MAX)


def _at_most(most: int) -> Callable[[object], object]:
    """A validator that rejects a dictionary with more items than `most` before they are validated one by one."""

    def check(value: object) -> object:
        if isinstance(value, dict) and len(value) > most:
            raise wrong(f"should have at most {most} items, has {len(value)}")
        return value

    return check


def _sized(value: dict[str, Any], most: int) -> dict[str, Any]:
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    if size > most:
        raise wrong(f"should have at most {most} bytes as JSON, has {size}")
    return value


Printable = Annotated[
    str, Field(min_length=1, max_length=128, json_schema_extra=json_schemas.PRINTABLE), AfterValidator(_printable)
]
UserIdentity = Annotated[
    str,
    Field(min_length=1, max_length=NAME_BYTES_MAX, json_schema_extra=json_schemas.USER_IDENTITY),
    AfterValidator(_name_sized),
    AfterValidator(_one_line),
    AfterValidator(_in_reading_order),
    AfterValidator(_no_space_at_its_ends),
    AfterValidator(_not_ours),
]
UserName = Annotated[
    str,
    Field(max_length=NAME_BYTES_MAX, json_schema_extra=json_schemas.ONE_LINE),
    AfterValidator(_name_sized),
    AfterValidator(_one_line),
]
RoomName = Annotated[
    str,
    Field(min_length=1, max_length=NAME_BYTES_MAX, json_schema_extra=json_schemas.ROOM_NAME),
    AfterValidator(_name_sized),
    AfterValidator(_one_line),
    AfterValidator(_in_reading_order),
]
"""Whatever livekit-server takes, except characters that logs, terminals and pages can't show safely."""
ServiceId = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@-]*$")]
ProfileName = ServiceId
ServiceType = Annotated[
    str, Field(min_length=1, max_length=64, json_schema_extra=json_schemas.PRINTABLE), AfterValidator(_printable)
]
AgentName = Annotated[
    str,
    Field(
        max_length=128,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@-]*$",
        json_schema_extra=json_schemas.beginning_otherwise(OUR_AGENT_NAMES),
    ),
    AfterValidator(_not_our_agent),
]
Endpoint = Annotated[str, Field(max_length=2_048, json_schema_extra=json_schemas.URL), AfterValidator(_http_url)]
Text = Annotated[str, Field(json_schema_extra=json_schemas.TEXT)]
"""Any string that bodies.py accepts."""
LabelKey = Annotated[str, Field(max_length=64, pattern=LABEL_KEY)]
LabelValue = Annotated[str, Field(max_length=128), AfterValidator(_one_line)]
Labels = Annotated[
    dict[LabelKey, LabelValue],
    BeforeValidator(_at_most(LABELS_MAX)),
    Field(max_length=LABELS_MAX),
    WithJsonSchema(
        json_schemas.dictionary(
            {"pattern": LABEL_KEY, "maxLength": 64},
            {"type": "string", "maxLength": 128, **json_schemas.ONE_LINE},
            LABELS_MAX,
        )
    ),
]
Metadata = Annotated[dict[str, Any], AfterValidator(sized_metadata), WithJsonSchema(json_schemas.METADATA)]
MetadataText = Annotated[str, Field(json_schema_extra=json_schemas.TEXT), AfterValidator(_metadata_text)]
Attributes = Annotated[
    dict[Printable, str],
    BeforeValidator(_at_most(ATTRIBUTES_MAX)),
    Field(max_length=ATTRIBUTES_MAX),
    AfterValidator(_attributes),
    WithJsonSchema(
        json_schemas.dictionary(
            {
                "minLength": 1,
                "maxLength": 128,
                **json_schemas.PRINTABLE,
                "not": {"pattern": f"^{re.escape(LIVEKITS_ATTRIBUTES)}"},
            },
            {"type": "string", **json_schemas.TEXT},
            ATTRIBUTES_MAX,
            f"At most 8 KiB as JSON; keys do not begin with `{LIVEKITS_ATTRIBUTES}`.",
        )
    ),
]
