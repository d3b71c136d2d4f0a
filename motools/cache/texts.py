"""Texts: what digests were made of, kept beside the entries so that differences can be shown.

A key holds digests, of source and of samples for example, which say that something
changed, not what. The text behind a digest is kept once, under that digest, for
whoever explains. No result depends on it: texts that are lost, or cannot be written,
cost explanations and nothing else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from motools.cache.layout import TEXTS, key_in, text_name
from motools.cache.store import Store
from motools.errors import CacheUnavailableError, CorruptDocumentError

TEXT_FORMAT: Final = "motools.text/1"

_log: Final = logging.getLogger(__name__)


class Texts:
    """The texts of one cache.

    Args:
        store: where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: set[str] = set()

    def keep(self, texts: Mapping[str, Any]) -> None:
        """Keep texts under their digests; one that is there stays as it is.

        A text that cannot be written is said in the log and left out: work goes on.

        Args:
            texts: digest to JSON.
        """
        for digest, text in texts.items():
            if digest in self._kept:
                continue
            name = text_name(digest)
            try:
                if self._store.size(name) is None:
                    document = {"format": TEXT_FORMAT, "of": digest, "text": text}
                    self._store.publish_bytes(name, json.dumps(document).encode())
            except CacheUnavailableError as problem:
                _log.warning("no text is kept of %s to explain it by: %s", digest[:12], problem)
                continue
            self._kept.add(digest)

    def read(self, digest: str) -> Any:
        """The text under a digest; None: none was kept.

        Raises:
            CorruptDocumentError: it is damaged.
        """
        name = text_name(digest)
        data = self._store.read(name)
        if data is None:
            return None
        try:
            document = json.loads(data)
            if document["format"] == TEXT_FORMAT and document["of"] == digest:
                return document["text"]
            problem = f"it is not a {TEXT_FORMAT} of that digest"
        except (ValueError, KeyError, TypeError) as error:
            problem = repr(error)
        raise CorruptDocumentError(
            f"{name} in the cache is damaged: {problem}. Delete it: it only serves to explain"
        )

    def beginning(self, prefix: str) -> list[str]:
        """The digests that begin so, of which there is a text.

        Args:
            prefix: at least two characters.
        """
        found = (key_in(name) for name, _ in self._store.names(f"{TEXTS}/{prefix[:2]}"))
        return sorted(digest for digest in found if digest.startswith(prefix))
