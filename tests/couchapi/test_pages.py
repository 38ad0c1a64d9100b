"""Files for browsers: what is served, how it is cached, and that nothing else is reachable."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from peerpouch.couchapi.pages import Pages

INSIDE = "export default 1;\n" * 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name, text in {
        "pages/dashboard/index.html": "<!doctype html>",
        "pages/dashboard/.secret": "hidden",
        "src/index.js": INSIDE,
        "vendor/thing-1.0.js": "1",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "outside.js").write_text("secret")
    return root


@pytest.fixture
def pages(folder: Path) -> Pages:
    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"behind"})

    return Pages(behind, {"": folder / "pages", "src/": folder / "src", "vendor/": folder / "vendor"})


async def get(pages: Pages, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await pages({"type": "http", "path": path, "method": method, "headers": raw}, receive, send)
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}, sent[1]["body"]


async def test_files_have_their_types_and_a_strict_policy(pages: Pages) -> None:
    for path, kind in [
        ("/_peerpouch/dashboard/", "text/html; charset=utf-8"),
        ("/_peerpouch/dashboard/index.html", "text/html; charset=utf-8"),
        ("/_peerpouch/src/index.js", "text/javascript; charset=utf-8"),
    ]:
        status, headers, _ = await get(pages, path)
        assert (status, headers["content-type"]) == (200, kind)
        assert headers["x-content-type-options"] == "nosniff"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


async def test_a_file_that_is_known_is_not_sent_again(pages: Pages, folder: Path) -> None:
    status, headers, body = await get(pages, "/_peerpouch/src/index.js")
    assert (status, body.decode(), headers["cache-control"]) == (200, INSIDE, "no-cache")
    assert (await get(pages, "/_peerpouch/src/index.js", if_none_match=headers["etag"]))[0] == 304
    (folder / "src" / "index.js").write_text("changed")
    status, _, body = await get(pages, "/_peerpouch/src/index.js", if_none_match=headers["etag"])
    assert (status, body) == (200, b"changed")
    _, headers, _ = await get(pages, "/_peerpouch/vendor/thing-1.0.js")
    assert "immutable" in headers["cache-control"]


async def test_large_files_are_compressed_for_those_who_take_it(pages: Pages) -> None:
    _, headers, body = await get(pages, "/_peerpouch/src/index.js", accept_encoding="br, gzip")
    assert headers["content-encoding"] == "gzip"
    assert int(headers["content-length"]) == len(body) < len(INSIDE)
    assert gzip.decompress(body).decode() == INSIDE
    _, plain, _ = await get(pages, "/_peerpouch/src/index.js", accept_encoding="gzip;q=0")
    assert "content-encoding" not in plain
    assert plain["etag"] != headers["etag"]


async def test_head_gives_the_head_alone(pages: Pages) -> None:
    status, headers, body = await get(pages, "/_peerpouch/src/index.js", method="HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", str(len(INSIDE)))


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/_peerpouch", "_peerpouch/dashboard/"),
        ("/_peerpouch/", "dashboard/"),
        ("/_peerpouch/dashboard", "dashboard/"),
    ],
)
async def test_folders_lead_to_their_pages(pages: Pages, path: str, location: str) -> None:
    status, headers, _ = await get(pages, path)
    assert status in (301, 302)
    assert headers["location"] == location


@pytest.mark.parametrize(
    "path",
    [
        "/_peerpouch/../outside.js",
        "/_peerpouch/src/../../../outside.js",
        "/_peerpouch/src/..%2f..%2foutside.js",
        "/_peerpouch/src//index.js",
        "/_peerpouch/src/./index.js",
        "/_peerpouch/dashboard/.secret",
        "/_peerpouch/src/linked.js",
        "/_peerpouch/src",
        "/_peerpouch/status",
        "/_peerpouchx",
        "/src/index.js",
    ],
)
async def test_nothing_else_is_reachable(folder: Path, path: str) -> None:
    (folder / "src" / "linked.js").symlink_to(folder.parent / "outside.js")

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"behind"})

    pages = Pages(behind, {"": folder / "pages", "src/": folder / "src"})
    assert (await get(pages, path))[2] == b"behind"


async def test_other_methods_go_on(pages: Pages) -> None:
    assert (await get(pages, "/_peerpouch/src/index.js", method="PUT"))[2] == b"behind"
