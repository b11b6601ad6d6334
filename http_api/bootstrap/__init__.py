"""The composition root: the only place where the objects of a process are created and connected."""

from http_api.bootstrap.components import Components, ComponentTypes
from http_api.bootstrap.compose import compose

__all__ = ["ComponentTypes", "Components", "compose"]
