"""The bounds of a public hub: section 6 of its protocol."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublicLimits:
    """What strangers may use of a hub.

    A share has at most 24 KB of JSON and a signal 131 KB, so a full hub holds 660 MB at the very most, and usually some
    40 MB.

    Attributes:
        requests_per_second, requests_at_once: Of one address, by a token bucket; a listing or feed counts as several.
        listing_cost: As how many requests a listing or a feed counts: either may read the whole hub.
        writes_per_second, writes_at_once: Documents written, of all visitors together.
        body: Bytes of a request's body.
        documents: Written in one request.
        keys: Asked for in one request.
        feeds_of_one, feeds: Live feeds of one address, and of all.
        shares_of_one, shares: Living shares of one address, and of all. Readers list no more than 5,000.
        signals_of_one, signals_to_one, signals: Signals of one address, for one session (which has no more in hand),
            and of all.
        signal_lifetime: Seconds since it was last written; openers wait 60 at most.
        longest_lease: Seconds.
        lease_grace: Seconds for which a share is kept beyond its lease.
        tombstone_lifetime: Seconds; every live feed has seen a deletion by then.
        tombstones: Kept at most; beyond, the oldest are forgotten early.
        selector: Bytes of a feed's selector as JSON: it is evaluated for every change.
    """

    requests_per_second: float = 20.0
    requests_at_once: int = 200
    listing_cost: int = 10
    writes_per_second: float = 200.0
    writes_at_once: int = 1000
    body: int = 4 << 20
    documents: int = 200
    keys: int = 1000
    feeds_of_one: int = 64
    feeds: int = 2048
    shares_of_one: int = 200
    shares: int = 5000
    signals_of_one: int = 128
    signals_to_one: int = 128
    signals: int = 4096
    signal_lifetime: float = 300.0
    longest_lease: int = 3600
    lease_grace: float = 60.0
    tombstone_lifetime: float = 900.0
    tombstones: int = 5000
    selector: int = 2048
