"""GET /api/v1/events: everything that a caller may see, in one stream.

feed.py serves it, readers.py knows who reads and what is new to each, rendered.py makes each session JSON once for all
of them, seen_services.py each service, and views.py has the shape of what is told.
"""
