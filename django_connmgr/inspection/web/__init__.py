"""A page of the pools of every process on this host."""
