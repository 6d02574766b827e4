"""The harness of the benchmarks: pairing, verdicts, the report, and the exit status."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks import contestants, markdown, plots
from benchmarks.__main__ import main
from benchmarks.clients import gated
from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.load import Load, all_at_once, distribution, keep_busy
from benchmarks.machine import Machine
from benchmarks.placement import Placement, placed
from benchmarks.progress import Progress
from benchmarks.report import Report, as_json
from benchmarks.rounds import Results, in_fresh_process, last_error, play
from benchmarks.run import Plan, conclude
from benchmarks.scenario import (
    Better,
    Metric,
    Outcome,
    Scenario,
    Stage,
    Target,
    at_least,
    at_most,
    at_most_above,
)
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.http import parse
from benchmarks.scenarios.orm import count_calls
from benchmarks.verdict import Status, Summary, exit_status, judge

ROOT = Path(__file__).resolve().parent.parent.parent


def nothing(stage: Stage) -> Outcome:
    raise AssertionError("no test runs it")


def scenario(*targets: Target, **changes: object) -> Scenario:
    values: dict[str, object] = {
        "name": "race",
        "does": "It runs.",
        "contestants": ("ours", "bare", "stock"),
        "metrics": (Metric("time", "ms"), Metric("laps", "", Better.MORE)),
        "targets": targets,
        "run": nothing,
        **changes,
    }
    return Scenario(**values)  # type: ignore[arg-type]


def results(*targets: Target, **times: list[float | str]) -> Results:
    """Turns with these times; a text is why a turn failed."""
    turns = {
        name: [turn if isinstance(turn, str) else Outcome({"time": turn}) for turn in line]
        for name, line in times.items()
    }
    return Results(scenario(*targets), Placement.FREE, turns)


def outcome_of(target: Target, **times: list[float | str]) -> tuple[Status, Summary | None, str]:
    (verdict,) = judge(results(target, **times))
    return verdict.status, verdict.reached, verdict.reason


# Verdicts


def test_ratios_are_of_the_same_round_so_that_a_slow_round_changes_nothing() -> None:
    """Ours took twice as long as the peer in every round; the last round was slow for both."""
    target = at_most(2.0, "time", of="bare")
    assert outcome_of(target, ours=[2, 4, 200], bare=[1, 2, 100]) == (
        Status.MET,
        Summary(2.0, 2.0, 2.0),
        "",
    )


def test_the_median_is_judged_and_the_extremes_are_shown() -> None:
    target = at_least(3.0, "time", of="bare")
    assert outcome_of(target, ours=[1, 3, 9], bare=[1, 1, 1]) == (
        Status.MET,
        Summary(3.0, 1.0, 9.0),
        "",
    )


def test_a_target_is_missed_on_the_wrong_side_of_its_bound() -> None:
    assert outcome_of(at_most(1.9, "time", of="bare"), ours=[2], bare=[1])[0] is Status.MISSED
    assert outcome_of(at_least(2.1, "time", of="bare"), ours=[2], bare=[1])[0] is Status.MISSED


def test_a_difference_is_ours_less_the_peers() -> None:
    target = at_most_above(25, "time", peer="bare")
    assert outcome_of(target, ours=[130], bare=[100]) == (Status.MISSED, Summary(30, 30, 30), "")


def test_a_value_needs_no_peer() -> None:
    assert outcome_of(at_most(1, "time"), ours=[1.0]) == (Status.MET, Summary(1, 1, 1), "")


def test_a_round_in_which_the_peer_failed_is_left_out() -> None:
    target = at_most(2.0, "time", of="bare")
    assert outcome_of(target, ours=[2, 9], bare=[1, "it broke"]) == (
        Status.MET,
        Summary(2, 2, 2),
        "",
    )


def test_a_failed_turn_of_ours_misses_the_target_however_fast_the_others_were() -> None:
    target = at_most(2.0, "time", of="bare")
    assert outcome_of(target, ours=[1, "it broke"], bare=[1, 1]) == (
        Status.MISSED,
        Summary(1, 1, 1),
        "django-connmgr failed: it broke",
    )


def test_a_peer_that_always_failed_leaves_its_target_unmeasured() -> None:
    target = at_most(2.0, "time", of="bare")
    assert outcome_of(target, ours=[1], bare=["it broke"]) == (
        Status.NOT_MEASURED,
        None,
        "psycopg connections, no Django failed: it broke",
    )


def test_a_peer_that_was_not_asked_for_leaves_its_target_unmeasured() -> None:
    status, _, reason = outcome_of(at_most(2.0, "time", of="bare"), ours=[1])
    assert (status, reason) == (
        Status.NOT_MEASURED,
        "psycopg connections, no Django was not asked for",
    )


def test_only_a_missed_target_makes_the_exit_status_1() -> None:
    met, missed = at_most(1, "time"), at_most(0.5, "time")
    unmeasured = at_most(1, "time", of="bare")
    assert exit_status(judge(results(met, unmeasured, ours=[1]))) == 0
    assert exit_status(judge(results(met, unmeasured, missed, ours=[1]))) == 1


# Rounds


def play_once(race: Scenario, *, peers: list[str] | None, **changes: object) -> Results:
    values = {"placement": Placement.FREE, "turn": lambda *_: Outcome({"time": 1.0}), **changes}
    return play(race, peers=peers, rounds=1, **values)  # type: ignore[arg-type]


def test_contestants_take_turns_in_every_round() -> None:
    order: list[str] = []

    def turn(scenario: Scenario, contestant: Contestant) -> Outcome:
        order.append(contestant.name)
        return Outcome({})

    race = scenario(contestants=("ours", "lock+deque"))
    play(race, Placement.FREE, peers=None, rounds=2, turn=turn)
    assert order == ["ours", "lock+deque", "ours", "lock+deque"]


def test_peers_choose_the_others_and_ours_always_takes_part() -> None:
    played = play_once(scenario(), peers=["stock"])
    assert list(played.turns) == ["ours", "stock"]


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(
        CONTESTANTS,
        "stranger",
        Contestant(name="stranger", title="A stranger", packages=("not-installed-anywhere",)),
    )
    return "stranger"


def test_a_peer_that_is_not_installed_takes_no_part_and_says_how_to_install_it(
    stranger: str,
) -> None:
    race = scenario(at_most(1, "time", of=stranger), contestants=("ours", stranger))
    played = play_once(race, peers=None)
    (verdict,) = judge(played)
    advice = "not-installed-anywhere is not installed: pip install --group benchmarks"
    assert (list(played.turns), played.missing) == (["ours"], {stranger: advice})
    assert (verdict.status, verdict.reason) == (Status.NOT_MEASURED, advice)


def test_a_scenario_without_its_program_is_has_no_turns() -> None:
    race = scenario(programs=("no-such-program",))
    played = play_once(race, peers=["stock"])
    advice = "no-such-program is not installed: apt-get install no-such-program"
    assert (played.turns, played.missing) == ({}, {"ours": advice, "stock": advice})


def test_active_record_is_missing_without_ruby(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contestants.shutil, "which", lambda name: None)
    contestants._gem_versions.cache_clear()
    try:
        with pytest.raises(contestants.Missing, match="apt-get install ruby-activerecord ruby-pg"):
            CONTESTANTS["active-record"].versions()
    finally:
        contestants._gem_versions.cache_clear()


def test_a_turn_that_raises_is_a_failure_with_its_last_line() -> None:
    turn = in_fresh_process(None, Placement.FREE, is_quick=True)
    failure = turn(SCENARIOS["core"], CONTESTANTS["stock"])
    assert failure == "exit status 1: ValueError: stock has no pool without Django"


def test_a_message_of_several_lines_is_told_whole_and_a_traceback_is_not() -> None:
    text = """\
