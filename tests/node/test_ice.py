"""STUN and TURN servers in every form."""

from __future__ import annotations

from typing import Any

import pytest

from peerpouch.errors import BadRequest
from peerpouch.node import ice
from peerpouch.transports.webrtc.engine import IceServer

TURN = IceServer(("turn:example.org",), "ann", "secret")


def test_all_forms_mean_the_same() -> None:
    mapping = {"urls": ["turn:example.org"], "username": "ann", "credential": "secret"}
    assert ice.parse([mapping, TURN]) == [TURN, TURN]
    assert ice.parse(["stun:example.org:3478"]) == [IceServer(("stun:example.org:3478",))]
    assert ice.parse([]) == []


def test_the_default_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ice.VARIABLE, raising=False)
    assert ice.parse(None) == [IceServer((ice.DEFAULT,))]
    monkeypatch.setenv(ice.VARIABLE, "none")
    assert ice.parse(None) == []
    monkeypatch.setenv(ice.VARIABLE, "stun:a.org stun:b.org")
    assert ice.parse(None) == [IceServer(("stun:a.org",)), IceServer(("stun:b.org",))]


def test_the_variable_takes_servers_with_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    given = '["stun:a.org", {"urls": "turn:example.org", "username": "ann", "credential": "secret"}]'
    monkeypatch.setenv(ice.VARIABLE, given)
    assert ice.parse(None) == [IceServer(("stun:a.org",)), TURN]
    for bad in ("[", "[7]", '[{"urls": "http://x"}]'):
        monkeypatch.setenv(ice.VARIABLE, bad)
        with pytest.raises(BadRequest):
            ice.parse(None)


async def test_servers_can_be_fetched_for_each_connection() -> None:
    async def fetch() -> list[ice.IceServerLike]:
        return ["stun:example.org", TURN]

    servers = ice.parse(fetch)
    assert callable(servers)
    assert await servers() == [IceServer(("stun:example.org",)), TURN]


@pytest.mark.parametrize(
    "servers", ["stun:example.org", ["example.org"], [{}], [{"urls": [7]}], [{"urls": "http://x"}]]
)
def test_what_is_no_server_is_an_error(servers: Any) -> None:
    with pytest.raises(BadRequest):
        ice.parse(servers)


@pytest.mark.parametrize(
    "servers", [[7], [None], [["turn:x", "ann", "secret"]], [{"urls": 7}], [{"urls": [7]}], ["turn:ann:secret@x"], [{}]]
)
def test_what_is_no_server_is_an_error_that_shows_no_password(servers: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        ice.parse(servers)
    assert "secret" not in str(caught.value)
