"""Carries out each session's plan, and publishes its status to the room and the log."""
