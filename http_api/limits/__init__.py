"""How much a caller may ask for, and requests that are sent twice."""
