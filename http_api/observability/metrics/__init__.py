"""What is measured, and how it is shown at /metrics: docs/metrics.md says what each metric means.

A file for each kind of what is measured; metrics.py has them all, and wiring.py ties them to the application's parts.
"""
