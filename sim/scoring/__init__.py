"""How well a network's logits agree with labels; NumPy alone, the same for every network that makes logits."""
