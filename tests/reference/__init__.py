"""Slow, dense, obvious float64 twins of the fast paths; they share no code with them."""
