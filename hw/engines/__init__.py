"""MAT and R-MAC."""
