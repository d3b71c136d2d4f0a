"""Base models of the Hugging Face Hub, pinned to a commit and then to their files.

A branch or tag is resolved to its commit. What a commit's loaded files are is
found out once, by fetching them and holding them against what the Hub lists;
after that a memo says it, so planning again needs neither network nor files.
The key holds those files, exactly as for a directory with the same files.

Files are kept where the user's own tools keep them: ``HF_HOME``, ``HF_TOKEN``,
``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` mean what they mean there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from motools.digest import canonical_json, hash_bytes
from motools.errors import BackendError
from motools.memo import Memo
from motools.training.local import base
from motools.training.local.hub_errors import told
from motools.training.protocol import BaseModel, Report

if TYPE_CHECKING:
    from huggingface_hub import RepoFile

_NAMESPACE: Final = "hub/1"
_REFERENCE: Final = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([^@\s]+))?", re.ASCII)
_COMMIT: Final = re.compile("[0-9a-f]{40}")
_SMALL: Final = (base.CONFIG, base.ADAPTER, base.WEIGHTS_INDEX, *base.COMPANIONS)
_CHUNK: Final = 1 << 20
_TIMEOUT: Final = 30

_LOADED: Final = hash_bytes(canonical_json(sorted(_SMALL))).short
"""Which files are looked for: a memo made with others is not recalled."""


@dataclass(frozen=True)
class Reference:
    """A model of the Hub, as a user names it.

    Attributes:
        repo: its name, as in ``org/name``.
        revision: a branch, a tag or a commit of 40 hexadecimal characters.
    """

    repo: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}"


def parse(name: str) -> Reference | None:
    """The reference that a name is; None: it cannot be one."""
    found = _REFERENCE.fullmatch(name)
    return Reference(found[1], found[2] or "main") if found else None


def identify(reference: Reference, memo: Memo) -> BaseModel:
    """The base model that a reference means now.

    Args:
        reference: a commit that is known is looked up in the memo alone; a branch
            or tag is asked for, or with ``HF_HUB_OFFLINE`` taken from the local cache.
        memo: remembers what the files of a commit are.

    Raises:
        BackendError: it is not there, cannot be reached, or cannot be pinned.
    """
    commit = _commit(reference)
    pinned = f"{reference.repo}@{commit}"
    known = memo.recall(_NAMESPACE, pinned, _LOADED)
    if known is None:
        directory = _fetch(reference, commit)
        found = base.identify(str(directory), memo.digest_file)
        known = {
            "files": found.spec["files"],
            "max_length": found.max_length,
            "chat_template": found.chat_template,
        }
        memo.record(_NAMESPACE, pinned, _LOADED, known)
    return BaseModel(
        name=str(reference),
        digest=base.manifest_digest(known["files"]),
        spec={"kind": "hub", "repo": reference.repo, "commit": commit, "files": known["files"]},
        max_length=known["max_length"],
        chat_template=known["chat_template"],
        provenance={"base_model_pinned": pinned},
    )


def on_disk(spec: Mapping[str, Any], report: Report | None = None) -> Mapping[str, Any]:
    """What a process without a network loads a base model from; fetches what is missing.

    Args:
        spec: of a :class:`BaseModel` of any kind; only those of the Hub are changed.
        report: is told of a download and how far it is.

    Raises:
        BackendError: files are missing here and cannot be fetched.
    """
    if spec["kind"] != "hub":
        return spec
    repo, commit, files = spec["repo"], spec["commit"], spec["files"]
    with told(repo, commit):
        directory = _download(repo, commit, list(files), report)
    return {
        "kind": "directory",
        "path": str(directory),
        "files": files,
        "again": f"`hf download {repo} --revision {commit} --force-download` restores it",
    }


def _commit(reference: Reference) -> str:
    """The commit that a reference means: always asked for, since branches move."""
    if _COMMIT.fullmatch(reference.revision):
        return reference.revision
    with told(reference.repo, reference.revision):
        from huggingface_hub import HfApi, is_offline_mode

        api = HfApi()
        if is_offline_mode():
            return api.resolve_revision(
                reference.repo, revision=reference.revision, local_files_only=True
            ).resolved
        found = api.model_info(reference.repo, revision=reference.revision, timeout=_TIMEOUT)
        return str(found.sha)


def _fetch(reference: Reference, commit: str) -> Path:
    """A directory that has all files of a commit that are loaded, as the Hub lists them."""
    with told(reference.repo, reference.revision):
        from huggingface_hub import get_cached_repo_tree

        # By its own name, so that the branch is known without a network from now on.
        directory = _download(reference.repo, reference.revision, _SMALL)
        if directory.name != commit:
            raise BackendError(f"base model '{reference}' moved just now: run it again")
        base.read_config(directory)
        tree = get_cached_repo_tree(reference.repo, revision=commit)
        listed = {file.path: file for file in tree}
        _download(reference.repo, commit, _weights(reference, directory, listed))
        for name in base.loaded(directory):
            _check(directory / name, listed.get(name), reference)
    return directory


def _weights(reference: Reference, directory: Path, listed: Mapping[str, RepoFile]) -> list[str]:
    if base.WEIGHTS in listed:
        return [base.WEIGHTS]
    if base.WEIGHTS_INDEX in listed:
        return base.read_shards(directory / base.WEIGHTS_INDEX)
    raise BackendError(
        f"base model '{reference}' has no {base.WEIGHTS}, and other formats may be pickles, which "
        "are not loaded; take a revision or another repository that has safetensors"
    )


def _download(repo: str, revision: str, names: Sequence[str], report: Report | None = None) -> Path:
    """The directory of a commit, with these files in it as far as the commit has them."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    options: dict[str, Any] = {"revision": revision, "allow_patterns": list(names)}
    if _COMMIT.fullmatch(revision):
        try:
            here = Path(snapshot_download(repo, local_files_only=True, **options))
            if all((here / name).is_file() for name in names):
                return here
        except LocalEntryNotFoundError:
            pass  # fetched below
    if report is not None:
        report(f"downloading {repo} at {revision[:12]}")
        options["tqdm_class"] = _reporting(report, repo)
    return Path(snapshot_download(repo, **options))


def _reporting(report: Report, repo: str) -> Any:
    """A progress bar that reports instead of drawing."""
    from tqdm import tqdm

    class Reporting(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": False, "mininterval": 1.0})

        def display(self, *_: Any, **__: Any) -> None:
            if self.unit == "B" and self.total:
                report(f"downloading {repo}: {self.n / 1e6:,.0f} of {self.total / 1e6:,.0f} MB")

    return Reporting


def _check(path: Path, listed: RepoFile | None, reference: Reference) -> None:
    """Hold a file against the digest that the Hub lists for it: SHA-256, or git's SHA-1."""
    wanted: str | None
    if listed is not None and listed.lfs is not None:
        hasher, wanted = hashlib.sha256(), listed.lfs.sha256
    else:
        hasher, wanted = hashlib.sha1(usedforsecurity=False), listed.blob_id if listed else None
        hasher.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as stream:
        while data := stream.read(_CHUNK):
            hasher.update(data)
    if hasher.hexdigest() != wanted:
        raise BackendError(
            f"base model '{reference}': {path} is not what the Hub lists for it; fetch it again "
            f"with `hf download {reference.repo} --revision {reference.revision} --force-download`"
        )
