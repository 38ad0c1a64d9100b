"""docs/protocol/trust.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from peerpouch.hub import admission, answering, client, collector, directory, feed, leases, publisher, shares, signals
from peerpouch.identity import canonical, invites

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol" / "trust.md").read_text(encoding="utf-8")

LIMITS = {
    "clock tolerance, seconds": leases.TOLERANCE,
    "lease, seconds": shares.LEASE,
    "shortest lease, seconds": shares.MIN_LEASE,
    "longest lease, seconds": shares.MAX_LEASE,
    "renewal, seconds": publisher.RENEW_EVERY,
    "name, code points": shares.MAX_NAME,
    "info, bytes": shares.MAX_INFO,
    "signed part of a share, bytes": shares.MAX_DOCUMENT,
    "levels of JSON in a share": canonical.MAX_DEPTH,
    "content of a box without its signature, bytes": signals.MAX_CONTENT,
    "reason of a refusal, characters": signals.MAX_REASON,
    "shares remembered of one hub": leases.MAX_SHARES,
    "nonces remembered": admission.MAX_REMEMBERED,
    "openings being decided": admission.MAX_PENDING,
    "openings being decided, of one key": admission.MAX_PENDING_PER_KEY,
    "offers under way from one session to one owner": admission.MAX_CALLS,
    "time to decide, seconds": answering.DECIDE_WITHIN,
    "invite, characters": invites.MAX_LENGTH,
}


def test_the_limits_are_those_of_the_code() -> None:
    section = DOCUMENT.partition("## 8. Limits")[2].partition("## 9.")[0]
    rows = dict(re.findall(r"^\| (.+?) \| (\d+) \|$", section, re.MULTILINE))
    assert {name: float(value) for name, value in rows.items()} == LIMITS
    assert f"when {answering.MAX_TASKS} offers are in hand" in section


def test_the_selector_is_the_one_that_is_sent() -> None:
    ids = [choice["_id"] for choice in client.feed_selector("S", "T")["$or"][:2]]
    for bounds in ids:
        for bound in bounds.values():
            assert f'"{bound}"'.replace("\ufff0", r"\ufff0") in DOCUMENT


def test_the_feeds_times_are_those_of_the_code() -> None:
    text = " ".join(DOCUMENT.split())
    assert f"(every {feed.HEARTBEAT:g} seconds) for {feed.SILENCE:g} seconds" in text
    assert f"from {feed.FIRST_WAIT:g} second to {feed.LONGEST_WAIT:g}" in text


def test_every_error_of_a_refusal_is_named() -> None:
    allowed = {cls.error for refusal in signals.REFUSALS for cls in (refusal, *refusal.__subclasses__())}
    listed = " ".join(DOCUMENT.split()).partition("`error` is one of ")[2].partition(";")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == allowed


def test_the_times_of_tidying_and_the_bounds_in_the_text_are_those_of_the_code() -> None:
    text = " ".join(DOCUMENT.split())
    assert f"every {collector.PASS_EVERY / 60:g} minutes, and trusts no clock" in text
    assert f"did not change for {collector.UNCHANGED_FOR / 60:g} minutes while it looked on" in text
    assert f"looks at {directory.MAX_ROWS:,} documents and lists {leases.MAX_SHARES:,} shares" in text
    assert f"offers more than {admission.AHEAD:g} seconds ahead of the clock" in text
    assert f"bring both to a multiple of {signals._PADDING:,} bytes" in text
    assert f"base32 of {signals.NONCE_BYTES} random bytes, {signals.NONCE_LENGTH} characters" in text
    assert f"seconds, an integer from {shares.MIN_LEASE} to {shares.MAX_LEASE:,}; usually {shares.LEASE}" in text
    assert signals.MAX_INTEGER == canonical.MAX_SAFE_INTEGER == 2**53 - 1


def test_the_characters_that_no_name_has_are_those_of_the_code() -> None:
    (listed,) = re.findall(r"none of U\+([^|]+) \|", DOCUMENT)
    ranges = re.findall(r"([0-9A-F]{4})\u2013([0-9A-F]{4})", listed)
    forbidden = {chr(code) for first, last in ranges for code in range(int(first, 16), int(last, 16) + 1)}
    assert forbidden == shares._UNPRINTABLE
