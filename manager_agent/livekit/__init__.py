"""Everything that talks to LiveKit. The only folder of manager_agent that imports livekit."""
