"""Who is asking, and what that allows."""
