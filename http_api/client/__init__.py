"""The Python client of the session manager's API."""

from http_api.client.client import Client
from http_api.client.errors import ApiError, Unreachable

__all__ = ["ApiError", "Client", "Unreachable"]