a line on its own
Traceback (most recent call last):
  File "a.py", line 1, in b
    c()
d.Error: too late.
Do it sooner.
"""
    assert last_error(text) == "d.Error: too late. Do it sooner."
    assert last_error("") == "no message"


# Placements


def test_a_target_is_judged_only_in_its_placement() -> None:
    """Without one of its own, a target is judged in the first placement of its scenario."""
    race = scenario(
        at_most(1, "time"),
        at_most(2, "time", placement=Placement.PINNED),
        placements=(Placement.FREE, Placement.PINNED),
    )
    bounds = {
        placement: [
            (verdict.target.bound, verdict.placement)
            for verdict in judge(Results(race, placement, {"ours": [Outcome({"time": 1.0})]}))
        ]
        for placement in Placement
    }
    assert bounds == {
        Placement.FREE: [(1, Placement.FREE)],
        Placement.PINNED: [(2, Placement.PINNED)],
    }


def test_a_scenario_runs_in_all_its_placements_or_in_the_one_that_was_asked_for() -> None:
    both = scenario(placements=(Placement.FREE, Placement.PINNED))
    free = scenario(name="walk")

    def runs(placement: Placement | None) -> list[str]:
        plan = Plan(scenarios=[both, free], placement=placement)
        return [f"{scenario.name} {each}" for scenario, each in plan.runs()]

    assert runs(None) == ["race free", "race pinned", "walk free"]
    assert runs(Placement.PINNED) == ["race pinned", "walk pinned"]
    assert runs(Placement.FREE) == ["race free", "walk free"]


def test_results_in_another_than_the_first_placement_have_a_name_of_their_own() -> None:
    both = scenario(placements=(Placement.FREE, Placement.PINNED))
    names = [Results(both, placement).name for placement in both.placements]
    assert names == ["race", "race-pinned"]


needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system cannot pin processes"
)


@needs_affinity
def test_processes_started_while_pinned_have_one_processor_and_the_caller_has_all_again() -> None:
    def of_a_child() -> str:
        code = "import os; print(len(os.sched_getaffinity(0)))"
        return subprocess.check_output([sys.executable, "-c", code], text=True).strip()

    before = os.sched_getaffinity(0)
    with placed(Placement.FREE):
        assert of_a_child() == str(len(before))
    with placed(Placement.PINNED):
        assert of_a_child() == "1"
    assert os.sched_getaffinity(0) == before


def test_where_nothing_can_be_pinned_a_pinned_scenario_has_no_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    race = scenario(at_most(1, "time"), placements=(Placement.PINNED,))
    played = play_once(race, peers=[], placement=Placement.PINNED)
    (verdict,) = judge(played)
    reason = "this system cannot pin processes to a processor"
    assert (played.turns, played.missing) == ({}, {"ours": reason})
    assert (verdict.status, verdict.reason) == (Status.NOT_MEASURED, reason)


def test_the_report_says_where_a_scenario_ran() -> None:
    def described(placement: Placement, **changes: object) -> str:
        return markdown._describe_placement(Results(scenario(**changes), placement))

    pinned = (Placement.PINNED,)
    assert described(Placement.PINNED) == "Pinned: client and server shared one processor."
    assert described(Placement.PINNED, needs_server=False) == "Pinned: on one processor."
    assert described(Placement.FREE, placements=pinned, targets=(at_most(1, "time"),)) == (
        "Free: the operating system placed all processes. "
        "Its targets are judged in the other placement."
    )


# The report


def report(*targets: Target, **times: list[float | str]) -> Report:
    machine = Machine("2000-01-01", "Linux", "a processor", 2, {"Python": "3.99"})
    return Report(machine, [results(*targets, **times)], 120.0)


def test_the_report_has_targets_beside_ratios_and_every_contestant() -> None:
    text = markdown.render(
        report(
            at_most(2.0, "time", of="bare"),
            at_most(0.5, "time"),
            ours=[1, 3],
            bare=[1, 2],
            stock=["it broke", "it broke"],
        ),
        [Path("plots/race-waits.svg")],
    )
    assert (
        text
        == """\
