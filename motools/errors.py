"""Every error that motools raises on purpose.

::

    MotoolsError
    ├── SettingsError              a setting is missing, unknown or out of range
    ├── CanonicalError             a value has no canonical form (TypeError)
    ├── ConfigError                a typed config field is wrong (ValueError)
    ├── DatasetError               a dataset row or file is wrong (ValueError)
    ├── SourceError                source code is out of reach or cannot be pinned
    ├── BackendError               a backend is unknown or cannot do what was asked
    │   ├── BackendUnavailableError  a provider cannot be reached or does not say: unknown
    │   ├── SubmissionRefusedError   a provider did not take a job
    │   └── WorkerError            a worker process failed
    │       ├── TrainingError      training ended without a model
    │       └── EvaluationError    an evaluation failed or is incomplete
    │           └── PromptTooLongError  a conversation has no room in a model's context
    ├── MissingExtraError          a library that an extra brings is not installed (ImportError)
    ├── StoppedError               a person interrupted it
    ├── SweepLimitError            a sweep would cost or take more than is allowed
    ├── ResultError                a function's result cannot be stored (TypeError)
    └── CacheError                 the cache cannot answer or cannot store
        ├── CacheNotFoundError     there is no cache here (FileNotFoundError)
        ├── CacheVersionError      the cache was written by a newer motools
        ├── CacheUnavailableError  store or database cannot be read or written: unknown
        │   └── CorruptDatabaseError  ``cache.db`` is damaged
        ├── CorruptDocumentError   an entry's document is damaged
        ├── CorruptBlobError       bytes differ from their digest
        ├── MissingBlobError       bytes that a record promises are not there
        ├── ReleasedError          the bytes were pruned or retired on purpose
        ├── KeyNotFoundError       no entry has this key or prefix (LookupError)
        ├── AmbiguousKeyError      several entries share this prefix (LookupError)
        ├── RejectedError          somebody said that the entry is not to be used
        ├── UntrustedError         nobody who is trusted vouches for an entry from outside
        ├── RemoteError            a remote is unknown, refused, or not one
        ├── LeaseLostError         another runner holds this key now
        ├── LeaseTimeoutError      another runner did not finish in time (TimeoutError)
        ├── SubmissionUnsettledError  it is unknown whether a paid job was submitted
        └── RemovalError           a removal was refused

A message says what happened, which key, path or field, and what to do next.
"""

from __future__ import annotations


class MotoolsError(Exception):
    """Base of every error that motools raises on purpose."""


class SettingsError(MotoolsError):
    """A setting is missing, unknown or out of range."""


class CanonicalError(MotoolsError, TypeError):
    """A value has no canonical form.

    Args:
        path: where the value stands, as in ``config.learning_rate`` or ``inputs[3]``.
        reason: what is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path or 'value'}: {reason}")
        self.path = path
        self.reason = reason


class ConfigError(MotoolsError, ValueError):
    """A typed config field has the wrong type, value or name."""


class DatasetError(MotoolsError, ValueError):
    """A dataset row or file is wrong; the message names the file and the line.

    Attributes:
        row: the number of the row, from 1; None: it is not about one row.
    """

    row: int | None = None


class SourceError(MotoolsError):
    """Source code that belongs in a key is out of reach or cannot be pinned."""


class BackendError(MotoolsError):
    """A backend is unknown or cannot do what was asked of it."""


class BackendUnavailableError(BackendError):
    """A provider cannot be reached or does not say, so the answer is unknown.

    Attributes:
        after: seconds until it should be asked again, where it said so.
    """

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class SubmissionRefusedError(BackendError):
    """A provider did not take a job; nothing was submitted.

    Attributes:
        after: seconds after which it may take it, where that is only a matter of time; None:
            it will not.
    """

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class MissingExtraError(MotoolsError, ImportError):
    """A library that only some of motools needs is not installed; the message says how to."""


class WorkerError(BackendError):
    """A worker process failed; the message ends with what it printed last."""


class TrainingError(WorkerError):
    """Training ended without a model."""


class EvaluationError(WorkerError):
    """An evaluation failed or is incomplete."""


class PromptTooLongError(EvaluationError):
    """A conversation has no room in a model's context."""


class StoppedError(MotoolsError):
    """Work ended because its process was interrupted; run again, it goes on."""


class SweepLimitError(MotoolsError):
    """A sweep would cost more, or take longer, than is allowed."""


class ResultError(MotoolsError, TypeError):
    """A function's result is of a type that the cache cannot store."""


class CacheError(MotoolsError):
    """The cache cannot answer or cannot store.

    Its message may quote what strangers wrote, into a remote for one, so that whatever
    a terminal would obey is made visible.
    """

    def __str__(self) -> str:
        return visible(super().__str__())


def visible(text: str) -> str:
    """Text from elsewhere, with escapes for what has no shape of its own, but for line ends."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t\u00a0" else repr(each)[1:-1] for each in text
    )


class CacheNotFoundError(CacheError, FileNotFoundError):
    """There is no cache at this place."""


class CacheVersionError(CacheError):
    """The cache was written by a newer motools than this one."""


class CacheUnavailableError(CacheError):
    """Store or database cannot be read or written, so the answer is unknown."""


class CorruptDatabaseError(CacheUnavailableError):
    """``cache.db`` is damaged; ``motools cache reindex`` rebuilds it."""


class CorruptDocumentError(CacheError):
    """The document of an entry is damaged or is not the entry it is named after."""


class CorruptBlobError(CacheError):
    """Bytes differ from their digest."""


class MissingBlobError(CacheError):
    """Bytes that a record promises are not there."""


class ReleasedError(CacheError):
    """The bytes were pruned or retired on purpose; the record is kept."""


class KeyNotFoundError(CacheError, LookupError):
    """No entry has this key or prefix."""


class AmbiguousKeyError(CacheError, LookupError):
    """Several entries share this prefix."""


class RejectedError(CacheError):
    """Somebody said that the entry is not to be used; the message gives the reason."""


class UntrustedError(CacheError):
    """Nobody who is trusted vouches for an entry from outside."""


class RemoteError(CacheError):
    """A remote is unknown or refused, or there is none at its place."""


class LeaseLostError(CacheError):
    """The lease was taken over; what was computed under it is not stored."""


class LeaseTimeoutError(CacheError, TimeoutError):
    """Another runner of the same key did not finish in time."""


class SubmissionUnsettledError(CacheError):
    """It is unknown whether a paid job was submitted; nothing is sent until that is settled.

    Attributes:
        after: seconds after which it can be told, where that is only a matter of time.
    """

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class RemovalError(CacheError):
    """A removal was refused; nothing was removed."""
