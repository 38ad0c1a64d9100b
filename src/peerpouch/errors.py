"""Every error that peerpouch raises on purpose.

Each class carries the HTTP status and the error name that CouchDB gives for the same thing, so one function
can turn an exception into a response (:meth:`PeerPouchError.as_json`) and one can turn a response back into
the same exception (:func:`from_response`)::

    PeerPouchError                        500 internal_server_error
    ├── BadRequest                        400 bad_request
    │   ├── InvalidDocument               400 doc_validation
    │   ├── InvalidDocumentId             400 illegal_docid
    │   ├── InvalidDatabaseName           400 illegal_database_name
    │   ├── InvalidSelector               400 invalid_selector
    │   │   ├── InvalidOperator           400 invalid_operator
    │   │   └── InvalidOperand            400 bad_arg
    │   ├── NoUsableIndex                 400 no_usable_index
    │   ├── InvalidBookmark               400 invalid_bookmark
    │   ├── InvalidQuery                  400 query_parse_error
    │   ├── DigestMismatch                400 content_md5_mismatch
    │   └── InvalidJSON                   400 invalid_json
    ├── Unauthorized                      401 unauthorized
    ├── Forbidden                         403 forbidden
    │   └── IdentityChanged               403 identity_changed
    ├── NotFound                          404 not_found
    │   ├── DatabaseNotFound              404 no_db_file
    │   └── ShareNotFound                 404 share_not_found
    ├── MethodNotAllowed                  405 method_not_allowed
    ├── NotAcceptable                     406 not_acceptable
    ├── DeadlineExceeded                  408 timeout
    ├── Conflict                          409 conflict
    ├── PreconditionFailed                412 precondition_failed
    │   ├── DatabaseExists                412 file_exists
    │   └── MissingStub                   412 missing_stub
    ├── TooLarge                          413 too_large
    │   └── DocumentTooLarge              413 document_too_large
    ├── UnsupportedMediaType              415 bad_content_type
    ├── RangeNotSatisfiable               416 requested_range_not_satisfiable
    ├── TooManyRequests                   429 too_many_requests
    ├── NotSupported                      501 not_implemented
    ├── StorageError                      500 storage_error
    │   ├── NotADatabase                  500 not_a_database
    │   ├── SchemaTooNew                  500 schema_too_new
    │   ├── CorruptDatabase               500 corrupt_database
    │   ├── DiskFull                      507 insufficient_storage
    │   ├── ReadOnlyDatabase              500 read_only
    │   ├── DatabaseBusy                  503 database_busy
    │   └── DatabaseClosed                503 database_closed
    ├── ConnectionFailed                  503 connection_failed
    │   ├── PeerUnreachable               503 peer_unreachable
    │   └── HubUnreachable                503 hub_unreachable
    ├── InvalidIdentity                   500 invalid_identity
    ├── InvalidSignal                     400 invalid_signal
    │   └── ClockSkew                     400 clock_skew
    ├── ProtocolError                     502 protocol_error
    └── ReplicationFailed                 500 replication_failed

A reason is a sentence for a person: what happened, to what, and where it helps what to do. Errors are made
anew for every failure; none is shared and none is mutable after it was raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar


class PeerPouchError(Exception):
    """The root of the tree.

    Args:
        reason: A sentence for a person. Without one, the class's own default.
    """

    status: ClassVar[int] = 500
    error: ClassVar[str] = "internal_server_error"
    default_reason: ClassVar[str] = "An internal error occurred."
    retry_after: float | None = None
    """Seconds after which another try is worth it, where whoever answered said so."""

    def __init__(self, reason: str | None = None) -> None:
        self.reason = self.default_reason if reason is None else reason
        super().__init__(self.reason)

    def as_json(self) -> dict[str, str]:
        """The body that CouchDB gives for this error: ``{"error": …, "reason": …}``."""
        return {"error": self.error, "reason": self.reason}


class BadRequest(PeerPouchError):
    """The request or an argument is malformed."""

    status = 400
    error = "bad_request"
    default_reason = "The request is malformed."


class InvalidDocument(BadRequest):
    """A document has an unknown ``_`` field, or a value that JSON can't carry."""

    error = "doc_validation"
    default_reason = "The document is not valid."


class InvalidDocumentId(BadRequest):
    """A document's id is missing, not a string, empty, or reserved."""

    error = "illegal_docid"
    default_reason = "A document id must be a non-empty string that does not start with an underscore."


