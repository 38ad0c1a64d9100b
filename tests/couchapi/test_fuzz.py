"""Whatever a client sends is answered, and never by an internal error."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerpouch.couchapi.routes import ROUTES
from tests.couchapi.support import served

_LITERALS = sorted({part for route in ROUTES for part in route.pattern.split("/") if part and "{" not in part})
_NASTY = ["a", "b%2Fc", "%zz", "%ff", "%00", "..", "%2E%2E", "_design%2Fx", "_local", "_x", "+", ""]
_SEGMENT = st.sampled_from(["db", *_LITERALS, *_NASTY])


@st.composite
def _route_path(draw: st.DrawFn) -> str:
    pattern = draw(st.sampled_from(ROUTES)).pattern.replace("{db}", "db")
    return re.sub(r"\{\w+\*?\}", lambda _: draw(st.sampled_from(["a", "a", *_NASTY])), pattern)


_PATH = _route_path() | st.lists(_SEGMENT, max_size=5).map(lambda segments: "/" + "/".join(segments))
_REV = st.sampled_from(["1-a", "0-1", "1", "-", "99999999999999999999-x", '["1-a"]', "all"])
_WORDS = st.sampled_from(
    ["true", "false", "0", "-1", "now", '"a"', "null", "{}", "[]", '["a",1]', "%", "x" * 50, "1e9"]
)
_NAMES = """
rev revs open_revs atts_since attachments latest conflicts meta limit skip startkey endkey key keys descending
include_docs since style filter doc_ids selector batch new_edits inclusive_end group group_level reduce stale update
update_seq seq_interval count local_seq att_encoding_info
"""
_MEMBERS = """
docs id _id _rev _revisions start ids _attachments data stub follows keys queries selector index fields new_edits
_deleted a _x name ddoc $or sort limit doc_ids
"""
_JSON = st.recursive(
    st.sampled_from([None, True, 0, -1, 2**70, 1.5, "", "a", "1-a", "_x", "\x00"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_MEMBERS.split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_BODY = _JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20) | st.just(b"")
_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(
            ["application/json", "multipart/related; boundary=b", "multipart/related", "x"]
        ),
        "accept": st.sampled_from(["application/json", "multipart/mixed", "*/*", "nonsense", ","]),
        "range": st.sampled_from(["bytes=0-1", "bytes=-", "bytes=9-", "x"]),
        "if-match": _REV,
        "if-none-match": _REV,
        "destination": st.sampled_from(["c", "c?rev=1-a", "?", "http://x/", "%zz", ""]),
        "content-encoding": st.sampled_from(["gzip", "identity", "br"]),
        "content-length": st.sampled_from(["x", "-1", "5"]),
    },
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "COPY", "PATCH", "OPTIONS"]),
    path=_PATH,
    query=st.lists(st.tuples(st.sampled_from(_NAMES.split()), _WORDS | _REV), max_size=4),
    body=_BODY,
    headers=_HEADERS,
)
async def test_every_request_has_an_answer(
    method: str, path: str, query: list[tuple[str, str]], body: bytes, headers: dict[str, str]
) -> None:
    if query:
        path += "?" + "&".join(f"{name}={quote(value, safe='%')}" for name, value in query)
    async with served() as api:
        await api.put("/db/a/f", content=b"x", headers={"content-type": "text/plain"})
        answer = await api.call(method, path, content=body, headers=headers)
    assert answer.status not in (500, 502, 503)
    if answer.status >= 400 and method != "HEAD":
        known: Any = answer.json
        assert known.keys() == {"error", "reason"}
