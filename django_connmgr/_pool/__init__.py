"""The pool itself: the standard library and nothing else."""