class InvalidDatabaseName(BadRequest):
    """A database's name breaks CouchDB's rule for names."""

    error = "illegal_database_name"
    default_reason = "Database names use a-z, 0-9, _ $ ( ) + - / only, and start with a letter."


class InvalidSelector(BadRequest):
    """A Mango selector is malformed."""

    error = "invalid_selector"
    default_reason = "The selector is not valid."


class InvalidOperator(InvalidSelector):
    """A Mango selector has an operator that there is not."""

    error = "invalid_operator"


class InvalidOperand(InvalidSelector):
    """An operator of a Mango selector has an operand that it does not take."""

    error = "bad_arg"


class NoUsableIndex(BadRequest):
    """A query asks for an order that no index gives."""

    error = "no_usable_index"
    default_reason = "No index exists for this sort, try indexing by the sort fields."


class InvalidBookmark(BadRequest):
    """A bookmark is malformed, or is of another query."""

    error = "invalid_bookmark"
    default_reason = "The bookmark is not one of this query."


class InvalidQuery(BadRequest):
    """A parameter of a listing, a feed or a view has a value that it can't have."""

    error = "query_parse_error"
    default_reason = "A query parameter is not valid."


class DigestMismatch(BadRequest):
    """A body is not what its Content-MD5 header says: it was altered or cut on its way."""

    error = "content_md5_mismatch"
    default_reason = "Possible message corruption."


class InvalidJSON(BadRequest):
    """Bytes that should be JSON are not."""

    error = "invalid_json"
    default_reason = "invalid UTF-8 JSON"


class Unauthorized(PeerPouchError):
    """Nobody is logged in, or the name or password is wrong."""

    status = 401
    error = "unauthorized"
    default_reason = "You are not authorized to access this database."


class Forbidden(PeerPouchError):
    """The other side knows who asks, and does not allow it."""

    status = 403
    error = "forbidden"
    default_reason = "You are not allowed to do that."


class IdentityChanged(Forbidden):
    """A share's name was first seen under another key."""

    error = "identity_changed"
    default_reason = "The key behind this name is not the one that was first seen."


class NotFound(PeerPouchError):
    """A document, a revision, an attachment or a route does not exist.

    ``reason`` is CouchDB's ``"missing"`` or ``"deleted"`` for documents.
    """

    status = 404
    error = "not_found"
    default_reason = "missing"

    @property
    def deleted(self) -> bool:
        """Whether it is known to have existed, and to have been deleted."""
        return self.reason == "deleted"


class DatabaseNotFound(NotFound):
    """No database has this name."""

    error = "no_db_file"
    default_reason = "Database does not exist."


class ShareNotFound(NotFound):
    """The hub has no such share, or its lease has run out."""

    error = "share_not_found"
    default_reason = "The hub has no such share, or it was withdrawn."


class MethodNotAllowed(PeerPouchError):
    """The route exists, the method does not."""

    status = 405
    error = "method_not_allowed"
    default_reason = "The method is not allowed here."


class NotAcceptable(PeerPouchError):
    """No representation matches the request's Accept header."""

    status = 406
    error = "not_acceptable"
    default_reason = "None of the accepted content types can be served."


class DeadlineExceeded(PeerPouchError):
    """A time limit ran out before the result came."""

    status = 408
    error = "timeout"
    default_reason = "The time limit ran out."


class Conflict(PeerPouchError):
    """The revision given is not a current leaf of the document."""

    status = 409
    error = "conflict"
    default_reason = "Document update conflict."


class PreconditionFailed(PeerPouchError):
    """The state that the request presupposes is not there."""

    status = 412
    error = "precondition_failed"
    default_reason = "A precondition of the request does not hold."


class DatabaseExists(PreconditionFailed):
    """A database of this name exists already."""

    error = "file_exists"
    default_reason = "The database could not be created, the file already exists."


class MissingStub(PreconditionFailed):
    """An attachment stub names content that no revision of this document has."""

    error = "missing_stub"
    default_reason = "The attachment stub refers to content that this document does not have."


class TooLarge(PeerPouchError):
    """A body or a parameter is larger than the limit."""

    status = 413
    error = "too_large"
    default_reason = "The request entity is too large."


class DocumentTooLarge(TooLarge):
    """A document, without its attachments, is larger than the database's limit."""

    error = "document_too_large"
    default_reason = "The document is too large."


class UnsupportedMediaType(PeerPouchError):
    """The body's content type is not one that the route takes."""

    status = 415
    error = "bad_content_type"
    default_reason = "Content-Type must be application/json"


