"""``peerpouch fetch`` goes on from what is there, and hands nothing over that is not what it is said to be."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peerpouch.cli import pipes, receiving
from peerpouch.cli.pipes import Partial
from peerpouch.cli.receiving import Receiving, receive_into
from peerpouch.errors import BadRequest, Conflict, Forbidden, PeerPouchError, PeerUnreachable, ProtocolError
from peerpouch.ports import Attachment
from tests.cli.support import LIMIT, run, running
from tests.node.support import people

CONTENT = bytes(range(256)) * 400
STEP = 10_000


def digest(content: bytes) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content).digest()).decode()


class Owner:
    """Gives an attachment, and breaks off after so many bytes of each request, with errors one after another."""

    def __init__(
        self, content: bytes = CONTENT, errors: list[PeerPouchError] | None = None, after: int = 30_000
    ) -> None:
        self.content = content
        self.errors = errors or []
        self.after = after
        self.asked: list[int] = []
        self.ranges = self.checked = True

    async def get_attachment(self, doc_id: str, name: str, *, rev: str | None = None, start: int = 0) -> Attachment:
        self.asked.append(start)
        content, first = self.content, start if self.ranges else 0

        async def stream() -> AsyncIterator[bytes]:
            for at in range(first, len(content), STEP):
                if self.errors and at - first >= self.after:
                    raise self.errors.pop(0)
                yield content[at : min(at + STEP, len(content))]

        found = digest(content)
        checks = [found] if self.checked else []
        return Attachment(name, "x/y", len(content), found, stream, start=first, checks=checks)

    async def fetch(self, path: Path) -> tuple[int, int]:
        """Receive it into a file; gives its size, and how many bytes came."""
        came: list[int] = []
        transfer = Receiving(self, "d", await self.get_attachment("d", "a"))  # type: ignore[arg-type]
        assert transfer.tag is not None
        async with Partial(str(path), transfer.tag) as out:
            before = out.size
            size = await receive_into(out, transfer, came.append)
        return size, sum(came) - before


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "LONGEST_WAIT", 0.001)


def partials(folder: Path) -> list[Path]:
    return list(folder.glob("*.partial"))


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_lost_connection_costs_nothing_that_came(tmp_path: Path, ranges: bool) -> None:
    owner = Owner(errors=[PeerUnreachable("lost"), PeerUnreachable("lost")], after=30_000 if ranges else 80_000)
    owner.ranges = ranges
    assert await owner.fetch(tmp_path / "f") == (len(CONTENT), len(CONTENT))
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert owner.asked == ([0, 30_000, 60_000] if ranges else [0, 80_000, 80_000])
    assert not partials(tmp_path)


async def test_what_an_earlier_process_received_is_not_sent_again(tmp_path: Path) -> None:
    owner = Owner(errors=[Forbidden("enough")])
    with pytest.raises(Forbidden):
        await owner.fetch(tmp_path / "f")
    assert [part.stat().st_size for part in partials(tmp_path)] == [30_000]
    assert not (tmp_path / "f").exists()
    again = Owner()
    assert await again.fetch(tmp_path / "f") == (len(CONTENT), len(CONTENT) - 30_000)
    assert again.asked == [0, 30_000]  # the first one is not read
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert not partials(tmp_path)


@pytest.mark.parametrize("is_checked", [True, False], ids=["checked", "twin: not checked"])
async def test_what_was_garbled_on_disk_is_not_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_checked: bool
) -> None:
    with pytest.raises(Forbidden):
        await Owner(errors=[Forbidden("enough")]).fetch(tmp_path / "f")
    (part,) = partials(tmp_path)
    part.write_bytes(bytes(30_000))  # as after a power cut
    if not is_checked:
        monkeypatch.setattr(receiving.Check, "end", lambda self: None)
        await Owner().fetch(tmp_path / "f")
        assert (tmp_path / "f").read_bytes() != CONTENT
        return
    with pytest.raises(ProtocolError):
        await Owner().fetch(tmp_path / "f")
    assert not (tmp_path / "f").exists()
    assert not partials(tmp_path)
    assert await Owner().fetch(tmp_path / "f") == (len(CONTENT), len(CONTENT))


async def test_another_content_is_never_put_behind_the_first(tmp_path: Path) -> None:
    with pytest.raises(Forbidden):
        await Owner(errors=[Forbidden("enough")]).fetch(tmp_path / "f")
    other = CONTENT[::-1]
    assert await Owner(other).fetch(tmp_path / "f") == (len(other), len(other))
    assert (tmp_path / "f").read_bytes() == other
    owner = Owner(errors=[PeerUnreachable("lost")])
    transfer = Receiving(owner, "d", await owner.get_attachment("d", "a"))  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        async for _ in transfer.rest(0):
            owner.content = other  # changed in the middle


async def test_an_owner_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "PATIENCE", 0.0)
    owner = Owner(errors=[PeerUnreachable("lost") for _ in range(9)], after=0)
    transfer = Receiving(owner, "d", await owner.get_attachment("d", "a"))  # type: ignore[arg-type]
    with pytest.raises(PeerUnreachable):
        async for _ in transfer.rest(0):
            pass


async def test_nothing_is_kept_of_what_cannot_be_checked() -> None:
    owner = Owner()
    owner.checked = False
    assert Receiving(owner, "d", await owner.get_attachment("d", "a")).tag is None  # type: ignore[arg-type]


async def test_two_at_once_do_not_write_one_file(tmp_path: Path) -> None:
    async with Partial(str(tmp_path / "f"), "t") as out:
        await out.write(b"x")
        with pytest.raises(BadRequest, match="another process"):
            await Partial(str(tmp_path / "f"), "t").__aenter__()
    assert (tmp_path / "f").read_bytes() == b"x"


async def test_what_another_process_finishes_just_now_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Partial(str(tmp_path / "f"), "t")
    await other.__aenter__()
    await other.write(b"whole")
    lock = pipes._lock

    def late(number: int) -> bool:
        # The other one ends between opening and locking.
        if (file := other._file) is not None:
            other._end(file, whole=True)
        return lock(number)

    monkeypatch.setattr(pipes, "_lock", late)
    with pytest.raises(BadRequest, match="another process"):
        await Partial(str(tmp_path / "f"), "t").__aenter__()
    assert (tmp_path / "f").read_bytes() == b"whole"


async def test_a_fetch_that_was_killed_goes_on(tmp_path: Path) -> None:
    size = 24 << 20
    content = hashlib.shake_256(b"seed").digest(size)

    async def data() -> Any:
        for at in range(0, size, 1 << 20):
            yield content[at : at + (1 << 20)]

    async with people(tmp_path, "alice") as (alice,):
        database = await alice.database()
        await database.put_attachment("d", "a", data())
        share = await alice.hub.share_database(database, name="Files")
        arguments = ("fetch", share.dbname, "d", "a", "-o", "out")
        async with running(tmp_path, "bob", *arguments) as process, asyncio.timeout(LIMIT):
            while not any(part.stat().st_size > size // 8 for part in partials(tmp_path)):
                assert process.returncode is None
                await asyncio.sleep(0.005)
            process.kill()
            await process.communicate()
        (part,) = partials(tmp_path)
        there = part.read_bytes()
        assert content.startswith(there)
        sent = 0
        get_attachment = database.get_attachment

        async def counted(*args: Any, **more: Any) -> Attachment:
            nonlocal sent
            found = await get_attachment(*args, **more)
            sent = found.end - found.start
            return found

        database.get_attachment = counted  # type: ignore[method-assign]
        done = await run(tmp_path, "bob", *arguments)
        assert done.code == 0, done.err
    assert (tmp_path / "out").read_bytes() == content
    assert sent == size - len(there)
    assert not partials(tmp_path)
