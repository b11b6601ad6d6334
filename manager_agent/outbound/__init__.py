"""Requests to addresses supplied by callers: invites and callbacks, signed, and checked against an address policy."""
