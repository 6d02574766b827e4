"""What must not happen on pooled connections, in one sentence for each time it did."""

from __future__ import annotations

from .result import Result


def faults(result: Result, *, requested: int) -> list[str]:
    """Everything that is wrong with a round on the pool; nothing, we trust.

    ``requested`` is how many requests were to be sent.
    """
    pool = result.pool
    limit = pool["max_size"]
    found = []
    if result.requests != requested:
        found.append(f"{requested - result.requests} of {requested} requests had no outcome.")
    found += [
        f"{count} {'request' if count == 1 else 'requests'} failed: {failure}."
        for failure, count in sorted(result.errors.items())
    ]
    if result.struck > result.victims:
        found.append(
            f"{result.struck} requests lost their connection, but only {result.victims} "
            f"connections were killed."
        )
    if not result.peak:
        found.append("The server was never seen to have a connection: nothing was measured.")
    if limit is not None and result.peak > limit:
        found.append(f"The server counted {result.peak} connections, and the limit is {limit}.")
    if limit is not None and pool["size"] > limit:
        found.append(f"The pool counts {pool['size']} connections, and its limit is {limit}.")
    if pool["leased"]:
        found.append(f"{pool['leased']} slots were lost: still leased after the last request.")
    # A thread whose connection was killed before it had it leaves nothing to take back, and
    # one that was reclaimed while the thread did not use it is taken back already.
    taken_back = pool["reaped"] + pool["reclaimed"]
    if result.abandoned - taken_back > max(result.victims - result.struck, 0):
        found.append(
            f"{result.abandoned} threads ended with a connection, and {taken_back} were taken back."
        )
    return found
