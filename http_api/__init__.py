"""How the outside asks for sessions: the HTTP API. Start with app.py."""

VERSION = "0.1.0"
