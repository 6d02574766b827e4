"""A million steps of owners, waiters, thieves and ends of units for one token."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from django_connmgr._pool.slot import FREE, KEPT, PARKED, Claim

pytestmark = pytest.mark.stress

STEPS = 1_000_000
PLAYERS = 4


class Connection:
    """What one user at a time may touch. Each use leaves a stamp and looks whether it stays."""

    def __init__(self) -> None:
        self.claim = Claim()
        self.stamp: object = None
        self.uses = 0

    def use(self, me: object) -> None:
        assert self.stamp is None, "somebody else is using it"
        self.stamp = me
        uses = self.uses
        for _ in range(3):  # Threads are switched at the ends of loops and calls.
            assert self.stamp is me, "somebody else came in"
        self.uses = uses + 1
        self.stamp = None

    def lend(self, place: str) -> None:
        """To nobody yet, by whoever has it: a lease of its own, with a token of its own."""
        claim = Claim()
        self.claim = claim
        claim.put_down(place)


class Player(threading.Thread):
    """Takes its share of the steps, from the moment that all are there."""

    def __init__(self, connection: Connection, gate: threading.Barrier) -> None:
        super().__init__()
        self.connection = connection
        self.gate = gate
        self.uses = 0
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.gate.wait(30)
            for step in range(STEPS // PLAYERS):
                self.step(step)
        except BaseException as error:
            self.error = error

    def step(self, step: int) -> None:
        raise NotImplementedError

    def use(self) -> None:
        self.connection.use(self)
        self.uses += 1


class OwnerOfIt(Player):
    """Picks its own token up while it has it, and takes over another if it was taken."""

    mine = Claim()

    def step(self, step: int) -> None:
        if self.mine.pick_up():
            self.use()
            self.mine.put_down((FREE, PARKED, FREE, KEPT)[step % 4])
        else:
            self.mine = self.connection.claim


class Taker(Player):
    take: Callable[[Claim], bool]
    place = FREE

    def step(self, step: int) -> None:
        if type(self).take(self.connection.claim):
            self.use()
            self.connection.lend(self.place)


class Waiter(Taker):
    take = Claim.reclaim


class EndOfUnit(Taker):
    take = Claim.collect


class Thief(Taker):
    take = Claim.unpark
    place = PARKED


@pytest.mark.timeout(300)
def test_a_million_steps_never_give_a_connection_two_users() -> None:
    connection, gate = Connection(), threading.Barrier(PLAYERS)
    connection.lend(FREE)
    players = [kind(connection, gate) for kind in (OwnerOfIt, Waiter, EndOfUnit, Thief)]
    for player in players:
        player.join(250)
        assert not player.is_alive()
    assert [player.error for player in players] == [None] * PLAYERS
    uses = [player.uses for player in players]
    assert sum(uses) == connection.uses
    assert connection.uses > STEPS // 100, uses
