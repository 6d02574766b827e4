"""How a subcommand ends that found something wrong."""


class Failed(Exception):
    """Its text is the whole answer, for the standard output; the exit status is 1."""
