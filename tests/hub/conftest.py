from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from peerpouch.hub.client import HubClient
from peerpouch.hub.events import Opening
from peerpouch.identity.keys import Identity
from peerpouch.ports import Clock, Document, Documents
from tests.hub.fakes import FakeClock, MemoryHub

Join = Callable[..., HubClient]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hub(clock: FakeClock) -> MemoryHub:
    return MemoryHub(clock)


@pytest.fixture
async def join(hub: MemoryHub, clock: FakeClock) -> AsyncIterator[Join]:
    """Makes clients of the hub, and closes them in the end."""
    async with AsyncExitStack() as stack:

        def make(
            identity: Identity | None = None, *, at: Documents | None = None, by: Clock | None = None, **options: Any
        ) -> HubClient:
            options.setdefault("random", lambda: 0.5)
            client = HubClient(at or hub, identity or Identity.ephemeral(), by or clock, **options)
            stack.push_async_callback(client.close)
            return client

        yield make
        hub.fail = None


async def echo(opening: Opening) -> Document:
    """A handler that lets everybody in."""
    return {"sdp": "answer to " + opening.body.get("sdp", ""), "info": {"from": "the owner"}}


async def publish(client: HubClient, uuid: str = "uuid-1", name: str = "Field notes", **options: Any) -> str:
    """Share a database; gives the share's id."""
    options.setdefault("handler", echo)
    return (await client.publish(uuid, name=name, **options)).id
