"""Logs: events with fields, on stderr and to whoever else takes them. docs/logs.md says which there are.

setup.py sets logging up; redaction.py says what must not be seen in it, context.py what the lines of a request are
about, access.py has its last one; native.py takes in what native code writes, unhandled.py the errors that nobody
handles; sinks.py says who takes what is logged, one of which is recent.py, with the newest lines of each session;
unwaited.py is the lock that they have.
"""

from http_api.observability.logs.setup import Entry as Entry
from http_api.observability.logs.setup import Sink as Sink
from http_api.observability.logs.setup import configure as configure
