"""Asks the servers of a cluster how far they are, on the background thread's time."""

import logging
import random
import threading
import time
from typing import Any

from .._pool.host import DOWN, Bounds, Host, Report
from .._pool.lag import Samples
from .._pool.position import Position
from .._pool.reaper import reaper
from ..app_settings import app_settings
from ..registry import registry
from ..signals import primary_changed
from . import sockets
from .probe import Probe, ProbeRefused, await_any

logger = logging.getLogger("django_connmgr.replicas")

#: For how many seconds one pass waits for answers: a healthy server takes a tenth of that. What
#: comes later is taken in by the next pass, and the background thread does other work meanwhile.
PATIENCE = 0.01
#: Seconds from one pass to the next while an answer is awaited.
STEP = 0.02
#: A probe that was not answered for so many seconds has failed. Above what a busy server needs.
LONGEST_ANSWER = 2.0


class Target:
    """One server to ask, at one of several addresses; and the probe with which it is asked."""

    def __init__(self, role: Any, host: Host | None, probes: list[Probe]) -> None:
        self.role = role
        #: ``None`` for the primary.
        self.host = host
        self._probes = probes
        #: When it was asked; ``None`` while no answer is awaited.
        self.asked_at: float | None = None
        self.due_at = 0.0
        #: The probe is connecting, so far as is known.
        self.is_new = True
        #: How many times in a row the server was not there.
        self.misses = 0

    @property
    def probe(self) -> Probe:
        return self._probes[0]

    @property
    def has_others(self) -> bool:
        """Whether there is an address that was not tried since the last answer."""
        return self.misses % len(self._probes) > 0

    def begin(self, now: float) -> None:
        self.asked_at = now
        self.probe.begin()

    def leave(self) -> None:
        """Hang up. The next question goes to the next address."""
        self.probe.close()
        self._probes.append(self._probes.pop(0))
        self.asked_at, self.is_new = None, True
        self.misses += 1


