"""Logs, metrics, traces, and the shipping of logs."""
