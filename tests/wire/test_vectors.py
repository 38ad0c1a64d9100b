"""The recorded session that other implementations are held to."""

from __future__ import annotations

import json

from peerpouch.wire.frames import FrameType
from tests.wire import pacings
from tests.wire.vectors import PATH, decode, record


def test_the_same_calls_send_the_recorded_messages_and_give_the_recorded_events() -> None:
    recorded = json.loads(PATH.read_text(encoding="utf-8"))
    assert json.loads(json.dumps(record())) == recorded


def test_the_recorded_messages_decode_to_the_recorded_frames() -> None:
    steps = [step for step in json.loads(PATH.read_text(encoding="utf-8"))["steps"] if "message" in step]
    for step in steps:
        if "frames" in step:
            assert decode(bytes.fromhex(step["message"])) == step["frames"]


def test_the_recorded_session_has_every_type_of_frame_an_unknown_one_and_an_error() -> None:
    steps = json.loads(PATH.read_text(encoding="utf-8"))["steps"]
    kinds = {entry["type"] for step in steps for entry in step.get("frames", [])}
    assert {kind.name for kind in FrameType} <= kinds
    assert 200 in kinds
    assert any("error" in step for step in steps)


def test_a_pacer_says_what_was_recorded() -> None:
    recorded = json.loads(pacings.FILE.read_text(encoding="utf-8"))
    assert json.loads(json.dumps(pacings.record())) == recorded
    assert all(len({step[0] for step in run["steps"]}) == 4 for run in recorded)
