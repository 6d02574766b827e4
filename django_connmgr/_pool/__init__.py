"""The engine room: a bounded pool of connections, with no Django and no driver in it."""
