"""EfficientViT as one parametrised family: what it is made of, as a torch module and as a list of operations."""
