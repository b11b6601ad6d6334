"""A session as a value: what it is, what each event does to it, and what is due next. PURE: start with session.py."""
