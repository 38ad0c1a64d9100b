"""Two peers that replicate live while the line is cut, and they and the hub are killed, as a seed says.

Every write that was acknowledged is remembered. When all is well again both must come to the same, by themselves: with
every such write in it, nothing that nobody wrote, and no second branch of what only one of them writes to.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from peerpouch.cli.processes import Process
from peerpouch.errors import Conflict, NotFound, PeerPouchError
from tests.network.internet import HubServer, Internet, Path_, hub_server, internet
from tests.network.matrix import STEP
from tests.network.namespaces import SCALE, Namespace
from tests.network.shaper import Shape

FAULTS = 6
"""How often something is cut or killed in a run."""

CALM = 3.0
"""Seconds between two faults, on average."""

LONGEST_CUT = 20.0
"""Seconds. Peers believe each other dead after 9, and the engine gives a path up after 15."""

LONGEST_DEATH = 5.0
"""Seconds until what was killed starts again."""

CONVERGENCE = 240 * SCALE
"""Seconds until both are to be the same, once all is well: what was away for long is tried once a minute at last."""

SHARED = 5
"""Documents that both write to."""

KEPT = 20
"""Writes of one peer between which it chooses a document to change."""


@dataclass
class Ledger:
    """What was written: acknowledged revisions, and how many writes nobody knows the fate of."""

    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    uncertain: Counter[str] = field(default_factory=Counter)

    def note(self, doc_id: str, rev: str) -> None:
        self.acknowledged.setdefault(doc_id, set()).add(rev)

    def check(self, trees: dict[str, dict[str, Any]]) -> list[str]:
        """What is wrong with a database's content."""
        wrong = []
        for doc_id, revs in self.acknowledged.items():
            known = set(trees.get(doc_id, {}).get("known", ()))
            wrong += [f"{doc_id} {rev} was acknowledged, and is lost" for rev in sorted(revs - known)]
        for doc_id, tree in trees.items():
            strange = set(tree["known"]) - self.acknowledged.get(doc_id, set())
            if len(strange) > self.uncertain[doc_id]:
                wrong.append(f"{doc_id} has revisions that nobody wrote: {sorted(strange)}")
            if not doc_id.startswith("shared") and len(tree["leaves"]) > 1:
                wrong.append(f"{doc_id} is doubled: {tree['leaves']}")
        return wrong


class Living:
    """A peer that is started again whenever it has been killed, and then goes on as a program of its kind would."""

    def __init__(
        self, name: str, machine: Namespace, folder: Path, hub: str, ice: dict[str, Any], say: Any, *, shares: bool
    ) -> None:
        self.name, self.shares = name, shares
        self._machine, self._folder, self._hub, self._ice, self._say = machine, folder, hub, ice, say
        self._process: Process | None = None
        self._ready = asyncio.Event()
        self._rest = 0.0
        self._killed = False
        self.following = asyncio.Event()
        folder.mkdir()

    async def live(self) -> None:
        """Run until cancelled."""
        while True:
            arguments = ("tests.network.peer", str(self._folder), self._hub)
            env = {"PEERPOUCH_HOME": str(self._folder)}
            self._killed = False
            process = self._process = await self._machine.process(self.name, *arguments, env=env)
            try:
                await self._go_on(process)
            except PeerPouchError as error:
                if not self._killed:  # whatever happens, live replication goes on by itself
                    raise
                self._say(f"{self.name} ended: {error}")
            finally:
                self._ready.clear()
                self.following.clear()
                await process.kill()
            await asyncio.sleep(self._rest)

    async def _go_on(self, process: Process) -> None:
        await process.call("start", timeout=STEP, seed="0a" if self.shares else "0b", ice=self._ice)
        self._ready.set()
        await process.call("meet", timeout=CONVERGENCE)
        if self.shares:
            await process.call("share", timeout=CONVERGENCE)
        else:
            await process.call("open", timeout=CONVERGENCE, patience=CONVERGENCE)
            await process.call("follow", timeout=STEP)
        self._say(f"{self.name} is up")
        self.following.set()
        await process.call("forever", timeout=3600)

    async def kill(self, rest: float) -> None:
        """Kill it; it starts again after a rest."""
        self._rest, self._killed = rest, True
        if self._process is not None:
            await self._process.kill()

    async def call(self, method: str, **arguments: Any) -> Any:
        """Call a method as soon as its database is open."""
        await self._ready.wait()
        assert self._process is not None
        return await self._process.call(method, timeout=STEP, **arguments)