class Monitor:
    """Of the primary ``primary`` and of all replicas that are read from.

    Once in each ``PROBE_INTERVAL`` it sends one query to each of them, on connections of its own
    that are no pool's, and takes in what comes back without ever waiting for a server. It is
    the background thread's alone, but for ``watch()``, ``want()`` and ``timeline``.
    """

    def __init__(self, primary: str) -> None:
        self.primary = primary
        self.name = f"replicas of {primary}"
        self._samples = Samples()
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()  # Of the next fields; nothing is done under it.
        self._roles: dict[str, Any] = {}
        self._wanted = 0
        self._targets: list[Target] = []
        #: The primary was seen, and was one.
        self._has_primary = False

    @property
    def latest(self) -> Position | None:
        """Where the primary was seen last."""
        return self._samples.latest

    # For other threads

    def watch(self, role: Any) -> None:
        """Ask the servers of a role from now on. Idempotent."""
        if role.hosts.is_probed or app_settings().PROBE_INTERVAL <= 0 or not role.can_probe:
            return
        with self._lock:
            self._roles[role.alias] = role  # In the place of one of settings that have changed.
            role.hosts.is_probed = True
        reaper.watch(self)
        reaper.hurry(self, 0.0)

    def want(self, change: int) -> None:
        """A thread waits for answers, or waits no more: ask as often as possible meanwhile."""
        with self._lock:
            self._wanted += change
        reaper.hurry(self, 0.0)

    def after_fork(self) -> None:
        """In a forked child: what was asked is the parent's."""
        for target in self._targets:
            try:
                sockets.disown(target.probe, target.probe.fileno())
            except Exception:
                sockets.disown(target.probe)  # There was no connection.
        self._reset()

    # For the background thread: see ``Maintained``

    @property
    def reap_interval(self) -> float:
        # Not 0, by which the settings say that nothing more is to be asked.
        return (app_settings().PROBE_INTERVAL or 1.0) * random.uniform(0.9, 1.1)  # noqa: S311

    def reap(self) -> None: ...

    def has_lost(self) -> bool:
        return False

    def maintain(self) -> None:
        """Ask those that are due, and take in what is there."""
        now = time.monotonic()
        with self._lock:
            roles, is_wanted = list(self._roles.values()), self._wanted > 0
            for role in [one for one in roles if not one.is_current]:
                roles.remove(role)
                del self._roles[role.alias]
                role.hosts.is_probed = False
        if {target.role for target in self._targets} != set(roles):
            self._find_targets(roles)
        if not roles:
            self._samples = Samples()  # Of servers that nothing reads from any more.
            reaper.unwatch(self)
            with self._lock:
                if not self._roles:
                    return
            reaper.watch(self)  # A role came in between.
            return
        for target in self._targets:
            if target.asked_at is None and (is_wanted or target.due_at <= now):
                self._ask(target, now)
        self._listen(now + PATIENCE)
        for target in self._targets:
            if target.asked_at is not None and now - target.asked_at > LONGEST_ANSWER:
                self._fail(target, TimeoutError("it does not answer"), is_silent=True)
        if is_wanted or any(one.asked_at is not None or one.due_at == 0.0 for one in self._targets):
            reaper.hurry(self, STEP / 4 if is_wanted else STEP)

    def _find_targets(self, roles: list[Any]) -> None:
        for target in self._targets:
            target.leave()
        self._targets = [
            Target(role, host, role.probes_of(host)) for role in roles for host in role.hosts.all
        ]
        if roles:
            self._targets.insert(0, Target(roles[0], None, roles[0].probes_of(None)))

    def _ask(self, target: Target, now: float) -> None:
        host = target.host
        # Not a whole interval, or the jitter of the passes would make it skip every other one.
        target.due_at = now + app_settings().PROBE_INTERVAL / 2
        if host is not None and host.state is DOWN and now < host.retry_at:
            return
        try:
            target.begin(now)
        except Exception as error:
            self._fail(target, error)

    def _listen(self, until: float) -> None:
        while asked := [target for target in self._targets if target.asked_at is not None]:
            left = max(until - time.monotonic(), 0.0)
            ready = await_any([one.probe for one in asked], left)
            if not ready:
                return
            for target in asked:
                if target.probe in ready:
                    self._advance(target)

    def _advance(self, target: Target) -> None:
        try:
            report = target.probe.advance()
        except ProbeRefused as refusal:
            logger.debug("%s does not tell how far it is: %s", target.host, refusal)
            report = Report(is_standby=target.host is not None, position=None)
        except Exception as error:
            self._fail(target, error)
            return
        if report is not None:
            target.asked_at, target.is_new = None, False
            if target.host is None:
                self._note_primary(target, report)
            else:
                self._note_replica(target, target.host, report)

    def _fail(self, target: Target, error: Exception, *, is_silent: bool = False) -> None:
        was_new, host = target.is_new, target.host
        target.leave()
        if not was_new and not is_silent:
            # The connection ended, perhaps because the server was started anew.
            self._ask(target, time.monotonic())
        elif host is not None:
            change = target.role.hosts.note_no_answer(host, is_silent=is_silent)
            target.role.tell(change, str(error))
        elif target.has_others:
            target.due_at = 0.0

    def _note_primary(self, target: Target, report: Report) -> None:
        before = self._samples.latest
        if report.is_standby:
            # It was demoted, or this is the address of another one.
            target.leave()
            target.due_at = 0.0 if target.has_others else target.due_at
            if self._has_primary:
                self._has_primary = False
                self._condemn("it was demoted")
            return
        self._has_primary, target.misses = True, 0
        if report.position is None:
            return
        self._samples.add(report.position, time.monotonic())
        if before is not None and before.timeline != report.position.timeline:
            self._condemn(f"timeline {report.position.timeline} began")
            primary_changed.send_robust(
                sender=Monitor, primary=self.primary, timeline=report.position.timeline
            )

    def _condemn(self, why: str) -> None:
        logger.warning("Connections to the primary %r are replaced: %s.", self.primary, why)
        # Also those by which replicas' aliases read from it.
        names = {self.primary, *(f"{alias}@{self.primary}" for alias in self._roles.copy())}
        for pool in registry.all():
            if pool.name in names:
                pool.recycle()

    def _note_replica(self, target: Target, host: Host, report: Report) -> None:
        settings = app_settings()
        lag = None
        if report.position is not None:
            lag = self._samples.lag_of(report.position, time.monotonic())
        bounds = Bounds(settings.MAX_LAG_SECONDS, settings.MAX_LAG_BYTES)
        change = target.role.hosts.note_report(host, report, lag, bounds)
        target.role.tell(change, "it takes writes" if not report.is_standby else "it answers")


#: By primary. Made once.
_monitors: dict[str, Monitor] = {}


def monitor_of(primary: str) -> Monitor:
    """The one of a cluster."""
    return _monitors.setdefault(primary, Monitor(primary))
