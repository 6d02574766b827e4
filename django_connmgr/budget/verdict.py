"""Whether what may be asked of a server at worst fits into what it takes."""

from dataclasses import dataclass

from .demand import Address, Demand
from .supply import Supply


@dataclass(frozen=True)
class Verdict:
    """Of one server, for so many processes, of so many threads if that is known."""

    address: Address
    demand: Demand
    supply: Supply
    processes: int
    threads: int | None

    @property
    def most(self) -> int | None:
        """The most connections that all processes open; ``None`` if nothing bounds them."""
        of_one = self.demand.most(self.threads)
        return None if of_one is None else self.processes * of_one

    @property
    def excess(self) -> int:
        """How many connections too many: 0 if it fits, or the limit is not known."""
        available = self.supply.available
        if available is None or self.most is None:
            return 0
        return max(self.most - available, 0)

    @property
    def fits(self) -> bool:
        """Also if the server has no limit, or its limit is not known."""
        return self.supply.available is None or (self.most is not None and not self.excess)

    def advice(self) -> str:
        """What to do if it does not fit."""
        available = self.supply.available or 0
        pools, probes = len(self.demand.bounds), self.demand.probes
        each = (available // self.processes - probes) // max(pools, 1)
        aliases = ", ".join(sorted(self.demand.bounds))
        if each >= 1:
            return f"Set OPTIONS['pool']['max_size'] to {each} or less ({aliases})."
        return (
            f"Even a pool of 1 ({aliases}) is too much for {self.processes} processes: run fewer "
            "with more threads, or put PgBouncer in front of the server."
        )
