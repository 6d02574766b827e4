"""What must not happen on pooled connections; one sentence for each time it did happen."""

from __future__ import annotations

from .result import Result


def broken_promises(result: Result, *, requested: int) -> list[str]:
    """What went wrong in a round on the pool; empty if nothing did.

    ``requested`` is the number of requests that were to be sent.
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
    if result.interrupted > result.killed:
        found.append(
            f"{result.interrupted} requests lost their connection, but only {result.killed} "
            f"connections were killed."
        )
    if not result.peak:
        found.append("The server was never seen to have a connection: nothing was measured.")
    if limit is not None and result.peak > limit:
        found.append(f"The server counted {result.peak} connections, and the limit is {limit}.")
    if limit is not None and pool["size"] > limit:
        found.append(f"The pool counts {pool['size']} connections, and its limit is {limit}.")
    lost = pool["leased"] + pool["warm"]
    if lost:
        found.append(f"{lost} slots were lost: still leased or warm after the last request.")
    return found
