"""Registered services: their instances, leases and capacity, and the selection of instances to invite."""
