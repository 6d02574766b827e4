"""What is imported inside the process of a suite, and nothing else is."""
