"""Creates a session and reads it, with the client that openapi-python-client makes of the OpenAPI document.

Runs in the generators' environment, beside the generated package `generated`.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys

import generated  # type: ignore[import-not-found, unused-ignore]
from generated.api.sessions import (  # type: ignore[import-not-found, unused-ignore]
    sessions_create,
    sessions_show,
)
from generated.api.tokens import token_source_give  # type: ignore[import-not-found, unused-ignore]
from generated.models import (  # type: ignore[import-not-found, unused-ignore]
    CreateSessionWithServices,
    CreateSessionWithServicesMetadataType0,
    RequiredServiceById,
    RequiredServiceByType,
    ServiceNotAvailableProblem,
    SessionWithToken,
    TokenRequest,
    TokenResponse,
)

for module in pkgutil.walk_packages(generated.__path__, "generated."):
    importlib.import_module(module.name)

with generated.AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2]) as client:
    metadata = CreateSessionWithServicesMetadataType0.from_dict({"nested": {"list": [1, None]}})
    created = sessions_create.sync(
        client=client, body=CreateSessionWithServices(user_identity="alice", required_services=[], metadata=metadata)
    )
    assert isinstance(created, SessionWithToken), created
    read = sessions_show.sync(created.session_id, client=client)
    assert isinstance(read, SessionWithToken), read
    token = token_source_give.sync(client=client, body=TokenRequest(room_name=created.room_name))
    assert isinstance(token, TokenResponse), token
    missing: list[RequiredServiceById | RequiredServiceByType | str] = [
        "gone",
        RequiredServiceByType(type_="ASR", optional=True),
    ]
    refused = sessions_create.sync(
        client=client, body=CreateSessionWithServices(user_identity="alice", required_services=missing)
    )
    assert isinstance(refused, ServiceNotAvailableProblem), refused
answers = {
    "created": created.session_id,
    "read": read.session_id,
    "metadata": read.metadata.to_dict(),
    "token": token.participant_token,
    "problem": refused.type_,
}
print(json.dumps(answers))
