"""Values that never change, of which there are many: what a session is made of. PURE.

They take a tenth of the time of frozen dataclasses to make and to copy. Python's garbage collections do not look at
them, so that sessions that are kept make none of them longer. So such a value must not be part of a cycle, which no
tree of frozen values is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, dataclass_transform

from msgspec import Struct
from msgspec import field as field

if TYPE_CHECKING:
    from dataclasses import replace as replace  # mypy checks its arguments by the fields of the value
else:
    from msgspec.structs import replace as replace


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Frozen(Struct, frozen=True, gc=False, omit_defaults=True):
    """Its fields are those of the class, as in a dataclass."""