class Run:
    """One run."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.ledger = Ledger()
        self.log: list[str] = []
        self._began = 0.0
        self._folder = folder
        self._number = 0
        self._over = False

    def say(self, what: str) -> None:
        """Note what happened, for whoever reads why it failed."""
        self.log.append(f"{time.monotonic() - self._began:7.2f} {what}")

    async def run(self) -> str:
        """Everything, to the comparison at the end; gives what it came to.

        Raises:
            AssertionError: something is lost, doubled, or did not come in time; with what happened.
        """
        self._began = time.monotonic()
        self._folder.mkdir()
        try:
            await self._run()
        except AssertionError:
            raise
        except Exception as error:
            raise self._failed([repr(error)]) from error
        return self.log[-1]

    async def _run(self) -> None:
        path: Path_ = self.chance.choice(("direct", "direct", "nat", "ipv6", "relay"))
        self.shape = Shape(
            round_trip=self.chance.choice((0, 0.02, 0.1)), loss=self.chance.choice((0, 0, 0.01)), seed=self.seed
        )
        self.say(f"{path}, {self.shape}")
        async with AsyncExitStack() as stack:
            self.net: Internet = await stack.enter_async_context(internet(path))
            await self.net.shape(self.shape)
            self.hub: HubServer = await stack.enter_async_context(hub_server(self.net, self._folder / "hub"))
            self.peers = [
                Living(
                    name, home.machine, self._folder / name, self.hub.target, self.net.ice, self.say, shares=name == "a"
                )
                for name, home in (("a", self.net.a), ("b", self.net.b))
            ]
            lives = [asyncio.create_task(peer.live()) for peer in self.peers]
            stack.push_async_callback(_end, *lives)
            work = asyncio.create_task(self._work())
            stack.push_async_callback(_end, work)
            done, _ = await asyncio.wait([work, *lives], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def _work(self) -> None:
        await asyncio.wait_for(self.peers[1].following.wait(), STEP)
        writers = [asyncio.create_task(self._write(peer, random.Random(self.chance.random()))) for peer in self.peers]
        try:
            for _ in range(FAULTS):
                await asyncio.sleep(self.chance.expovariate(1 / CALM))
                await self._fault()
            await asyncio.sleep(self.chance.expovariate(1 / CALM))
            self._over = True
            await asyncio.gather(*writers)
        finally:  # when the run has failed, a writer may wait for a peer that does not come again
            await _end(*writers)
        self.say("all is well")
        await self._converge()

    # Faults

    async def _fault(self) -> None:
        kind = self.chance.choice(("cut", "cut", "flap", "kill a", "kill b", "kill the hub", "kill all"))
        self.say(kind)
        rest = self.chance.uniform(0, LONGEST_DEATH)
        if kind == "cut":
            await self._cut(LONGEST_CUT * self.chance.random() ** 3)
        elif kind == "flap":
            for _ in range(5):
                await self._cut(self.chance.uniform(0.05, 1))
                await asyncio.sleep(self.chance.uniform(0.05, 1))
        elif kind == "kill all":
            await asyncio.gather(*(peer.kill(rest) for peer in self.peers), self._kill_hub(rest))
        elif kind == "kill the hub":
            await self._kill_hub(rest)
        else:
            await self.peers[kind == "kill b"].kill(rest)

    async def _cut(self, seconds: float) -> None:
        self.say(f"cut for {seconds:.2f} s")
        await self.net.shape(replace(self.shape, down=True))
        await asyncio.sleep(seconds)
        await self.net.shape(self.shape)

    async def _kill_hub(self, rest: float) -> None:
        await self.hub.end()
        await asyncio.sleep(rest)
        await self.hub.start()

    # Writes

    async def _write(self, peer: Living, chance: random.Random) -> None:
        """Write as one who uses the database does: new documents, and changes of old ones."""
        mine: list[str] = []
        while not self._over:
            self._number += 1
            kind = chance.random()
            if kind < 0.2:
                doc_id = f"shared-{chance.randrange(SHARED)}"
            elif kind < 0.6 and mine:
                doc_id = chance.choice(mine[-KEPT:])
            else:
                doc_id = f"{peer.name}-{self._number:05}"
                mine.append(doc_id)
            with suppress(PeerPouchError):  # it was killed
                await self._put(peer, doc_id, self._number, deleted=kind < 0.22)
            await asyncio.sleep(chance.expovariate(1 / 0.1))

    async def _put(self, peer: Living, doc_id: str, number: int, *, deleted: bool) -> None:
        doc: dict[str, Any] = {"_id": doc_id, "number": number}
        with suppress(NotFound):
            doc["_rev"] = (await peer.call("current", doc_id=doc_id))["_rev"]
            if deleted:
                doc["_deleted"] = True
        # Until it is acknowledged, it may have been written or not.
        self.ledger.uncertain[doc_id] += 1
        try:
            rev = await peer.call("put", doc=doc)
        except Conflict:  # replication was faster
            self.ledger.uncertain[doc_id] -= 1
            return
        self.ledger.uncertain[doc_id] -= 1
        self.ledger.note(doc_id, rev)

    # The end

    async def _converge(self) -> None:
        digests: list[Any] = []
        try:
            async with asyncio.timeout(CONVERGENCE):
                while len(digests) < 2 or digests[0] != digests[1]:
                    digests = []
                    with suppress(PeerPouchError):
                        digests = [await peer.call("digest") for peer in self.peers]
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise self._failed(["they are not the same", str(digests)]) from None
        self.say(f"converged: {digests[0]['documents']} documents")
        for peer in self.peers:
            if wrong := self.ledger.check(await peer.call("trees")):
                raise self._failed([f"at {peer.name}: {each}" for each in wrong])

    def _failed(self, why: list[str]) -> AssertionError:
        return AssertionError("\n".join([f"seed {self.seed}:", *why, *self.log]))


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
