"""What a replicator decides, without doing any of it: no clock, no randomness, no I/O.

* **Identity.** :func:`replication_id` names the checkpoint documents of one source, target and filter.
* **Checkpoints.** Both sides keep a ``_local`` document with CouchDB's shape. Every checkpoint gets a session id of its
  own, so an id that stands in both histories proves that both sides stored that very checkpoint: the newest such is
  where to go on (:func:`compare`). A side that was restored from a backup has lost its newest entries, and
  the comparison falls back to an older one, or to the beginning. Going back is always safe: the revision
  comparison finds what is there already.
* **Order.** Batches finish in any order, a checkpoint may only ever cover a prefix: :class:`Frontier`.
* **Distrust.** What a source sends is checked before it is believed: :func:`read_change`, :func:`check_document`.
* **Attachments.** Which ones the target has already: :func:`missing_attachments`.
* **Failures.** Which are worth another try, and when: :func:`is_transient`, :func:`is_refusal`, :func:`backoff`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import orjson

from peerpouch.errors import (
    BadRequest,
    Conflict,
    ConnectionFailed,
    CorruptDatabase,
    DeadlineExceeded,
    Forbidden,
    IdentityChanged,
    InvalidIdentity,
    MethodNotAllowed,
    NotADatabase,
    NotSupported,
    PeerPouchError,
    ProtocolError,
    ReadOnlyDatabase,
    ReplicationFailed,
    SchemaTooNew,
    ShareNotFound,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    UnsupportedMediaType,
)

ID_VERSION = 1
"""Part of every replication id: raise it when the meaning of a checkpoint changes."""

SAME_RUN = 4
"""How many checkpoints of the current run a history keeps. More than one, because the two sides are written separately
and the newest may have reached only one of them."""

HISTORY = 24
"""How many checkpoints a history keeps in all: the last of each earlier run. Restoring a backup older than this many
runs costs comparing all revisions again; more entries would make every checkpoint larger."""

FIRST_DELAY = 0.5
LONGEST_DELAY = 60.0

_REV = re.compile(r"[1-9][0-9]{0,9}-[!-~]{1,128}")
_NUMBER_FIRST = re.compile(r"([0-9]+)(?:-.*)?", re.DOTALL)


# --- identity ---------------------------------------------------------------------------------------------------------


def replication_id(source: str, target: str, selection: Sequence[Any]) -> str:
    """The name under which both sides keep the checkpoint: 40 hexadecimal digits.

    Args:
        source, target: What the two databases' ``id()`` give.
        selection: What :func:`selection` gives.
    """
    parts = json.dumps([ID_VERSION, source, target, selection], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(parts.encode()).hexdigest()[:40]


def selection(
    *,
    doc_ids: Iterable[str] | None,
    selector: Mapping[str, Any] | None,
    filter: Callable[..., bool] | str | None,
    filter_code: str | None,
    query: Mapping[str, str] | None,
    design_docs: bool,
) -> list[Any] | None:
    """What is replicated, as JSON: equal for equal selections. ``None`` when that can't be told.

    Two selections that differ must not share a checkpoint, or the second would miss what the first left out. A Python
    filter counts by its compiled code, with its defaults and the variables that it closes over; where these are not
    plain values there is no telling whether the next run's filter is the same one.

    Args:
        filter_code: The source text of a design document's filter, which may be edited between two runs.
    """
    chosen: list[Any] = [design_docs]
    if doc_ids is not None:
        chosen.append(["doc_ids", sorted(set(doc_ids))])
    if selector is not None:
        chosen.append(["selector", selector])
    if isinstance(filter, str):
        chosen.append(["filter", filter, filter_code, dict(query or {})])
    elif filter is not None:
        print_ = _function_print(filter)
        if print_ is None:
            return None
        chosen.append(["function", print_])
    try:
        plain: list[Any] = json.loads(json.dumps(chosen, sort_keys=True))
    except (TypeError, ValueError):
        return None
    return plain


def _function_print(function: Callable[..., bool]) -> str | None:
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return None
    bound = [
        getattr(function, "__defaults__", None),
        getattr(function, "__kwdefaults__", None),
        [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()],
    ]
    try:
        values = json.dumps(bound, sort_keys=True)
    except (TypeError, ValueError):
        return None
    if getattr(function, "__self__", None) is not None:
        return None
    return hashlib.sha256(f"{_code_print(code)}{values}".encode()).hexdigest()


def _code_print(code: CodeType) -> str:
    constants = [_code_print(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    return repr((code.co_code.hex(), constants, code.co_names, code.co_freevars))


def _constant(value: Any) -> str:
    # A frozenset's order varies from process to process; the checkpoint would be lost at every start.
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


# --- checkpoints ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a replication got, and what both sides' documents keep of earlier ones.

    Attributes:
        seq: The source's sequence up to which the target has everything; ``"0"`` for none.
        history: Entries as stored, newest first.
    """

    seq: str = "0"
    history: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True)
class Run:
    """What a checkpoint tells of the run that wrote it. Times are HTTP dates, as CouchDB has them."""

    id: str
    start_time: str
    start_seq: str
    counters: dict[str, int] = field(default_factory=dict)


