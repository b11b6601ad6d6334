"""The settings, read once at start."""
