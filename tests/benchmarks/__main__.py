"""Run the benchmarks: ``python -m tests.benchmarks [name …]``."""

from __future__ import annotations

import os
import platform
import sys

from tests.benchmarks import (
    coordinators,
    evaluating,
    files,
    flows,
    hits,
    large,
    remotes,
    serving,
    starting,
    sweeps,
    training,
    transport,
    upkeep,
)
from tests.benchmarks.figures import show

BENCHMARKS = {
    "hit": hits.one_hit,
    "look_up": hits.many_hits,
    "coordinators": coordinators.coordinators,
    "hash": files.hash_large,
    "add": files.add_small,
    "start": starting.commands,
    "flow": flows.all_hits,
    "sweep": sweeps.all_hits,
    "sweep_misses": sweeps.all_misses,
    "upkeep": upkeep.upkeep,
    "transport": transport.clients,
    "remotes": remotes.exchange,
    "train": training.one_minute,
    "train_gpu": large.one_billion,
    "evaluate": evaluating.one_evaluation,
    "serve": serving.serving,
}


def main() -> int:
    """Run those named on the command line, or all."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # who has installed motools has it compiled
    names = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.system()}")
    show([figure for name in names for figure in BENCHMARKS[name]()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
