"""Update functions of design documents: ``function (doc, req)`` makes a document of another, and an answer.

(CouchDB documentation, "Update Functions"; ``chttpd_show.erl``.) They only compute here. What they give is written by
who asked, under its own rights and through ``validate_doc_update`` like any other write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peerpouch.core.modules import modules_of
from peerpouch.errors import BadRequest, NotFound, NotSupported, PeerPouchError
from peerpouch.ports import Document, Documents, FunctionRunner, Updated
from peerpouch.query.definitions import design_id


async def run_update(
    documents: Documents, runner: FunctionRunner | None, function: str, doc: Document | None, request: Mapping[str, Any]
) -> Updated:
    """See :meth:`peerpouch.ports.Queries.run_update`."""
    ddoc, slash, name = function.partition("/")
    if not slash:
        raise BadRequest(f"An update function is named 'designdoc/function', not {function!r}.")
    design = await documents.get(design_id(ddoc))
    functions: Any = design.get("updates")
    source = functions.get(name) if type(functions) is dict else None
    if type(source) is not str:
        raise NotFound(f"missing update function {name} on design doc {design_id(ddoc)}")
    if runner is None or design.get("language", "javascript") != "javascript":
        raise NotSupported("Update functions are JavaScript, and need the extra 'js': pip install 'peerpouch[js]'.")
    result = await runner.call(source, doc, dict(request), modules=modules_of(source, design))
    if type(result) is not list or len(result) != 2 or type(result[1]) not in (str, dict):
        raise PeerPouchError(f"The update function {function} must return an array of a document and a response.")
    return Updated(result[0] if type(result[0]) is dict else None, result[1])
