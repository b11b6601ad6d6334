"""One file a resource, a short coroutine an operation."""
