"""Asks the servers of a cluster how far they are, on a background thread."""

import logging
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from .._pool.host import DOWN, Bounds, Host, Report
from .._pool.lag import MOST_SAMPLES, Samples
from .._pool.position import Position
from .._pool.reaper import Reaper
from ..app_settings import app_settings
from ..registry import registry
from ..signals import primary_changed
from . import sockets
from .probe import Probe, ProbeRefused, ServerFull, await_any

logger = logging.getLogger("django_connmgr.replicas")

#: For how many seconds one pass waits for answers: a healthy server takes a tenth of that. What
#: comes later is taken in by the next pass.
PATIENCE = 0.01
#: Seconds from one pass to the next while an answer is awaited.
STEP = 0.02
#: A probe that was not answered for so many seconds has failed. Above what a busy server needs.
LONGEST_ANSWER = 2.0
#: What was known is unknown after so many intervals without a pass, and so many seconds more.
FORGETS_AFTER = 3
#: Not the pools' one: their upkeep waits for servers, and a server that hangs must not hide what
#: becomes of the others. There is none without replicas.
thread = Reaper("django-connmgr-monitor")


class Target:
    """One server to ask, at one of several addresses; and the probe with which it is asked."""

    def __init__(self, role: Any, host: Host | None) -> None:
        self.role = role
        #: ``None`` for the primary.
        self.host = host
        self.probe: Probe | None = None
        #: When it was asked; ``None`` while no answer is awaited.
        self.asked_at: float | None = None
        self.due_at = 0.0
        #: The probe has not answered yet.
        self.is_new = True
        #: How many times in a row the server was not there, of how many addresses.
        self.misses, self._addresses = 0, 1

    @property
    def has_others(self) -> bool:
        """Whether there is an address that was not tried since the last answer."""
        return self.misses % self._addresses > 0

    def begin(self, now: float) -> None:
        """Ask, on a new connection if there is none: with the settings as they are now."""
        self.asked_at = now
        if self.probe is None:
            addresses = self.role.addresses_of(self.host)
            self._addresses = len(addresses)
            settings = addresses[self.misses % len(addresses)]
            self.probe = self.role.make_probe(self.host, settings)
        self.probe.begin()

    def leave(self) -> None:
        """Hang up. The next question goes to the next address."""
        probe, self.probe = self.probe, None
        self.asked_at, self.is_new = None, True
        self.misses += 1
        if probe is not None:
            probe.close()

    def disown(self) -> None:
        """In a forked child: the connection is the parent's."""
        probe, self.probe = self.probe, None
        if probe is not None:
            try:
                fd = probe.fileno()
            except Exception:
                fd = -1  # It was not connected yet.
            sockets.disown(probe, fd)


