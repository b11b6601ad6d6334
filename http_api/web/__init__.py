"""Pages and the files that they load."""
