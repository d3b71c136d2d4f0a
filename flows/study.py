"""Run a sweep that is written in a file; what is done is skipped.

python flows/study.py study.yaml
"""

import argparse

from prefect import flow

from motools import run_sweep


@flow(name="study")
def study(file: str) -> str:
    """What came of the sweep, in a sentence.

    Raises:
        RuntimeError: some steps failed; the others have run.
    """
    run = run_sweep(file)
    if run.failures:
        raise RuntimeError(f"{run}; first: {run.failures[0].reason}")
    return str(run)


def main() -> None:
    """Run the flow from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="the sweep; `motools sweep init` writes one")
    print(study(parser.parse_args().file))


if __name__ == "__main__":
    main()
