"""The only files that listen to Discord: commands, buttons, reactions."""
