"""Workers of every runner, with a server: what their tasks take, they give back."""

from __future__ import annotations

from collections import Counter, defaultdict

from .conftest import Run, ended
from .runners import SPAWNED


def test_every_run_of_a_task_is_a_unit(run: Run) -> None:
    units = ended(run.notes)
    assert Counter({name: units[name] for name in run.runner.runs}) == run.runner.runs


def test_nothing_is_leased_on_any_alias_after_a_task(run: Run) -> None:
    """Not by the thread that ran it, and in no pool once all is done."""
    assert [unit for unit in run.noted("ended") if unit["kept"]] == []
    at_last = {unit["process"]: unit["taken"] for unit in run.noted("ended")}
    assert [taken for taken in at_last.values() if any(taken.values())] == []


def test_hooks_that_query_after_a_task_are_inside_a_unit(run: Run) -> None:
    hooks = run.noted("hook")
    assert {hook["hook"] for hook in hooks} == set(run.runner.runs)
    assert [hook for hook in hooks if is_outside(hook["inside"])] == []


def is_outside(unit: str | None) -> bool:
    """The unit of the command that runs a worker is not a task's; children inherit it."""
    return unit is None or unit.startswith("manage.py")


def test_the_server_counts_no_more_connects_than_tasks_run_at_once(run: Run) -> None:
    assert max(run.connects.values()) <= run.runner.connects + SPAWNED, run.connects


def test_no_connection_is_shared_over_a_fork(run: Run) -> None:
    processes = defaultdict(set)
    for note in run.noted("answers"):
        for pid in note["answers"].values():
            processes[pid].add(note["process"])
    assert {pid: who for pid, who in processes.items() if len(who) > 1} == {}
