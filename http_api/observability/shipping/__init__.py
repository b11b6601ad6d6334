"""Log entries on their way to Vector, or to any other collector: out of the way of everything else.

Every entry goes into `backlog.py`, which is bounded. A thread of its own, `shipper.py`, takes batches out of it, writes
them in the format that is wanted (`formats.py`), posts them (`collector.py`) and does with them what the answer means
(`answers.py`, `retry_policy.py`). What goes wrong is told once in a while (`trouble.py`). Start with shipper.py.
"""