def compare(source: Mapping[str, Any] | None, target: Mapping[str, Any] | None) -> Checkpoint:
    """Where to go on, given both sides' checkpoint documents (``None``: there is none).

    A side that refused to store checkpoints is named in the other side's document (``"refused_by"``), which then is
    believed alone. Whatever is malformed counts as absent.
    """
    ours, theirs = entries(source), entries(target)
    if source is None and target is not None and target.get("refused_by") == "source":
        return _newest(theirs)
    if target is None and source is not None and source.get("refused_by") == "target":
        return _newest(ours)
    known = {entry["session_id"]: entry["recorded_seq"] for entry in theirs}
    for place, entry in enumerate(ours):
        if known.get(entry["session_id"]) == entry["recorded_seq"]:
            return Checkpoint(entry["recorded_seq"], tuple(ours[place:]))
    return Checkpoint()


def _newest(history: list[Mapping[str, Any]]) -> Checkpoint:
    return Checkpoint(history[0]["recorded_seq"], tuple(history)) if history else Checkpoint()


def entries(document: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The well-formed entries of a checkpoint document's history, newest first."""
    history = document.get("history") if document is not None else None
    if not isinstance(history, list):
        return []
    return [
        entry
        for entry in history[:HISTORY]
        if isinstance(entry, dict)
        and isinstance(entry.get("session_id"), str)
        and isinstance(entry.get("recorded_seq"), str)
    ]


def extend(previous: Checkpoint, run: Run, session_id: str, seq: str, end_time: str) -> Checkpoint:
    """The checkpoint after ``previous``: everything up to ``seq`` is on the target's disk."""
    entry = {
        "session_id": session_id,
        "run": run.id,
        "start_time": run.start_time,
        "end_time": end_time,
        "start_last_seq": run.start_seq,
        "end_last_seq": seq,
        "recorded_seq": seq,
        "last_seq": seq,
        **run.counters,
    }
    kept: list[Mapping[str, Any]] = [entry]
    same, runs = 1, {run.id}
    for old in previous.history:
        owner = old.get("run")
        if owner == run.id and same < SAME_RUN:
            same += 1
        elif isinstance(owner, str) and owner in runs:
            continue
        elif isinstance(owner, str):
            runs.add(owner)
        kept.append(old)
    return Checkpoint(seq, tuple(kept[:HISTORY]))


def checkpoint_document(doc_id: str, checkpoint: Checkpoint, refused_by: str | None) -> dict[str, Any]:
    """A checkpoint as it is stored: CouchDB's fields, and ``last_seq`` and ``version`` for readers of PouchDB's."""
    document: dict[str, Any] = {
        "_id": doc_id,
        "replicator": "peerpouch",
        "version": 1,
        "replication_id_version": ID_VERSION,
        "session_id": checkpoint.history[0]["session_id"],
        "source_last_seq": checkpoint.seq,
        "last_seq": checkpoint.seq,
        "history": [dict(entry) for entry in checkpoint.history],
    }
    if refused_by is not None:
        document["refused_by"] = refused_by
    return document


def same_place(one: str, other: str) -> bool:
    """Whether two sequences of one source certainly mean the same place in its feed.

    A CouchDB cluster writes one and the same place in many ways, which agree in the number before the first ``-``.
    """
    if one == other:
        return True
    left, right = _NUMBER_FIRST.fullmatch(one), _NUMBER_FIRST.fullmatch(other)
    return left is not None and right is not None and left[1] == right[1]


class Frontier:
    """How far everything is done, when things are begun in order and finished in any order."""

    def __init__(self, seq: str) -> None:
        self.seq = seq
        self._open: deque[list[Any]] = deque()

    def begin(self, seq: str) -> list[Any]:
        """Note work that ends at ``seq``. Gives what :meth:`finish` wants."""
        entry = [seq, False]
        self._open.append(entry)
        return entry

    def finish(self, entry: list[Any]) -> bool:
        """Note that it is done. Gives whether :attr:`seq` moved."""
        entry[1] = True
        moved = False
        while self._open and self._open[0][1]:
            self.seq = self._open.popleft()[0]
            moved = True
        return moved

    def __len__(self) -> int:
        return len(self._open)


# --- what a source sends ----------------------------------------------------------------------------------------------


def read_change(row: Any) -> tuple[str, list[str], str]:
    """A row of the changes feed as id, leaf revisions and sequence.

    Raises:
        ProtocolError: if it is anything else.
    """
    try:
        doc_id, seq = row["id"], row["seq"]
        changes = row["changes"]
        revs = [changes[0]["rev"]] if len(changes) == 1 else [change["rev"] for change in changes]
    except (TypeError, KeyError, IndexError):
        raise ProtocolError(f"The source sent a change that is none: {_short(row)}") from None
    if type(doc_id) is not str or not doc_id or (doc_id[0] == "_" and not doc_id.startswith("_design/")):
        raise ProtocolError(f"The source sent a change with an impossible document id: {_short(doc_id)}")
    if type(seq) is not str or not revs:
        raise ProtocolError(f"The source sent a change of {_short(doc_id)} without a sequence or a revision.")
    for rev in revs:
        if type(rev) is not str or _REV.fullmatch(rev) is None:
            raise ProtocolError(f"The source sent an impossible revision of {_short(doc_id)}: {_short(rev)}")
    return doc_id, revs, seq


def check_document(doc: Any, doc_id: str, rev: str) -> None:
    """Check that a document that was fetched is the one that was asked for, with its history.

    Raises:
        ProtocolError: if it is anything else.
    """
    try:
        if doc["_id"] != doc_id or doc["_rev"] != rev:
            raise ProtocolError(
                f"The source sent {_short(doc['_id'])} {_short(doc['_rev'])} in place of {_short(doc_id)} {rev}."
            )
        history = doc["_revisions"]
        if f"{history['start']}-{history['ids'][0]}" != rev or type(history["ids"]) is not list:
            raise ProtocolError(f"The source sent another revision's history with {_short(doc_id)} {rev}.")
        "".join(history["ids"])  # a quick way to see that all are text
        if len(history["ids"]) > history["start"]:
            raise ProtocolError(f"The source sent an impossible history with {_short(doc_id)} {rev}.")
        if "_attachments" in doc:
            _check_attachments(doc["_attachments"])
    except (TypeError, KeyError, IndexError):
        raise ProtocolError(f"The source sent a malformed document for {_short(doc_id)} {rev}.") from None


def _check_attachments(attachments: Any) -> None:
    for name, entry in attachments.items() if isinstance(attachments, dict) else [(None, None)]:
        if type(name) is not str or type(entry) is not dict:
            raise TypeError
        length = entry.get("length", 0)
        if type(length) is not int or length < 0 or type(entry.get("digest", "")) is not str:
            raise TypeError


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def document_size(doc: Mapping[str, Any]) -> int:
    """About how many bytes a document is as JSON, with its inline attachments."""
    try:
        size = len(orjson.dumps(doc, default=_nothing))
    except TypeError:  # an integer beyond 64 bits, or nested deeper than orjson goes
        size = len(json.dumps(doc, default=_nothing))
    attachments = doc.get("_attachments")
    if attachments:
        size += sum(len(entry["data"]) for entry in attachments.values() if type(entry.get("data")) is bytes)
    return size


def _nothing(value: Any) -> None:
    return None


# --- attachments ------------------------------------------------------------------------------------------------------


def ancestors_of(doc: Mapping[str, Any], candidates: Iterable[str]) -> list[str]:
    """Those revisions that the document's own history has, newest first."""
    history = doc["_revisions"]
    start, found = history["start"], set(candidates)
    return [rev for n, part in enumerate(history["ids"]) if (rev := f"{start - n}-{part}") in found]


def missing_attachments(doc: Mapping[str, Any], ancestors: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of the attachments whose bytes must travel with the document.

    One may be left out only when an ancestor that the target has holds it under the same name, with the same length and
    digest (and type: a stub takes over all that is said of the content). Equal content elsewhere in the target does not
    count: a stub that resolved there would let a writer read by its digest what he may not see.
    """
    held = [ancestor.get("_attachments") or {} for ancestor in ancestors]
    return [
        name
        for name, entry in doc["_attachments"].items()
        if not any(_same_content(entry, attachments.get(name)) for attachments in held)
    ]


def _same_content(one: Mapping[str, Any], other: Any) -> bool:
    return (
        isinstance(other, dict)
        and isinstance(one.get("digest"), str)
        and one["digest"] == other.get("digest")
        and one.get("length") is not None
        and one["length"] == other.get("length")
        and one.get("content_type") == other.get("content_type")
    )


# --- failures ---------------------------------------------------------------------------------------------------------

_REFUSALS = (Forbidden, Unauthorized, TooLarge, BadRequest, UnsupportedMediaType, NotSupported, Conflict)
_FINAL = (
    CorruptDatabase,
    InvalidIdentity,
    NotADatabase,
    NotSupported,
    ProtocolError,
    ReadOnlyDatabase,
    ReplicationFailed,
    SchemaTooNew,
)


def is_refusal(error: PeerPouchError) -> bool:
    """Whether a target that gave this error for one document would give it again."""
    return isinstance(error, _REFUSALS)


def is_transient(error: PeerPouchError) -> bool:
    """Whether the same request may well succeed later."""
    if isinstance(error, (ConnectionFailed, DeadlineExceeded, TooManyRequests, ShareNotFound)):
        return True  # a share whose owner restarts is withdrawn for a while
    return error.status >= 500 and not isinstance(error, _FINAL)


def keeps_no_checkpoint(error: PeerPouchError) -> bool:
    """Whether a side that gave this error when a checkpoint was read or written keeps none for us."""
    return isinstance(error, (Forbidden, Unauthorized, MethodNotAllowed, NotSupported, ReadOnlyDatabase)) and not (
        isinstance(error, IdentityChanged)
    )


def backoff(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row (1 and more).

    Doubles up to a minute; ``chance`` (0 to 1) spreads it over the upper half, so that peers that
    lost the same hub do not come back in step.
    """
    longest = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 16))
    return longest * (0.5 + 0.5 * chance)
