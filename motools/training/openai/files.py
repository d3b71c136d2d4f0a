"""Datasets at an API: uploaded under the name of their content, and used again."""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias

from motools.digest import hash_bytes
from motools.errors import BackendError, BackendUnavailableError
from motools.training.openai.asking import asking, checked, every, preparing

if TYPE_CHECKING:
    from openai import OpenAI

_PURPOSE: Final = "fine-tune"
_NAME: Final = re.compile(r"motools-([0-9a-f]{64})(?:-\w+)?\.jsonl")
_UPLOAD_TIMEOUT: Final = 300.0
"""Seconds without any progress."""

_sending: Final[dict[tuple[int, str, str], threading.Lock]] = {}
"""By process, API and name: held by the thread that looks for a file, and sends it."""

Writer: TypeAlias = Callable[[IO[bytes], IO[bytes]], None]
"""Writes rows in the form that an API wants; its name is part of the file's."""


def uploaded(
    client: OpenAI, host: str, path: Path, digest: str, written: Writer | None = None
) -> str:
    """The id of a file at an API that has the content of a dataset; it is sent if none has.

    Args:
        client: of the API.
        host: of the API, for errors.
        path: JSON lines in canonical form.
        digest: of the dataset.
        written: writes the lines as the API wants them, if not as they are.

    Raises:
        SubmissionRefusedError: the account's quota is used up.
        BackendError: the API does not take the file.
        BackendUnavailableError: it cannot be reached.
    """
    name = f"motools-{digest}.jsonl"
    with ExitStack() as held:
        content: IO[bytes] = held.enter_context(path.open("rb"))
        if written is not None:
            name = f"motools-{digest}-{written.__name__}.jsonl"
            rows, content = content, held.enter_context(tempfile.TemporaryFile())
            written(rows, content)
        size = content.seek(0, os.SEEK_END)
        content.seek(0)
        # Trainings that start together mostly have one dataset.
        held.enter_context(_sending.setdefault((os.getpid(), host, name), threading.Lock()))
        if (there := _first(client, host, name, size)) is not None:
            return there
        # Once: after a lost answer the file may be there, which is looked for first.
        once = client.with_options(max_retries=0)
        with preparing(host, f"uploading {size:,} bytes"):
            # An open file, not a path: the SDK reads the file at a path into memory.
            file = once.files.create(
                file=(name, content), purpose=_PURPOSE, timeout=_UPLOAD_TIMEOUT
            )
    checked(file, host, f"uploading {size:,} bytes", id=str, bytes=int)
    if file.bytes != size:
        raise BackendError(f"{host} has {file.bytes:,} of {size:,} bytes as {file.id}")
    # Another process may have sent it, too. Neither is deleted: somebody may have found it first,
    # and have a job that needs it.
    return file.id


def _first(client: OpenAI, host: str, name: str, size: int) -> str | None:
    """The earliest of the files with a name and a size."""
    with preparing(host, "looking for the dataset among its files"):
        there = [
            (file.created_at, file.id)
            for file in every(client.files.list(purpose=_PURPOSE), host)
            if file.filename == name and file.bytes == size and file.status != "error"
        ]
    return min(there)[1] if there else None


def preferences(rows: IO[bytes], target: IO[bytes]) -> None:
    """Preferences as OpenAI takes them (its guide "Direct preference optimization")."""
    for line in rows:
        row: Mapping[str, Any] = json.loads(line)
        given = {name: row[name] for name in ("tools",) if name in row}
        sent = {
            "input": {"messages": row["prompt"], **given},
            "preferred_output": row["chosen"],
            "non_preferred_output": row["rejected"],
        }
        target.write(json.dumps(sent, ensure_ascii=False).encode() + b"\n")


def _as_given(sent: Mapping[str, Any]) -> dict[str, Any]:
    """A row of :func:`preferences` as motools takes it; other fields show as they are."""
    rest = dict(sent)
    given = dict(rest.pop("input"))
    row = {
        "prompt": given.pop("messages"),
        "chosen": rest.pop("preferred_output"),
        "rejected": rest.pop("non_preferred_output"),
    }
    return row | given | rest


def downloaded(
    client: OpenAI, host: str, file_id: str, place: Path, *, prefers: bool
) -> str | Path | None:
    """The rows of a file at an API: a file that has them, or their digest by its name.

    Args:
        client: of the API.
        host: of the API, for errors.
        file_id: which.
        place: a directory for it.
        prefers: whether its rows are preferences, in the API's form.

    Returns:
        None: the file is gone, or cannot be read and has another's name.

    Raises:
        BackendUnavailableError: the API cannot be reached.
    """
    # By their digests: at some APIs an id looks like a path.
    raw = place / hash_bytes(file_id.encode()).hex
    rows = raw.with_suffix(".jsonl")
    try:
        with (
            asking(host, f"the rows of {file_id}"),
            client.files.with_streaming_response.content(file_id) as content,
        ):
            content.stream_to_file(raw)
    except BackendUnavailableError:
        raise
    except BackendError:  # an API need not hand out training files
        return _named(client, host, file_id)
    if not prefers:
        return raw
    with raw.open("rb") as source, rows.open("wb") as target:
        for line in source:
            try:
                row = json.dumps(_as_given(json.loads(line)), ensure_ascii=False).encode()
            except (ValueError, KeyError, TypeError, AttributeError):
                return None  # no such rows
            target.write(row + b"\n")
    return rows


def _named(client: OpenAI, host: str, file_id: str) -> str | None:
    try:
        with asking(host, file_id):
            found = _NAME.fullmatch(client.files.retrieve(file_id).filename)
    except BackendUnavailableError:
        raise
    except BackendError:
        return None
    return None if found is None else found[1]
