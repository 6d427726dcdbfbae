"""What brings data in and out: the weight stream, the picture, the results."""
