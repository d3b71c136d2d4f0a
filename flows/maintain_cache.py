"""Keep the cache within its budget: files that are over it go, records stay.

python flows/maintain_cache.py --max-size 50GB --max-age 90d
"""

import argparse

from prefect import flow, get_run_logger

from motools import prune_cache


@flow(name="maintain-cache")
def maintain_cache(
    cache_dir: str | None = None,
    max_size: str | None = None,
    max_age: str | None = None,
    dry_run: bool = False,
) -> str:
    """What went, in a sentence; each thing is in the log, with its size and what it cost.

    Without limits the budget in the settings counts.
    """
    pruned = prune_cache(cache_dir, max_size=max_size, max_age=max_age, dry_run=dry_run)
    log = get_run_logger()
    for each in pruned.listing:
        log.info("%s%s", "would go: " if dry_run else "", each)
    return str(pruned)


def main() -> None:
    """Run the flow from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache-dir", help="by default that of the settings")
    parser.add_argument("--max-size", help="what all files may take, as in 50GB")
    parser.add_argument("--max-age", help="how long files are kept unused, as in 90d")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and stop")
    given = parser.parse_args()
    print(maintain_cache(given.cache_dir, given.max_size, given.max_age, given.dry_run))


if __name__ == "__main__":
    main()
