"""The members of a document whose names begin with ``_``: they are the database's, and a document has no others."""

from __future__ import annotations

from typing import Final

KEPT_PREFIX: Final = "_replication_"
"""What a replicator writes into the documents that are its jobs. It is kept, as CouchDB keeps it."""

DROPPED: Final = frozenset({"_revs_info", "_conflicts", "_deleted_conflicts", "_local_seq", "_rev_tree"})
"""What CouchDB and PouchDB add to documents that are read. It is dropped from documents that are written."""

OWN: Final = frozenset({"_id", "_rev", "_attachments", "_revisions", "_deleted"})
"""What is read from a document that is written."""


def is_special(name: str) -> bool:
    """Whether a document that is written may have a member of this name, which begins with ``_``."""
    return name in OWN or name in DROPPED or name.startswith(KEPT_PREFIX)
