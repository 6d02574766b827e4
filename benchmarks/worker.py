"""One contestant's turn, in a fresh process; prints one line of JSON.

``python -m benchmarks.worker SCENARIO CONTESTANT [--quick] [--green]``
"""

from __future__ import annotations

import argparse
import json
import os
import sys


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker")
    parser.add_argument("scenario")
    parser.add_argument("contestant")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--green", action="store_true")
    options = parser.parse_args()
    if options.green:
        from gevent import monkey

        monkey.patch_all()
    # Later, because gevent patches what they import.
    from .contestants import CONTESTANTS
    from .scenario import Stage
    from .scenarios import SCENARIOS
    from .server import VARIABLE, Address

    server = Address.from_text(os.environ.get(VARIABLE, "{}"))
    stage = Stage(CONTESTANTS[options.contestant], server, options.quick)
    outcome = SCENARIOS[options.scenario].run(stage)
    sys.stdout.write(json.dumps({"measures": outcome.measures, "series": outcome.series}) + "\n")
    sys.stdout.flush()
    # Without what a contestant's pool does at exit: it is not measured, and may take long.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
