"""What a Python program that wants sessions imports."""

from http_api.client.client import Client
from http_api.client.errors import ApiError, Unreachable

__all__ = ["ApiError", "Client", "Unreachable"]
