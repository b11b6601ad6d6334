"""The rules of field_types.py and bodies.py as JSON Schema, for the OpenAPI document. PURE.

What JSON Schema can't express, such as limits in bytes, is in the descriptions. Regular expressions are ECMA-262.
"""

from __future__ import annotations

from typing import Any

from manager_agent.session.session import OUR_IDENTITIES

Schema = dict[str, Any]

UNSEEN = (
    r"\x00-\x1f\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u2064\u2066-\u206f\u3000\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"
    "\U000e0020-\U000e007f"
)
"""The characters of field_types.UNSEEN as ranges, because not every regex engine supports Unicode categories."""
PRINTABLE: Schema = {"pattern": f"^[^ {UNSEEN}]+( +[^ {UNSEEN}]+)*$"}
UNSAFE = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""Control characters, line separators and bidirectional controls."""
SPACES = r" \xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
ROOM_NAME: Schema = {"pattern": f"^[^{UNSAFE}]+$", "description": "At most 256 bytes in UTF-8."}
ONE_LINE: Schema = {"pattern": r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"}
TEXT: Schema = {"pattern": r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$"}
"""Any string in a body."""
USER_IDENTITY: Schema = {
    "pattern": f"^[^{SPACES}{UNSAFE}]([^{UNSAFE}]*[^{SPACES}{UNSAFE}])?$",
    "not": {"pattern": f"^{OUR_IDENTITIES}"},
    "description": f"At most 256 bytes in UTF-8. Must not begin with `{OUR_IDENTITIES}`.",
}
URL: Schema = {
    "format": "uri",
    "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(:[1-9][0-9]{0,4})?"
    r"([/?][\x21\x22\x24-\x5b\x5d-\x7e]*)?$",
    "description": "An http or https URL in an allowed network (INVITE_NETWORKS or CALLBACK_NETWORKS), without user or "
    "fragment.",
}


def beginning_otherwise(prefix: str) -> Schema:
    return {"not": {"pattern": f"^{prefix}"}, "description": f"Must not begin with `{prefix}`."}


def dictionary(key: Schema, value: Schema, most: int, description: str = "") -> Schema:
    """The schema of an object with free keys. Pydantic's own schema would allow keys that do not match the pattern."""
    schema = {"type": "object", "propertyNames": key, "additionalProperties": value, "maxProperties": most}
    return {**schema, "description": description} if description else schema


OPEN: Schema = {"propertyNames": TEXT, "additionalProperties": True}
"""An object that may have additional fields with any JSON. What bodies.py demands of the values (no control characters,
at most 32 levels) would take a schema that refers to itself, which generators of clients can't use."""
METADATA: Schema = {
    "type": "object",
    **OPEN,
    "description": "At most 16 KiB as JSON and 32 levels deep, without control characters.",
}
