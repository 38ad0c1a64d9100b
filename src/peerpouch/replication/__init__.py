"""The pipelined replicator: CouchDB's protocol between any two databases.

Five stages work at the same time, each on other documents::

    changes ──▶ rows ──▶ batches ──▶ revision diff ──▶ fetch ──▶ write ──▶ checkpoint
    (feed)     (bounded)  (ticketed)   (lane)          (lane)    (lane)    (a prefix only)

A batch is one task that goes through the *lanes* in the order of the feed; each lane lets a few in at once, so a round
trip is paid per window of batches, and small batches form by themselves when the feed is slow. Writes begin in the
feed's order and may end in any; a checkpoint covers only what is finished without a gap, and is written after
the target has acknowledged it. So a cut at any place costs work to be looked at again, never a document.

A live change that is small and alone skips the comparison where that would cost a round trip, and in a sync what one
side has told of is not offered back to it; :mod:`~peerpouch.replication.known` says why neither can lose anything.
"""

from __future__ import annotations

from peerpouch.replication.pipeline import Tuning
from peerpouch.replication.replicator import PipelinedReplicator

__all__ = ["PipelinedReplicator", "Tuning"]
