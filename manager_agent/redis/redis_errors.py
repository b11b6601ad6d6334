"""The errors of redis-py, loaded without its clients.

Those take 5 MB, which only a process with REDIS_URL needs; pool.py loads them.
"""

from manager_agent.deferred_packages import deferred_packages

with deferred_packages("redis"):
    from redis import exceptions

__all__ = ["exceptions"]
