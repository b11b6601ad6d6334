"""The Python client of the session manager's API: Client for asyncio, SyncClient for programs without."""

from session_manager_client.client import Client
from session_manager_client.errors import ApiError, Unreachable
from session_manager_client.sync_client import SyncClient

__all__ = ["ApiError", "Client", "SyncClient", "Unreachable"]