class Monitor:
    """Of the primary ``primary`` and of all replicas that are read from.

    Once in each ``PROBE_INTERVAL`` it sends one query to each of them, on connections of its own
    that are no pool's, and takes in what comes back without waiting for a server, but for the
    resolution of a name. It is its thread's alone, but for what is said to be for others.
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
        #: Where the primary was to be found when the targets were made.
        self._addresses: list[dict[str, Any]] = []
        #: The primary was seen, and was one; and until when that is news.
        self._has_primary = False
        self._is_news_until = float("-inf")

    # For other threads

    @property
    def latest(self) -> Position | None:
        """Where the primary was seen last; ``None`` if that was long ago."""
        return self._samples.latest if time.monotonic() < self._is_news_until else None

    def watch(self, role: Any) -> None:
        """Ask the servers of a role from now on. Idempotent."""
        if app_settings().PROBE_INTERVAL <= 0 or not role.can_probe or not role.is_current:
            return
        with self._lock:
            self._roles[role.alias] = role  # In the place of one of settings that have changed.
        thread.watch(self)
        thread.hurry(self, 0.0)

    def want(self, change: int) -> None:
        """A thread waits for answers, or waits no more: ask as often as possible meanwhile."""
        with self._lock:
            self._wanted += change
        thread.hurry(self, 0.0)

    def after_fork(self) -> None:
        """In a forked child: what was asked is the parent's."""
        targets = self._targets
        self._reset()
        for target in targets:
            target.disown()

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
            for role in [one for one in self._roles.values() if not one.is_current]:
                del self._roles[role.alias]
            roles, is_wanted = list(self._roles.values()), self._wanted > 0
        self._find_targets(roles)
        if not roles:
            self._stop()
            return
        for target in self._targets:
            if target.asked_at is None and (is_wanted or target.due_at <= now):
                self._ask(target, now)
        self._listen(now + PATIENCE)
        for target in self._targets:
            if target.asked_at is not None and now - target.asked_at > LONGEST_ANSWER:
                self._fail(target, TimeoutError("it does not answer"), is_silent=True)
        for role in roles:
            role.hosts.note_probing(self._news_lasts())
        if is_wanted or any(one.asked_at is not None or one.due_at == 0.0 for one in self._targets):
            thread.hurry(self, STEP / 4 if is_wanted else STEP)

    def _stop(self) -> None:
        self._samples = Samples()  # Of servers that nothing reads from any more.
        thread.unwatch(self)
        with self._lock:
            has_roles = bool(self._roles)
        if has_roles:
            thread.watch(self)  # One came in between.

    @staticmethod
    def _news_lasts() -> float:
        """For how many seconds what was seen is taken for true."""
        return FORGETS_AFTER * app_settings().PROBE_INTERVAL + LONGEST_ANSWER + 1.0

    def _find_targets(self, roles: list[Any]) -> None:
        addresses = roles[0].addresses_of(None) if roles else []
        known = {id(target.role) for target in self._targets}
        if known == set(map(id, roles)) and addresses == self._addresses:
            return
        targets, self._targets, self._addresses = self._targets, [], addresses
        for target in targets:
            target.leave()
        if roles:
            self._targets.append(Target(roles[0], None))
        self._targets.extend(Target(role, host) for role in roles for host in role.hosts.all)

    def _ask(self, target: Target, now: float) -> None:
        host = target.host
        # Not a whole interval, or the jitter of the passes would make it skip every other one.
        target.due_at = now + app_settings().PROBE_INTERVAL / 2
        if host is None or host.state is not DOWN or now >= host.retry_at:
            self._guard(target, partial(target.begin, now))

    def _listen(self, until: float) -> None:
        while asked := self._find_awaited():
            left = max(until - time.monotonic(), 0.0)
            ready = await_any([one.probe for one in asked], left)
            if not ready:
                return
            for target in asked:
                if target.probe in ready:
                    self._guard(target, partial(self._advance, target))

    def _find_awaited(self) -> list[Target]:
        """Those whose answer is awaited, and that can be listened to."""
        for target in self._targets:
            if target.asked_at is not None and target.probe is not None:
                self._guard(target, target.probe.fileno)
        return [target for target in self._targets if target.asked_at is not None]

    def _guard(self, target: Target, act: Callable[[], object]) -> None:
        """Whatever becomes of one server, the others are looked at."""
        try:
            act()
        except ProbeRefused as refusal:
            logger.debug("%s does not tell how far it is: %s", target.host, refusal)
            self._take_in(target, Report(is_standby=target.host is not None, position=None))
        except ServerFull:
            target.leave()  # It says nothing of its own state.
        except Exception as error:
            self._fail(target, error)

    def _advance(self, target: Target) -> None:
        report = None if target.probe is None else target.probe.advance()
        if report is not None:
            self._take_in(target, report)

    def _take_in(self, target: Target, report: Report) -> None:
        asked_at, target.asked_at, target.is_new = target.asked_at, None, False
        if target.host is None:
            self._note_primary(target, report)
        else:
            self._note_replica(target, target.host, report, asked_at or 0.0)

    def _fail(self, target: Target, error: Exception, *, is_silent: bool = False) -> None:
        was_new, host = target.is_new, target.host
        target.leave()
        target.role.note_refused_probe(host, error)
        if not was_new and not is_silent:
            # The connection ended, perhaps because the server was started anew.
            target.misses -= 1
            self._ask(target, time.monotonic())
        elif host is not None:
            change = target.role.hosts.note_no_answer(host, is_silent=is_silent)
            target.role.tell(change, str(error).strip())
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
        now, settings = time.monotonic(), app_settings()
        spacing = max(settings.PROBE_INTERVAL / 2, 2 * settings.MAX_LAG_SECONDS / MOST_SAMPLES)
        self._samples.add(report.position, now, spacing)
        self._is_news_until = now + self._news_lasts()
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

    def _note_replica(self, target: Target, host: Host, report: Report, asked_at: float) -> None:
        settings = app_settings()
        lag = None
        if report.position is not None:
            lag = self._samples.lag_of(report.position, time.monotonic())
        bounds = Bounds(settings.MAX_LAG_SECONDS, settings.MAX_LAG_BYTES)
        change = target.role.hosts.note_report(host, report, lag, bounds, asked_at)
        target.role.tell(change, "it takes writes" if not report.is_standby else "it answers")


#: By primary. Made once.
_monitors: dict[str, Monitor] = {}


def monitor_of(primary: str) -> Monitor:
    """The one of a cluster."""
    return _monitors.setdefault(primary, Monitor(primary))
