"""What all models of request bodies share.

Unknown fields are rejected, so that a misspelled one is not ignored. `null` means not given.

sessions.py and services.py have the bodies, queries.py the queries, token_source.py the bodies that LiveKit defines.
responses.py has the models of responses.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, model_validator

from http_api.errors import FIELDS_MAX
from http_api.models import field_types
from http_api.models.field_types import wrong
from manager_agent.outbound.address_policy import AddressPolicy, AddressRefused


def refuse_many_fields(model: type[BaseModel], value: object) -> None:
    """For a before-validator: reject thousands of unknown fields at once, not one by one."""
    if isinstance(value, dict) and len(value) > len(model.model_fields) + FIELDS_MAX:
        raise wrong(f"should have at most {len(model.model_fields)} fields, has {len(value)}")


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, value: object) -> object:
        refuse_many_fields(cls, value)
        return value


def _may_be_called(address: str, info: ValidationInfo) -> str:
    """Reject an address that can never be called. The policy is checked again at each call."""
    address_policy: AddressPolicy | None = (info.context or {}).get("address_policy")
    if address_policy is not None:
        try:
            address_policy.admit(address)
        except AddressRefused as refused:
            raise wrong(str(refused)) from None
    return address


Address = Annotated[field_types.Endpoint, AfterValidator(_may_be_called)]
"""An http or https URL that the session manager will call."""
