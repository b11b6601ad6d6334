"""The session manager as a program that waits for a slow Redis instead of doing without it: on a busy machine too,
replicas count together."""

from __future__ import annotations

import sys

from http_api.__main__ import main
from tests.redis_server import PATIENCE, wait_for_redis

if __name__ == "__main__":
    wait_for_redis(PATIENCE)
    sys.exit(main())
