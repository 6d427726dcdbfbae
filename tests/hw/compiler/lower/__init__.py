"""From layers to tasks: products, group convolutions, attention."""
