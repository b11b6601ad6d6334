"""Sessions: what they are, where they are kept, how their rooms are watched. Start with session/session.py."""
