"""From an artifact to a program: mapping, memory, descriptors and the weight stream."""