# Results

Written by `python -m benchmarks`; [what it does](../docs/benchmarks.md).

2000-01-01, 2 cores of a processor, 2 minutes. Python 3.99.

## Targets

1 of 2 targets were met. Each number is the median of the rounds, and their least and most.

| scenario | placement | must reach | reached | met |
| --- | --- | --- | --- | --- |
| race | free | time: at most 2 times psycopg connections, no Django | 1.25 times (1 to 1.50) | yes |
| race | free | time: at most 0.5 ms | 2 ms (1 to 3) | **no** |

![race waits](plots/race-waits.svg)

## race

It runs. Free: the operating system placed all processes.

| contestant | time, ms (less is better) | laps (more is better) | time: `ours` to this |
| --- | --- | --- | --- |
| django-connmgr (`ours`) | 2 (1 to 3) |  |  |
| psycopg connections, no Django (`bare`) | 1.50 (1 to 2) |  | 1.25 times |
| Django, CONN_MAX_AGE=0 (`stock`); failed: it broke |  |  |  |
"""  # noqa: E501
    )


def test_a_curve_is_the_median_of_all_rounds_if_their_points_lie_together() -> None:
    rounds = [[(1.0, 1.0), (2.0, 5.0)], [(1.0, 2.0), (2.0, 4.0)], [(1.0, 9.0), (2.0, 6.0)]]
    turns = [Outcome({"time": n}, {"waits": curve}) for n, curve in enumerate(rounds)]
    plot = plots.Plot("waits", "Waits", "x", "y")
    played = Results(scenario(), Placement.FREE, {"ours": [*turns, "it broke"]})
    assert plots._curve(played, "ours", plot) == [(1.0, 2.0), (2.0, 5.0)]
    turns[0].series["waits"][0] = (0.5, 1.0)
    assert plots._curve(played, "ours", plot) == rounds[1]


def test_the_report_counts_what_was_not_measured_too() -> None:
    text = markdown.render(report(at_most(2.0, "time"), at_most(1, "time", of="bare"), ours=[1]))
    assert "\n1 of 2 targets were met, 1 were not measured. " in text


def test_the_readme_shows_three_figures_and_one_picture() -> None:
    times: dict[str, list[float | str]] = {
        "ours": [3, 3], "stock-persistent": [2, 2], "django-pool": [1, "it broke"],
    }  # fmt: skip
    race = results(**times)
    played = [
        race,
        *(
            dataclasses.replace(race, scenario=dataclasses.replace(race.scenario, name=name))
            for name in ("page", "request", "web")
        ),
    ]
    machine = Machine("2000-01-01", "Linux", "a processor", 2, {})
    pictures = [Path("plots/page-waits.svg"), Path("plots/threads-throughput.svg")]
    assert (
        markdown.render_summary(Report(machine, played, 120.0), pictures)
        == """\
