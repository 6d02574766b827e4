"""Each process that uses a pool answers who holds what, on a Unix socket of its own."""
