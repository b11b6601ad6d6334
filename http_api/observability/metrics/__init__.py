"""The metrics shown at /metrics. docs/metrics.md explains each of them.

One file per kind of metric; metrics.py holds them all, and wiring.py connects them to the application's parts.
"""
