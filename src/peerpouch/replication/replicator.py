"""The port Replicator, by the pipeline."""

from __future__ import annotations

import random
from collections.abc import Callable

from peerpouch.ports import Clock, Database, ReplicationOptions, Replicator, SystemClock
from peerpouch.replication.known import Known
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
        return self._start(source, target, options or ReplicationOptions(), None)

    def _start(
        self, source: Database, target: Database, options: ReplicationOptions, known: tuple[Known | None, Known] | None
    ) -> PipelinedReplication:
        return PipelinedReplication(source, target, options, self._clock, self._chance, self._tuning, known)

    def sync(
        self,
        here: Database,
        there: Database,
        push: ReplicationOptions | None = None,
        pull: ReplicationOptions | None = None,
    ) -> PipelinedSync:
        """Start one in each direction."""
        push = push or ReplicationOptions()
        here_has, there_has = Known(), Known()
        return PipelinedSync(
            self._start(here, there, push, (here_has, there_has)),
            self._start(there, here, pull or push, (there_has, here_has)),
        )
