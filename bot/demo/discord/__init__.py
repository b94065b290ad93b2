"""The embedded Discord: simcord's rules behind real HTTP and a real gateway, on the real clock, in its own process."""
