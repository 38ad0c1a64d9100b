"""What the WebRTC engines are known to do to those who trust them, and the tests that hold against each.

The behaviour of wrtc and aiortc was measured before anything was built on them. Each trap that applies has tests; the
table says which, and this module holds the table to the truth.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parents[1]


class Trap(NamedTuple):
    """A trap: what it is, and the tests against it; or why it does not apply."""

    what: str
    tests: tuple[str, ...] = ()
    why_none: str = ""


_ENGINES = "contract/test_engines.py"
_LINK = "transports/webrtc/test_link.py"
_PACING = "wire/test_pacing.py"
_LIVENESS = "wire/test_liveness.py"

TRAPS = {
    1: Trap(
        "a native thread goes on receiving while the program is busy: only credit bounds what piles up",
        (
            f"{_LINK}::test_the_engines_queue_stays_short_and_unread_responses_stay_small",
            f"{_LINK}::test_twin_without_credit_an_unread_response_grows_without_end",
            "wire/test_connection.py::test_a_reader_that_stops_reading_stops_the_writer",
        ),
    ),
    2: Trap(
        "the send queue raises at 16 MiB or grows without end, and what is in it stands before every small message",
        (
            f"{_ENGINES}::test_a_full_queue_and_a_message_too_large_fail_instead_of_growing",
            f"{_PACING}::test_the_queue_never_holds_more_than_fifty_milliseconds_and_one_frame",
            f"{_PACING}::test_a_small_answer_passes_bulk_within_the_delay_and_one_turn",
            f"{_PACING}::test_twin_with_a_fixed_mark_a_small_answer_waits_behind_bulk",
            f"{_PACING}::test_the_mark_never_exceeds_what_the_engines_take",
        ),
    ),
    3: Trap(
        "bufferedamountlow fires once per downward crossing, and never if the amount was not above",
        (f"{_ENGINES}::test_low_is_told_once_per_crossing",),
    ),
    4: Trap(
        "a message above 262,144 bytes raises, another error in each engine",
        (
            f"{_ENGINES}::test_a_full_queue_and_a_message_too_large_fail_instead_of_growing",
            "wire/test_connection.py::test_a_message_above_the_limit_closes_the_connection",
        ),
    ),
    5: Trap(
        "a killed peer is noticed late, or never, and its channel goes on accepting",
        (
            "faults/test_killed_peer.py::test_a_killed_peer_is_noticed_within_ten_seconds_and_requests_end",
            f"{_LINK}::test_a_silent_peer_ends_everything_within_ten_seconds",
            f"{_LINK}::test_twin_without_liveness_a_silent_peer_is_never_noticed",
        ),
    ),
    6: Trap(
        "closing the connection drops what is queued, and tells nobody",
        (
            f"{_ENGINES}::test_closing_the_channel_sends_what_is_queued",
            f"{_ENGINES}::test_twin_closing_the_connection_first_loses_what_is_queued",
            f"{_ENGINES}::test_closing_a_connection_that_never_opened_ends_its_wait",
            f"{_LINK}::test_closing_drains_answers_that_were_given",
        ),
    ),
    7: Trap(
        "after a fork the engine hangs in the child: processes are spawned",
        (f"{_ENGINES}::test_a_spawned_process_has_an_engine_of_its_own",),
    ),
    8: Trap(
        "with a loopback interface only there is no candidate",
        (
            "network/test_matrix.py::test_documents_and_an_attachment_replicate_in_every_network",
            f"{_ENGINES}::test_the_description_has_its_candidates_and_a_fingerprint_inside",
        ),
    ),
    9: Trap(
        "a dead STUN or TURN server keeps gathering waiting for 5 or 40 seconds",
        (
            f"{_ENGINES}::test_a_dead_stun_server_costs_no_more_than_the_time_for_gathering",
            "node/test_doctor.py::test_a_dead_stun_server_and_a_url_without_a_host_are_told",
        ),
    ),
    10: Trap(
        "an outage of more than 15 seconds ends a connection for good, unless ICE is restarted",
        (
            "network/test_roaming.py::test_a_reading_goes_on_while_a_machine_gets_another_address",
            "transports/webrtc/test_restart.py::test_a_restart_in_time_loses_nothing",
            "transports/webrtc/test_restart.py::test_twin_without_a_restart_all_is_lost",
            "transports/webrtc/test_restart.py::test_aiortc_says_that_it_can_not",
            "peers/test_restarting.py::test_an_end_that_can_not_restart_makes_a_new_connection",
        ),
    ),
    11: Trap("a blocked loop, which one engine survives for longer", (f"{_ENGINES}::test_a_blocked_loop_is_survived",)),
    12: Trap(
        "no engine keeps its certificate: identity is bound by signing the fingerprint",
        (
            f"{_ENGINES}::test_a_wrong_fingerprint_never_opens",
            "transports/webrtc/test_restart.py::test_a_restart_of_another_connection_is_refused",
        ),
    ),
    13: Trap("statistics differ, and are empty in aiortc", (f"{_ENGINES}::test_stats_tell_the_path",)),
    14: Trap(
        "an empty candidate comes before the last; with TURN, mixed pairs may stay on the relay",
        ("transports/webrtc/test_sdp.py::test_a_description_of_one_data_channel_is_taken_and_its_candidates_are_read",),
    ),
    15: Trap(
        "a field trial saves a round trip at connecting",
        why_none="it is a switch for the whole process, between two ends of one engine only, and may go with a release",
    ),
    16: Trap(
        "browsers: 16 KiB is the portable message, and a background tab's timers run once a minute",
        (
            f"{_LIVENESS}::test_with_timers_throttled_to_one_a_minute_a_dead_peer_is_noticed_at_the_second",
            "wire/test_frames.py::test_hello_tells_the_limits",
        ),
    ),
    17: Trap(
        "a kernel may lack netem",
        ("network/test_shaping.py",),
    ),
}


def _names(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


@pytest.mark.parametrize("number", TRAPS)
def test_the_tests_that_the_table_names_exist(number: int) -> None:
    trap = TRAPS[number]
    assert bool(trap.tests) != bool(trap.why_none)
    for named in trap.tests:
        module, _, test = named.partition("::")
        names = _names(TESTS / module)
        assert not test or test in names, named


def test_the_table_has_every_trap() -> None:
    assert list(TRAPS) == list(range(1, 18))
