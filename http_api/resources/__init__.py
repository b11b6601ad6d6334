"""The handlers: one file per resource, one short coroutine per operation."""
