"""The compiler: packets, places, tasks, programs."""
