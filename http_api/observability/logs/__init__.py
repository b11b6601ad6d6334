"""Logs: structured events on stderr and to further sinks. docs/logs.md lists them.

setup.py configures logging; redaction.py removes secrets; context.py binds fields to a request's entries and access.py
logs its last one; native.py captures the output of native code, unhandled.py unhandled errors; sinks.py lists the
sinks, one of which is recent.py with the newest entries of each session; unwaited.py is the lock that sinks use.
"""

from http_api.observability.logs.setup import LogEntry as LogEntry
from http_api.observability.logs.setup import Sink as Sink
from http_api.observability.logs.setup import configure as configure
