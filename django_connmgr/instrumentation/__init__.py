"""What the pools measure, for monitoring: one file for each system that takes it."""
