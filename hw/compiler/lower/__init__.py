"""From layers to tasks, kind by kind."""
