"""All benchmarks, in the order in which they run: importing a module of them puts them into the registry."""

from __future__ import annotations

# isort: off
import benchmarks.local
import benchmarks.reading
import benchmarks.replicating
import benchmarks.attachments
import benchmarks.sets
import benchmarks.starting
import benchmarks.peering
import benchmarks.pouchdb  # adds itself to those before
import benchmarks.bounds  # likewise
import benchmarks.trusting
import benchmarks.querying
import benchmarks.serving
import benchmarks.feeds
import benchmarks.shaped
import benchmarks.browsing
import benchmarks.large
import benchmarks.growth  # noqa: F401

# isort: on
from benchmarks import browsing, pouchdb, serving, shaped
from benchmarks.registry import REGISTRY as REGISTRY


def left_out() -> list[str]:
    """What can't be measured on this machine, in words."""
    return [
        text
        for lacks, text in (
            (not pouchdb.AVAILABLE, "PouchDB: it needs Node, and `make setup-node`"),
            (not serving.AVAILABLE, "pouchdb-server: it needs Node, and `make setup-node`"),
            (not browsing.AVAILABLE, "pages: they need Chromium, and `make setup-browser`"),
            (shaped.LACKING is not None, f"links with latency and loss: that {shaped.LACKING}"),
        )
        if lacks
    ]
