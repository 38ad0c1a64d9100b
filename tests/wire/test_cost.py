"""What the channel's protocol adds to what it carries, in counts."""

from __future__ import annotations

from peerpouch.wire import Connection, DataReceived, RequestHead, ResponseHead


async def test_the_channel_adds_a_frame_for_every_sixteen_kilobytes_of_a_body_at_most() -> None:
    sender, receiver = Connection(offerer=True), Connection(offerer=False)
    now = 0.0
    _exchange(sender, receiver, now)
    stream = sender.request(RequestHead(b"POST", b"/db/_bulk_docs"), end=False)
    _exchange(sender, receiver, now)
    body = b"x" * (256 * 1024)
    sender.send_data(stream, body, end=True)
    count = size = got = 0
    while message := sender.data_to_send(1 << 20):
        count += 1
        size += len(message)
        for event in receiver.receive(message, now):
            if isinstance(event, DataReceived):
                got += len(event.data)
                receiver.consumed(event.stream, len(event.data), now)
        while back := receiver.data_to_send(1 << 20):
            sender.receive(back, now)
    assert got == len(body)
    assert count <= len(body) // (15 * 1024) + 1
    assert size <= len(body) * 1.01


def _exchange(one: Connection, other: Connection, now: float) -> None:
    moved = True
    while moved:
        moved = False
        for sender, receiver in ((one, other), (other, one)):
            while message := sender.data_to_send(1 << 20):
                receiver.receive(message, now)
                moved = True


async def test_a_small_request_is_one_message_each_way_without_credit() -> None:
    opener, acceptor = Connection(offerer=True), Connection(offerer=False)
    _exchange(opener, acceptor, 0.0)
    stream = opener.request(RequestHead(b"POST", b"/db/_bulk_docs"), end=False)
    opener.send_data(stream, b"{}", end=True)
    asked = opener.data_to_send(1 << 20)
    assert asked and not opener.data_to_send(1 << 20)
    for event in acceptor.receive(asked, 0.0):
        if isinstance(event, DataReceived):
            acceptor.consumed(event.stream, len(event.data), 0.0)
    # The window of a body that is there already is of no use to anybody.
    assert not acceptor.data_to_send(1 << 20)
    acceptor.respond(stream, ResponseHead(201), end=False)
    acceptor.send_data(stream, b"[]", end=True)
    answered = acceptor.data_to_send(1 << 20)
    assert answered and not acceptor.data_to_send(1 << 20)
    opener.receive(answered, 0.0)
    assert opener.streams == acceptor.streams == 0
