"""What can go wrong between here and the Hugging Face Hub, each in its own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from motools.errors import BackendError


@contextmanager
def told(repo: str, revision: str) -> Iterator[None]:
    """Say what the Hub's library raises, about which model, and what to do.

    Args:
        repo: the model's name.
        revision: as it was asked for.

    Raises:
        BackendError: whatever was raised in the block.
    """
    name = (
        f"base model '{repo}@{revision}', taken for one of the Hugging Face Hub (no directory here)"
    )
    try:
        yield
    except BackendError:
        raise
    except ImportError:
        raise BackendError(
            f"{name}: that needs the package huggingface_hub: pip install 'motools[local]'"
        ) from None
    except Exception as problem:
        raise BackendError(f"{name}: {_reason(problem, repo, revision)}") from problem


def _reason(problem: Exception, repo: str, revision: str) -> str:
    from huggingface_hub import errors, is_offline_mode

    not_here = (
        errors.LocalEntryNotFoundError,
        errors.RevisionResolutionError,
        errors.CachedRepoTreeNotFoundError,
    )
    if is_offline_mode() and isinstance(problem, (*not_here, errors.OfflineModeIsEnabled)):
        return (
            f"HF_HUB_OFFLINE is set, and {revision!r} or some of its files are not in the local "
            f"cache; once with a network: `hf download {repo} --revision {revision}` "
            f"({_first_line(problem)})"
        )
    # Where a file is not here because it could not be fetched, that is the reason.
    cause = problem.__cause__ if isinstance(problem, not_here) and problem.__cause__ else problem
    unreachable = (
        "the Hub cannot be reached; a commit of 40 characters that was used before needs no "
        "network, nor does HF_HUB_OFFLINE=1 with a model in the local cache"
    )
    answers: list[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = [
        (
            errors.GatedRepoError,
            "the Hub gives it only to those who were granted access; ask on the model's page, "
            "then `hf auth login` or set HF_TOKEN",
        ),
        (errors.RevisionNotFoundError, f"it has no branch, tag or commit {revision!r}"),
        (
            errors.RepositoryNotFoundError,
            "the Hub has no such model, or it is private and needs `hf auth login` or HF_TOKEN",
        ),
        (errors.HfHubHTTPError, "the Hub answered with an error"),
        ((ConnectionError, TimeoutError), unreachable),
        (OSError, "it cannot be kept in the local cache of the Hub's tools"),
        (BaseException, unreachable),  # errors of the HTTP library, which has two names
    ]
    said = next(answer for kind, answer in answers if isinstance(cause, kind))
    return f"{said} ({type(cause).__name__}: {_first_line(cause)})"


def _first_line(problem: BaseException) -> str:
    return str(problem).strip().partition("\n")[0]
