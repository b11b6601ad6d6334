"""Answers of the server, as the client gets them."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel

from session_manager_client.models import ApiModel

T = TypeVar("T", bound=ApiModel)


def received(answer: BaseModel, model: type[T]) -> T:
    """The answer, sent as JSON and read as this model."""
    return model.model_validate_json(answer.model_dump_json())
