"""The state that replicas share: connection, scripts and the log of changes. The only folder that imports redis."""
