"""Every setting, read once at the start."""
