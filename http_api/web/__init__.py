"""The dashboard and documentation pages, and the files that they load."""
