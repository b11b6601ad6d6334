"""The JSON shapes that come in and go out."""
