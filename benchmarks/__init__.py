"""Side by side with every peer: ``python -m benchmarks``. See ``docs/benchmarks.md``."""
