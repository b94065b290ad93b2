"""Battle rounds as members and moderators meet them: commands, and the buttons of pairs."""
