"""Kill -9 of the executor anywhere, on real databases, and what the world says afterwards: `python -m tests.crash`."""
