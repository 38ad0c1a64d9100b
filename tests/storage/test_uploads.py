"""What an attachment that is taken in holds of memory, counted in bytes."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.storage import uploads
from peerpouch.storage.contents import CHUNK
from peerpouch.storage.uploads import _Gathered


@given(st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 3000).map(bytes))), st.data())
def test_what_is_gathered_is_taken_in_order(parts: list[bytes], data: st.DataObject) -> None:
    gathered, taken = _Gathered(), b""
    for part in parts:
        gathered.add(part)
        taken += gathered.take(data.draw(st.integers(0, gathered.size)))
    assert taken + gathered.take(gathered.size) == b"".join(parts)
    assert gathered.size == 0


def _objects(count: int) -> int:
    gathered = _Gathered()
    for _ in range(count):
        gathered.add(b"x")
    return len(gathered._parts)


def test_bytes_that_come_one_by_one_are_kept_as_few_objects() -> None:
    assert _objects(200_000) <= 4


def test_twin_without_joining_each_is_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_SMALL", 0)
    assert _objects(2000) == 2000


class _Buffer:
    """As a buffer is mostly written."""

    def __init__(self) -> None:
        self.bytes = bytearray()

    @property
    def size(self) -> int:
        return len(self.bytes)

    def add(self, part: bytes) -> None:
        self.bytes += part

    def take(self, size: int) -> bytes:
        taken = bytes(self.bytes[:size])
        del self.bytes[:size]
        return taken


def _steps(gathered: _Gathered | _Buffer) -> float:
    """What is in memory at most, in steps of an upload, while eight of them are gathered and taken."""
    step = uploads._STEP_CHUNKS * CHUNK
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(8 * step // 16384):
            gathered.add(number.to_bytes(4) * 4096)
            if gathered.size >= step:
                gathered.take(step)
        return (tracemalloc.get_traced_memory()[1] - before) / step
    finally:
        tracemalloc.stop()


def test_an_upload_holds_two_steps_of_it_however_long_it_is() -> None:
    """One that is gathered, and its copy that is written and hashed."""
    assert _steps(_Gathered()) < 2.5


def test_twin_a_buffer_that_is_cut_and_copied_holds_three() -> None:
    assert _steps(_Buffer()) > 2.9
