"""The commands: a module each, with the click command as ``command``. What a command needs is imported when it runs."""
