"""What LiveKit's rooms can't hold: small values by kind and key. records.py is the port; the other modules are its
implementations."""
