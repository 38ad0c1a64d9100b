"""Revision ids: ``N-hash``, where ``N`` is the generation and ``hash`` is derived from the edit.

A revision id of peerpouch is deterministic: the same edit of the same parent gets the same id on every replica, so
that two people who make the same change do not make a conflict. The hash input is, as bytes::

    parent        the parent's revision id, or nothing for a first revision
    LF
    deleted       "1" for a deletion, else "0"
    LF
    body          the canonical JSON of the document without its top-level fields that start with "_"
                  (those that start with "_replication_" stay: CouchDB keeps them as the document's own)
    LF            only when there are attachments
    attachments   the canonical JSON of [[name, content_type, digest], ...], ordered by name

The hash is the first 16 bytes of its SHA-256, as 32 lower-case hexadecimal digits (the shape of CouchDB's, which
CouchDB stores in 16 bytes). Canonical JSON is :func:`peerpouch.core.jsonio.canonical`: object keys in code point order
and numbers by value, so that neither the order of keys nor ``1`` against ``1.0`` makes a difference. ``digest`` is the
attachment's as its stub shows it. The vectors are in ``tests/vectors/revisions.json``.

Ids that other programs made are taken as they are. A generation is at most 2**53 - 1, what every JSON reader holds
exactly; a hash is 1 to 255 printable ASCII characters without space, comma, quotation mark and backslash, which holds
for the ids of CouchDB and of PouchDB.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from peerpouch.core import jsonio
from peerpouch.errors import BadRequest

Rev = tuple[int, str]
"""A revision as generation and hash: tuples compare as winners do."""

_REVISION = re.compile(r"([1-9][0-9]{0,15})-([!#-+\--\[\]-~]{1,255})")
# Of so many digits none is greater than the greatest generation.
_REVISIONS = re.compile(r"(?:[1-9][0-9]{0,14}-[!#-+\--\[\]-~]{1,255}\n)*")
_HASH = re.compile(r"[!#-+\--\[\]-~]{1,255}")
_MAX_GENERATION = 2**53 - 1
# What comes before the body of a first revision that is no deletion.
_FIRST = b"\n0\n"


def parse(text: Any) -> Rev:
    """``"2-abc"`` as ``(2, "abc")``.

    Raises:
        BadRequest: if it is not a revision id.
    """
    if type(text) is str and (match := _REVISION.fullmatch(text)) is not None:
        generation = int(match[1])
        if generation <= _MAX_GENERATION:
            return generation, match[2]
    raise BadRequest(f"Invalid rev format: {_excerpt(text)} is not a revision id such as 1-967a00dff5e02add.")


def are_plain(texts: Sequence[str]) -> bool:
    """Whether :func:`parse` takes all of these; it may also take what this says no to. Costs a fraction of it."""
    try:
        joined = "\n".join([*texts, ""])
    except TypeError:
        return False
    return joined.count("\n") == len(texts) and _REVISIONS.fullmatch(joined) is not None


def split(text: str) -> Rev:
    """:func:`parse` for what is known to be a revision id, such as one that was stored; several times faster."""
    number, _, item = text.partition("-")
    return int(number), item


def format(rev: Rev) -> str:
    """``(2, "abc")`` as ``"2-abc"``."""
    return f"{rev[0]}-{rev[1]}"


def generation(text: str) -> int:
    """The generation of a well-formed revision id."""
    return int(text[: text.index("-")])


def parse_history(value: Any) -> list[Rev]:
    """The path that a ``_revisions`` field stands for, newest first.

    Args:
        value: ``{"start": generation of the first, "ids": [hash, parent's hash, ...]}``.

    Raises:
        BadRequest: if it has another form.
    """
    start, ids = check_history(value)
    return [(start - n, item) for n, item in enumerate(ids)]


def check_history(value: Any) -> tuple[int, list[str]]:
    """The generation and the hashes of a ``_revisions`` field, newest first.

    Raises:
        BadRequest: if it has another form.
    """
    if type(value) is dict:
        start, ids = value.get("start"), value.get("ids")
        if type(start) is int and type(ids) is list and 0 < len(ids) <= start <= _MAX_GENERATION:
            for item in ids:
                if type(item) is not str or _HASH.fullmatch(item) is None:
                    break
            else:
                return start, ids
    raise BadRequest(f"_revisions must be {{start: number, ids: [text, ...]}}, not {_excerpt(value)}.")


def format_history(path: list[Rev]) -> dict[str, Any]:
    """The ``_revisions`` field of a path, newest first; the inverse of :func:`parse_history`."""
    return {"start": path[0][0], "ids": [item for _, item in path]}


def new_revision(
    parent: str | None, deleted: bool, body: bytes, attachments: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """The id of a new edit; the module's docstring has the rule.

    Args:
        parent: The revision that the edit extends.
        body: Canonical JSON of the document without its ``_`` fields.
        attachments: By name; ``content_type`` and ``digest`` count.
    """
    if parent is None:
        head, number = b"\n1\n" if deleted else _FIRST, 1
    else:
        head, number = f"{parent}\n{int(deleted)}\n".encode(), generation(parent) + 1
    digest = hashlib.sha256(head + body)
    if attachments:
        listed = [[name, item["content_type"], item["digest"]] for name, item in sorted(attachments.items())]
        digest.update(b"\n" + jsonio.canonical(listed))
    return f"{number}-{digest.hexdigest()[:32]}"


def new_revisions(parents: Sequence[str | None], bodies: Sequence[bytes]) -> list[str]:
    """:func:`new_revision` of many edits that are no deletions and have no attachments."""
    if not any(parents):
        sha256 = hashlib.sha256
        return ["1-" + sha256(_FIRST + body).hexdigest()[:32] for body in bodies]
    return [new_revision(parent, False, body) for parent, body in zip(parents, bodies, strict=True)]


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
