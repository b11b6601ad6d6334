"""The composition root: the only place where the objects of a process are created and connected."""

from http_api.bootstrap.components import Components, ComponentTypes, ReplicaParts, SharedFoundation
from http_api.bootstrap.compose import compose

__all__ = ["ComponentTypes", "Components", "ReplicaParts", "SharedFoundation", "compose"]
