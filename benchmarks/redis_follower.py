"""A further replica for redis_growth.py: `python -m benchmarks.redis_follower PORT`.

It reads everything that is stored, and prints the seconds that this took and the bytes of memory that it has more.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time

from benchmarks.child import say
from benchmarks.measuring import MB, footprint
from benchmarks.redis_process import RedisProcess, a_replica


def memory() -> float:
    gc.collect()
    return footprint(os.getpid()).pss_mb * MB


async def follow(server: RedisProcess) -> None:
    before, begun = memory(), time.perf_counter()
    async with a_replica(server, "follower"):
        took = time.perf_counter() - begun
        say(json.dumps([took, memory() - before]))


if __name__ == "__main__":
    asyncio.run(follow(RedisProcess(int(sys.argv[1]), 0)))
