"""Remotes: places where caches exchange entries. Knows no kind, no step, no Prefect."""

from __future__ import annotations

from motools.remotes.bundles import export_bundle, import_bundle
from motools.remotes.fetching import Copies
from motools.remotes.pruning import PrunePlan, prune
from motools.remotes.pruning import plan as plan_prune
from motools.remotes.pulling import Pulled, pull
from motools.remotes.pushing import Pushed, push
from motools.remotes.remote import Remote, add_remote, held, open_remote
from motools.remotes.selected import entries_there
from motools.remotes.selected import named as find_keys
from motools.remotes.status import Diverged, Status, compare
from motools.remotes.verifying import verify_remote

__all__ = [
    "Copies",
    "Diverged",
    "PrunePlan",
    "Pulled",
    "Pushed",
    "Remote",
    "Status",
    "add_remote",
    "compare",
    "entries_there",
    "export_bundle",
    "find_keys",
    "held",
    "import_bundle",
    "open_remote",
    "plan_prune",
    "prune",
    "pull",
    "push",
    "verify_remote",
]
