"""The refusal of a process that is not the one of its deployment that acts (livekit/acting_process.py)."""


class NotActing(Exception):
    """This process may not change anything, for now or for good: another process of its deployment acts, or LiveKit
    does not say which one. Retry after `retry_after` seconds: another process may serve the request."""

    retry_after = 1.0
