"""Everything that talks to LiveKit. The only folder that imports livekit."""
