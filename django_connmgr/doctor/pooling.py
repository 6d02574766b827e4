"""Whether the pool keeps its promises on this database."""

import gc
import time

from .._pool.driver import ConnectionState
from ..exceptions import PoolTimeout
from .finding import Finding, failure, ok, skipped
from .patient import Patient

_REPORT = "Please report this, with the versions of the server and of the driver."


def examine_reuse(patient: Patient) -> Finding:
    """Two threads, one after the other, find the same connection."""

    def identify() -> object:
        lease = patient.acquire()
        try:
            return patient.identify(lease)
        finally:
            lease.release()

    first, second = patient.on_a_thread(identify), patient.on_a_thread(identify)
    if first == second or patient.shares_server_connections:
        return ok("Two threads have used the same connection, one after the other.")
    return failure(
        "A second thread got another connection, although the first had given its own back.",
        "Something closes connections: look for a CHECK that fails, or max_idle of a pooler.",
    )


def examine_limit(patient: Patient) -> Finding:
    """With as many leased as there may be, one more waits in vain."""
    leases = [patient.acquire() for _ in range(patient.size)]
    try:
        patient.pool.acquire(0.05).release()
    except PoolTimeout:
        return ok(f"The limit holds: with {patient.size} leased, one more waits.")
    finally:
        for lease in leases:
            lease.release()
    return failure(f"One more than {patient.size} connections were leased.", _REPORT)


def examine_release(patient: Patient) -> Finding:
    """A thread that ends without giving its connection back loses it."""

    def forget() -> bool:
        patient.acquire()
        return True

    patient.on_a_thread(forget)
    gc.collect()
    patient.pool.reap()
    leased = patient.pool.stats().leased
    if not leased:
        return ok("A connection comes back from a thread that ended without releasing it.")
    return failure(f"{leased} connections stay leased, though their threads ended.", _REPORT)


def examine_reset(patient: Patient) -> Finding:
    """What a borrower leaves is not seen by the next one."""
    lease = patient.acquire()
    raw = lease.connection.raw
    if patient.is_postgresql:
        if patient.options.reset == "session" and not patient.shares_server_connections:
            patient.ask(lease, "SELECT set_config('lc_messages', 'POSIX', false)")
            lease.connection.has_session_state = True
        raw.autocommit = False
    patient.ask(lease, "SELECT 1")
    if not patient.is_postgresql:
        raw.execute("BEGIN")
    lease.release()
    again = patient.acquire()
    try:
        state = patient.driver.state(again.connection)
        autocommit = not patient.is_postgresql or again.connection.raw.autocommit
        if state is not ConnectionState.IDLE or not autocommit:
            return failure("The next borrower is in the transaction of the one before.", _REPORT)
        if patient.is_postgresql and patient.options.reset == "session":
            left = patient.ask(again, "SELECT current_setting('lc_messages')")
            if left == "POSIX" and not patient.shares_server_connections:
                text = "reset='session' leaves the session of the borrower before as it was."
                return failure(text, _REPORT)
    finally:
        again.release()
    return ok("An open transaction is rolled back before the next borrower gets a connection.")


def examine_recovery(patient: Patient) -> Finding:
    """A connection that the server ends is replaced, and no borrower notices."""
    if not patient.is_postgresql:
        return skipped("No server ends connections to a file.")
    if patient.shares_server_connections or patient.size < MOST_NEEDED:
        return skipped("That a killed connection is replaced needs two of its own to be shown.")
    victim, killer = patient.acquire(), patient.acquire()
    pid = patient.identify(victim)
    victim.release()
    patient.ask(killer, f"SELECT pg_terminate_backend({int(pid)})")
    deadline = time.monotonic() + patient.timeout
    living = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {int(pid)}"  # noqa: S608
    while patient.ask(killer, living) and time.monotonic() < deadline:
        time.sleep(0.01)
    began = time.monotonic()
    lease = patient.acquire()
    try:
        patient.ask(lease, "SELECT 1")
        took = time.monotonic() - began
    finally:
        lease.release()
        killer.release()
    return ok(f"A connection that was killed has been replaced, in {took * 1000:.0f} ms.")


#: Two connections: one is killed by the other.
MOST_NEEDED = 2
EXAMINATIONS = (
    examine_reuse,
    examine_limit,
    examine_release,
    examine_reset,
    examine_recovery,
)