- 64 threads on 4 connections, each request a query, 10 ms of other work and a query: \
**1.50 times** the requests per second of Django with 64 persistent connections, **3 times** \
those of Django's pool.
- 40 threads on 4 connections, each request ten queries of the ORM around 10 ms of other work: \
**1.50 times** the requests per second of Django with 40 persistent connections.
- A request of two queries on one thread: **1.50 times** the processor time of Django with a \
persistent connection.

![threads throughput](plots/threads-throughput.svg)"""
    )


def test_the_readme_leaves_out_what_could_not_be_compared() -> None:
    race = results(ours=[3], **{"stock-persistent": ["it broke"]})
    web = dataclasses.replace(race, scenario=dataclasses.replace(race.scenario, name="web"))
    machine = Machine("2000-01-01", "Linux", "a processor", 2, {})
    assert markdown.render_summary(Report(machine, [web], 120.0)) == ""


def test_the_readmes_figures_are_of_scenarios_that_there_are() -> None:
    for figure in markdown._FIGURES:
        assert set(figure.peers) < set(SCENARIOS[figure.scenario].contestants)
    assert {name.rpartition("-")[0] for name in plots.IN_REPOSITORY} <= set(SCENARIOS)


def test_a_picture_of_many_contestants_is_small(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the pictures")
    page = SCENARIOS["page"]
    waits = [n / 7 for n in range(2000)]
    turns: dict[str, list[Outcome | str]] = {
        name: [Outcome({}, distribution(waits))] for name in page.contestants
    }
    machine = Machine("2000-01-01", "Linux", "a processor", 2, {})
    plots.prepare()
    (path,) = plots.draw(
        Report(machine, [Results(page, Placement.PINNED, turns)], 1.0), tmp_path / "plots"
    )
    assert (path.name, path.stat().st_size < 30_000) == ("page-waits.svg", True)


def test_json_has_every_turn_and_every_verdict() -> None:
    (race,) = json.loads(as_json(report(at_most(2.0, "time"), ours=[1], bare=["it broke"])))[
        "scenarios"
    ]
    assert race["turns"] == {
        "ours": [{"measures": {"time": 1}, "series": {}}],
        "bare": [{"failed": "it broke"}],
    }
    assert [verdict["status"] for verdict in race["verdicts"]] == ["met"]


def test_a_missed_target_is_named_and_makes_the_exit_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(scenarios=[], results=tmp_path / "RESULTS.md")
    status = conclude(plan, report(at_most(0.5, "time", of="bare"), ours=[2], bare=[1]))
    assert status == 1
    assert capsys.readouterr().err == (
        "Missed: race (free): time: at most 0.5 times psycopg connections, no Django - 2 times\n"
    )
    assert "**no**" in plan.results.read_text() if plan.results else False


def test_the_readmes_lines_are_replaced_between_its_marks() -> None:
    text = f"before\n{markdown.BEGIN}\nold\n{markdown.END}\nafter\n"
    assert markdown.replace_between_marks(text, "new\n") == (
        f"before\n{markdown.BEGIN}\nnew\n{markdown.END}\nafter\n"
    )
    with pytest.raises(ValueError, match="no lines"):
        markdown.replace_between_marks("no marks", "new")


def test_the_readme_has_the_marks() -> None:
    markdown.replace_between_marks((ROOT / "README.md").read_text(), "new")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (4, "4"), (0.0512, "0.051"), (1.239, "1.24"), (23.45, "23.4"), (1234.5, "1234")],
)
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert markdown.number(value) == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_a_line_elsewhere() -> None:
    streams = {"terminal": Terminal(), "file": io.StringIO()}
    for stream in streams.values():
        progress = Progress(stream, 2)
        progress.begin("race")
        progress.step("ours")
        progress.end("1 met")
    assert f"[{'#' * 15}{'.' * 15}] 1 of 2  race: ours" in streams["terminal"].getvalue()
    assert streams["file"].getvalue().split() == ["race", "0.0", "s", "1", "met"]


# The command line


def test_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed for name in SCENARIOS)


def test_an_unknown_name_is_refused_with_those_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (
        ["core", "--pin", "--free"],
        ["cores"],
        ["core", "--peers", "nothing"],
        ["--rounds", "0"],
    ):
        with pytest.raises(SystemExit):
            main(arguments)
    errors = capsys.readouterr().err
    assert "no scenario is called 'cores'; there are: core, " in errors
    assert "no contestant is called 'nothing'; there are: ours, " in errors
    assert "must be 1 or more" in errors
    assert "not allowed with argument" in errors


def test_every_scenario_is_made_of_what_there_is() -> None:
    """Names that a scenario and its targets use exist, and it has one of ours."""
    for each in SCENARIOS.values():
        assert set(each.contestants) <= set(CONTESTANTS), each.name
        assert any(CONTESTANTS[name].is_ours for name in each.contestants), each.name
        assert each.placements, each.name
        for target in each.targets:
            assert target.placement in {None, *each.placements}, each.name
            assert target.metric in {metric.name for metric in each.metrics}, each.name
            assert {target.ours, target.peer or target.ours} <= set(each.contestants), each.name


@needs_affinity
def test_one_scenario_from_beginning_to_end(tmp_path: Path) -> None:
    """In processes of its own, as a user starts it."""
    numbers = tmp_path / "numbers.json"
    arguments = ["core", "--pin", "--peers", "lock+deque", "--quick", "--json", str(numbers)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONDEVMODE"},
        capture_output=True,
        text=True,
        check=False,
    )
    (core,) = json.loads(numbers.read_text())["scenarios"]
    times = {name: turns[0]["measures"]["time"] for name, turns in core["turns"].items()}
    statuses = [verdict["status"] for verdict in core["verdicts"]]
    assert core["placement"] == "pinned"
    assert (set(times), statuses[0]) == ({"ours", "lock+deque"}, "not measured")
    assert min(times.values()) > 0
    assert done.returncode == int("missed" in statuses), done.stderr
    assert "| django-connmgr (`ours`) |" in done.stdout


# What scenarios are made of


def test_threads_that_are_kept_busy_have_had_a_turn_before_time_begins() -> None:
    turned: set[int] = set()

    def turn() -> float:
        turned.add(threading.get_ident())
        return 1.0

    keep_busy(2, 0.0, turn)
    assert len(turned) == 2


def test_what_a_thread_raises_is_raised_where_the_load_was_asked_for() -> None:
    def fail() -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        keep_busy(2, 60.0, fail)
    with pytest.raises(ZeroDivisionError):
        all_at_once(2, fail)


def test_a_load_knows_how_even_it_was() -> None:
    load = Load(2.0, [1, 2, 3])
    assert (load.per_second, load.fewest_to_most, load.fewest_to_fair) == (3.0, 1 / 3, 0.5)


def test_function_calls_are_counted_also_those_written_in_c() -> None:
    def work() -> None:
        len("")

    # ``work()``, ``len()``, and the call that ends the counting.
    assert count_calls(work) == 3


def test_wrks_failures_are_errors_and_no_requests() -> None:
    output = """
  120 requests in 2.00s, 40.00KB read
  Socket errors: connect 1, read 2, write 0, timeout 4
  Non-2xx or 3xx responses: 20
"""
    assert parse(output) == (50.0, 23.0)
    assert parse("  1000 requests in 500.00ms, 1MB read") == (2000.0, 0.0)


def test_a_gate_lets_so_many_through_at_a_time() -> None:
    inside, let_go, order = threading.Semaphore(0), threading.Semaphore(0), []
    most, lock, now = [0], threading.Lock(), [0]

    def query() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            order.append(threading.current_thread().name)
        inside.release()
        assert let_go.acquire(timeout=20)
        with lock:
            now[0] -= 1

    ask = gated(query, 2)
    threads = [threading.Thread(target=ask, name=str(n)) for n in range(5)]
    for number, thread in enumerate(threads):
        thread.start()
        if number < 2:
            assert inside.acquire(timeout=20)
    for _ in range(3):
        let_go.release()
        assert inside.acquire(timeout=20)
    for _ in range(2):
        let_go.release()
    for thread in threads:
        thread.join(20)
    assert (most, now, sorted(order)) == ([2], [0], ["0", "1", "2", "3", "4"])
