"""The engines, alone and with all that surrounds them."""
