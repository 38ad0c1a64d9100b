"""The port Replicator, by the pipeline."""

from __future__ import annotations

import random
from collections.abc import Callable

from peerpouch.ports import Clock, Database, ReplicationOptions, Replicator, SystemClock
from peerpouch.replication.pipeline import Tuning
from peerpouch.replication.run import PipelinedReplication
from peerpouch.replication.sync import PipelinedSync


class PipelinedReplicator(Replicator):
    """Starts replications between any two databases.

    Args:
        clock: For back-off, the times between checkpoints, and what they record.
        chance: Gives numbers from 0 to 1, to spread what would otherwise come back in step.
        tuning: When checkpoints are written.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
        tuning: Tuning | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._chance = chance
        self._tuning = tuning or Tuning()

    def replicate(
        self, source: Database, target: Database, options: ReplicationOptions | None = None
    ) -> PipelinedReplication:
        """Start one, as a task of the running event loop.

        Raises:
            BadRequest: if the options contradict each other.
        """
        options = options or ReplicationOptions()
        return PipelinedReplication(source, target, options, self._clock, self._chance, self._tuning)

    def sync(
        self,
        here: Database,
        there: Database,
        push: ReplicationOptions | None = None,
        pull: ReplicationOptions | None = None,
    ) -> PipelinedSync:
        """Start one in each direction."""
        push = push or ReplicationOptions()
        return PipelinedSync(self.replicate(here, there, push), self.replicate(there, here, pull or push))
