"""Requests to addresses that somebody gave us: invites and callbacks, signed and guarded."""
