"""Proves on the real databases that pooling works here."""