class RangeNotSatisfiable(PeerPouchError):
    """A byte range lies outside the attachment."""

    status = 416
    error = "requested_range_not_satisfiable"
    default_reason = "Requested range not satisfiable"


class TooManyRequests(PeerPouchError):
    """A limit of rate or number was reached; try again later.

    Args:
        retry_after: Seconds after which another try is worth it, where that is known.
    """

    status = 429
    error = "too_many_requests"
    default_reason = "Too many requests; try again later."

    def __init__(self, reason: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class NotSupported(PeerPouchError):
    """This database can't do that, and says so rather than pretending."""

    status = 501
    error = "not_implemented"
    default_reason = "This database does not support that."


class StorageError(PeerPouchError):
    """The database's file could not be read or written."""

    error = "storage_error"
    default_reason = "The database's file could not be read or written."


class NotADatabase(StorageError):
    """The file exists and is not a peerpouch database."""

    error = "not_a_database"
    default_reason = "The file is not a peerpouch database."


class SchemaTooNew(StorageError):
    """The file was written by a newer peerpouch; it was not touched."""

    error = "schema_too_new"
    default_reason = "The file was written by a newer version of peerpouch."


class CorruptDatabase(StorageError):
    """The file's content contradicts itself."""

    error = "corrupt_database"
    default_reason = "The database's file is damaged."


class DiskFull(StorageError):
    """There is no room for the write; nothing of it was kept."""

    status = 507
    error = "insufficient_storage"
    default_reason = "The disk is full; nothing was written."


class ReadOnlyDatabase(StorageError):
    """The file or its folder can't be written."""

    error = "read_only"
    default_reason = "The database's file is read-only."


class DatabaseBusy(StorageError):
    """Another process held the file's write lock for longer than the time limit."""

    status = 503
    error = "database_busy"
    default_reason = "Another process kept the database locked."


class DatabaseClosed(StorageError):
    """The database was closed or destroyed."""

    status = 503
    error = "database_closed"
    default_reason = "The database is closed."


class ConnectionFailed(PeerPouchError):
    """The other side could not be reached, or was lost."""

    status = 503
    error = "connection_failed"
    default_reason = "The other side can't be reached."


class PeerUnreachable(ConnectionFailed):
    """A peer did not answer, no path to it was found, or the connection to it was lost."""

    error = "peer_unreachable"
    default_reason = "The peer can't be reached."


class HubUnreachable(ConnectionFailed):
    """The hub can't be opened, read or written."""

    error = "hub_unreachable"
    default_reason = "The hub can't be reached."


class InvalidIdentity(PeerPouchError):
    """An identity file is unreadable, malformed, or open to other users."""

    error = "invalid_identity"
    default_reason = "The identity file is not usable."


class InvalidSignal(PeerPouchError):
    """A share or signal document is forged, altered, replayed, stale or malformed."""

    status = 400
    error = "invalid_signal"
    default_reason = "The signal is not valid."


class ClockSkew(InvalidSignal):
    """The clocks of both sides differ by more than the tolerance."""

    error = "clock_skew"
    default_reason = "The clocks of the two machines differ too much."


class ProtocolError(PeerPouchError):
    """The other side broke the protocol."""

    status = 502
    error = "protocol_error"
    default_reason = "The other side broke the protocol."


class ReplicationFailed(PeerPouchError):
    """A replication ended without completing."""

    error = "replication_failed"
    default_reason = "The replication did not complete."


def _tree(root: type[PeerPouchError]) -> Iterator[type[PeerPouchError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


_BY_NAME: dict[str, type[PeerPouchError]] = {cls.error: cls for cls in _tree(PeerPouchError)}
# The first of each status in tree order is its most general class. 500 is the root, 503 the connection.
_BY_STATUS: dict[int, type[PeerPouchError]] = {503: ConnectionFailed}
for _cls in _tree(PeerPouchError):
    _BY_STATUS.setdefault(_cls.status, _cls)


def from_response(status: int, error: str | None, reason: str | None) -> PeerPouchError:
    """The exception that a response stands for; the inverse of :meth:`PeerPouchError.as_json`.

    Args:
        status: The HTTP status, 400 to 599.
        error: The body's ``error``; an unknown or missing one falls back to the status.
        reason: The body's ``reason``.
    """
    cls = _BY_NAME.get(error) if error is not None else None
    if cls is None:
        cls = _BY_STATUS.get(status, BadRequest if 400 <= status < 500 else PeerPouchError)
    if cls is NotFound and reason in ("no_db_file", "Database does not exist."):
        cls = DatabaseNotFound
    return cls(reason)
