"""Several replicas of one deployment: which of them are alive, and which one acts for a session."""
