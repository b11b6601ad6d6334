"""The client's models have what the server answers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from http_api.models import health, responses, timeline
from http_api.streams import models as feed
from session_manager_client import models
from session_manager_client.models import ApiModel

pytestmark = pytest.mark.unit

SAME_JSON: dict[type[ApiModel], type[BaseModel]] = {
    models.RequiredServiceInfo: responses.RequiredServiceView,
    models.SessionInfo: responses.SessionView,
    models.ReadySession: responses.SessionWithToken,
    models.ParticipantAccess: responses.ParticipantView,
    models.SessionPage: responses.SessionList,
    models.ServiceInfo: responses.ServiceView,
    models.RegisteredServiceInfo: responses.RegisteredServiceView,
    models.ServiceListing: responses.ServiceList,
    models.ReplicaSummary: health.ReplicaView,
    models.DrainingReplica: health.Draining,
    models.RedisInfo: health.RedisView,
    models.ServerHealth: health.Health,
    models.HealthProof: health.Proven,
    models.StepInfo: timeline.StepView,
    models.LateInfo: timeline.LateView,
    models.AttemptInfo: timeline.AttemptView,
    models.TimelineInfo: timeline.TimelineView,
    models.DependencyInfo: feed.DependencyView,
    models.FeedHealth: feed.HealthView,
    models.CallerInfo: feed.CallerView,
    models.FeedSnapshot: feed.Snapshot,
    models.ForgottenSession: feed.Forgotten,
    models.RemovedService: feed.ServiceGone,
}
"""Each model of the client, and that of the server's answer."""


@pytest.mark.parametrize(("model", "view"), SAME_JSON.items())
def test_the_client_knows_every_field_that_the_server_answers_with(
    model: type[ApiModel], view: type[BaseModel]
) -> None:
    assert shape_of(model) == shape_of(view)


def test_every_model_of_the_client_is_compared_with_the_servers() -> None:
    assert {model for model in vars(models).values() if is_model(model)} == SAME_JSON.keys()


def is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, ApiModel) and value is not ApiModel


def shape_of(model: type[BaseModel]) -> dict[str, object]:
    """The types of the fields as JSON has them. The words of an enum or a literal are strings, and models are their
    client's."""
    schema = model.model_json_schema(mode="serialization")
    definitions = schema.pop("$defs", {})
    names = {view.__name__: model.__name__ for model, view in SAME_JSON.items()}

    def reduced(part: Any) -> Any:
        if isinstance(part, list):
            return [reduced(one) for one in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            name = part["$ref"].rpartition("/")[2]
            return names.get(name, name) if "enum" not in definitions[name] else {"type": "string"}
        return {key: reduced(value) for key, value in part.items() if key in ("type", "anyOf", "items")} | {
            key: reduced(part[key]) for key in ("additionalProperties",) if isinstance(part.get(key), dict)
        }

    return {name: reduced(field) for name, field in schema["properties"].items()}
