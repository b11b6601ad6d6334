"""How the outside asks for sessions: the HTTP API. Start with app.py."""

import os

from manager_agent.deferred_packages import absent_packages

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would look for them in every installed package
with absent_packages("rich"):  # structlog would load it (3 MB, 50 ms) for colored tracebacks, which the log has not
    import structlog as structlog

VERSION = "0.1.0"
