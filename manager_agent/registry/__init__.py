"""Registered services: their instances, leases and capacity, and which of them is invited."""
