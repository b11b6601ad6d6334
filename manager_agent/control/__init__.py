"""Does what the plan of each session says, and tells the room and the log."""
