"""The demo's story: what alice and bob do, in order, and what has to be true after each step."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import statistics
import sys
import time
import unicodedata
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from peerpouch.cli.demo import material
from peerpouch.cli.demo.actors import HALF
from peerpouch.cli.demo.compare import compare, files_of, find_in
from peerpouch.cli.display import Line, ProgressView, Rate, amount, write_json, write_table
from peerpouch.cli.processes import Event, Process
from peerpouch.ports import ReplicationProgress

ANSWER = 60.0
"""Seconds for a step that should take a moment."""

WORK = 900.0
"""Seconds for loading or replicating everything, on a slow machine."""

LIVE_CHANGES = 10
"""Changes that travel live, in each direction."""

EDITED = ["U+0041", "U+00C4", "U+00DF", "U+00E9", "U+00F8"]
DELETED = "U+0060"
SAMPLED_NAMES = 200
"""Characters whose names are looked for in the hub, beside what was planted on purpose."""


@dataclass
class Step:
    """A row of the closing table."""

    what: str
    documents: int
    bytes: int
    seconds: float


@dataclass
class Check:
    """Something that has to be true, and whether it is."""

    what: str
    ok: bool
    detail: str = ""


class Story:
    """The demo from beginning to end.

    Args:
        folder: Empty; everything is written into it.
        limit: How many characters; None for all of them.
        quiet: Say nothing along the way.
    """

    def __init__(self, folder: Path, limit: int | None, *, quiet: bool = False) -> None:
        self._folder = folder
        self._limit = limit
        self._quiet = quiet
        self._hub = folder / "hub.db"
        self._plants = [f"planted-{secrets.token_hex(16)}" for _ in range(3)]
        self._line: Line | None = None
        self._rate = Rate()
        self._said = 0.0
        self.path = ""
        self.steps: list[Step] = []
        self.checks: list[Check] = []
        self.facts: dict[str, Any] = {}

    @property
    def ok(self) -> bool:
        """Whether everything that was checked is true."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    async def tell(self) -> None:
        """Run it all. Whatever happens, no process is left behind."""
        async with AsyncExitStack() as stack:
            alice = await self._actor("alice", stack)
            bob = await self._actor("bob", stack)
            await self._begin(alice, bob)
            await self._ask(bob)
            await self._replicate(bob)
            await self._edit(alice, bob)
            await self._conflict(alice, bob)
            await self._live(alice, bob)
            await self._nothing_new(bob)
            self._search_hub("while both are connected")
            await alice.call("unshare", timeout=ANSWER)
            self._check("the share is withdrawn", not await bob.call("shares", timeout=ANSWER))
        await self._compare()
        await self._control_search()

    def show(self, *, as_json: bool) -> None:
        """The closing table, or all of it as JSON."""
        if as_json:
            write_json(
                {
                    "ok": self.ok,
                    "path": self.path,
                    "steps": [vars(step) for step in self.steps],
                    "checks": [vars(check) for check in self.checks],
                    **self.facts,
                }
            )
            return
        rows = [
            (
                step.what,
                f"{step.documents:,}",
                amount(step.bytes),
                f"{step.seconds:.2f} s",
                f"{step.documents / step.seconds:,.0f}" if step.seconds else "",
            )
            for step in self.steps
        ]
        write_table(["what was transferred", "documents", "bytes", "time", "documents/s"], rows)
        write_table(
            ["", "checked", ""], [("ok" if each.ok else "WRONG", each.what, each.detail) for each in self.checks]
        )
        wrong = sum(not check.ok for check in self.checks)
        print("Everything is as it should be." if self.ok else f"{wrong} of {len(self.checks)} checks failed.")

    # The steps.

    async def _actor(self, name: str, stack: AsyncExitStack) -> Process:
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        actor = await stack.enter_async_context(
            await Process.start(
                name,
                "peerpouch.cli.demo.actors",
                str(folder),
                str(self._hub),
                # What the library keeps for a user (contacts, for one) is kept apart for each of the two as well.
                env={"PEERPOUCH_HOME": str(folder)},
                on_event=lambda event: self._hear(name, event),
            )
        )
        own = await actor.call("start", timeout=ANSWER)
        self.facts[name] = {"pid": actor.pid, "fingerprint": own["fingerprint"]}
        self._say(name, f"is process {actor.pid}, with the key {own['fingerprint']}")
        return actor

    async def _begin(self, alice: Process, bob: Process) -> None:
        loaded = await alice.call("load", timeout=WORK, limit=self._limit, plants=self._plants)
        self.facts["loaded"] = loaded
        self.steps.append(Step("alice writes", loaded["documents"], loaded["bytes"], loaded["seconds"]))
        self._say("alice", f"wrote {loaded['documents']:,} documents and attached {loaded['files']} files")
        info = {"unicode": unicodedata.unidata_version, "documents": loaded["documents"]}
        shared = await alice.call("share", timeout=ANSWER, name="Unicode", info=info)
        self._say("alice", f"shares them as 'Unicode': {shared['dbname']}")
        listed = await bob.call("shares", timeout=ANSWER)
        self._check(
            "bob finds alice's share, with her fingerprint and info",
            [(each["name"], each["id"], each["fingerprint"], each["info"]) for each in listed]
            == [("Unicode", shared["id"], self.facts["alice"]["fingerprint"], info)],
        )
        opened = await bob.call("open", timeout=ANSWER, share="Unicode", info={"who": "bob"})
        self.path, self.facts["connect_seconds"] = opened["path"], opened["seconds"]
        self._say("bob", f"opened it in {opened['seconds'] * 1000:.0f} ms; the path is {self.path}")
        greeted = self.facts.get("opened_by")
        self._check(
            "alice knew who came before she let him in",
            greeted == {"opened_by": self.facts["bob"]["fingerprint"], "info": {"who": "bob"}},
        )

    async def _ask(self, bob: Process) -> None:
        path = max(material.files(), key=lambda each: each.stat().st_size)
        content = await asyncio.to_thread(path.read_bytes)
        answers = await bob.call("ask", timeout=WORK, file=path.name)
        self.facts["asked"] = answers
        found = ", ".join(answers["found"])
        self._say("bob", f"asked alice's database in place: {answers['name']}; numbers between 0 and 1 are {found}, …")
        self._check(
            "queries in place give alice's documents, listings, finds, changes and attachments",
            answers["name"] == unicodedata.name("\u00bd")
            and answers["digits"] == [material.character_id(ord(digit)) for digit in "0123456789"]
            and unicodedata.name("\u00bc") in answers["found"]
            and (len(answers["found"]), len(answers["changed"])) == (3, 3)
            and answers["attachment"]
            == {"name": path.name, "bytes": len(content), "sha256": sha256(content).hexdigest()},
        )

    async def _replicate(self, bob: Process) -> None:
        with ProgressView(quiet=self._quiet) as view:
            self._line = view.line("bob replicates", self.path)
            result = await bob.call("replicate", timeout=WORK, direction="pull")
            self._line = None
        self._step("alice to bob", result)
        loaded = self.facts["loaded"]
        self._check(
            "bob received every document and attachment",
            (result["docs_written"], result["docs_failed"]) == (loaded["documents"], 0)
            and result["attachments_written"] == loaded["files"],
            f"{result['docs_written']:,} documents, {result['attachments_written']} attachments",
        )

    async def _edit(self, alice: Process, bob: Process) -> None:
        note = {"seen": "by bob", "planted": self._plants[0]}
        revs = await bob.call("edit", timeout=ANSWER, ids=EDITED, fields=note)
        await bob.call("delete", timeout=ANSWER, doc_id=DELETED)
        self._step("bob's edits to alice", await bob.call("replicate", timeout=WORK, direction="push"))
        arrived = [await alice.call("read", timeout=ANSWER, doc_id=doc_id) or {} for doc_id in EDITED]
        gone = await alice.call("read", timeout=ANSWER, doc_id=DELETED)
        self._check(
            f"bob's {len(EDITED)} edits and his deletion are with alice",
            [doc.get("_rev") for doc in arrived] == list(revs.values()) and gone is None,
        )

    async def _conflict(self, alice: Process, bob: Process) -> None:
        for actor, words in ((alice, "a half"), (bob, "one of two")):
            await actor.call("edit", timeout=ANSWER, ids=[HALF], fields={"words": words, "planted": self._plants[1]})
        await bob.call("replicate", timeout=WORK, direction="push")
        await bob.call("replicate", timeout=WORK, direction="pull")
        mine, other = [await actor.call("read", timeout=ANSWER, doc_id=HALF) for actor in (alice, bob)]
        self._check(
            "both edited one document: they agree on the winner, and both keep the other revision as its conflict",
            mine == other and len((mine or {}).get("_conflicts", [])) == 1,
            f"the winner says {(mine or {}).get('words')!r}",
        )

    async def _live(self, alice: Process, bob: Process) -> None:
        await bob.call("live", timeout=ANSWER)
        delays: list[float] = []
        for number in range(LIVE_CHANGES):
            for writer, reader, name in ((alice, bob, "alice"), (bob, alice, "bob")):
                doc = {"_id": f"live:{name}:{number}", "type": "live", "planted": self._plants[2]}
                seen = asyncio.create_task(reader.call("arrival", timeout=ANSWER, doc_id=doc["_id"]))
                written = await writer.call("write", timeout=ANSWER, doc=doc)
                delays.append(await seen - written)
        sent = await bob.call("settle", timeout=ANSWER)
        self.facts["live_seconds"] = statistics.median(delays)
        self._say(
            "live", f"{len(delays)} changes went both ways; the median took {statistics.median(delays) * 1000:.0f} ms"
        )
        self._check(
            "changes travelled live in both directions",
            (sent["push"]["docs_written"], sent["pull"]["docs_written"]) == (LIVE_CHANGES, LIVE_CHANGES),
            f"{len(delays)} of them",
        )

    async def _nothing_new(self, bob: Process) -> None:
        results = [await bob.call("replicate", timeout=WORK, direction=each) for each in ("push", "pull")]
        self._check(
            "another replication finds nothing left to send", [each["docs_written"] for each in results] == [0, 0]
        )

    async def _compare(self) -> None:
        import peerpouch

        async with (
            peerpouch.open(self._folder / "alice" / "characters.db") as ours,
            peerpouch.open(self._folder / "bob" / "characters.db") as theirs,
        ):
            compared = await compare(ours, theirs, on_progress=self._compared)
        self.facts["compared"] = vars(compared)
        for difference in compared.differences:
            self._say("differs", difference)
        self._check(
            "both databases hold the same documents, leaves, histories, bodies and attachments, compared one by one",
            compared.differing == 0,
            f"{compared.documents:,} documents, {compared.leaves:,} leaves ({compared.conflicts} in conflict), "
            f"{compared.attachments} attachments of {amount(compared.attachment_bytes)}",
        )

    # The hub.

    def _needles(self) -> list[bytes]:
        names = [doc["name"] for doc in material.characters(self._limit) if len(doc["name"]) > 12]
        sample = names[:: max(1, len(names) // SAMPLED_NAMES)]
        return [text.encode() for text in [*self._plants, *sample]]

    def _search_hub(self, when: str) -> None:
        needles = self._needles()
        found = find_in(files_of(self._hub), needles)
        self._check(f"nothing of the data is in the hub's files {when}", not found, ", ".join(found[:3]))
        self.facts["hub_files"] = {path.name: path.stat().st_size for path in files_of(self._hub)}

    async def _control_search(self) -> None:
        """Search once more now that all is closed; then show that the search would have found something."""
        import peerpouch

        self._search_hub("when all is over")
        copy = self._folder / "control" / "hub.db"
        copy.parent.mkdir()
        for path in files_of(self._hub):
            shutil.copy(path, copy.parent / path.name)
        async with peerpouch.open(copy) as hub:
            await hub.put({"_id": "planted", "text": self._plants[0]})
        found = find_in(files_of(copy), self._needles())
        self._check("the same search finds a planted document in a copy of the hub", len(found) >= 1)
        for name in ("alice", "bob"):
            held = find_in(files_of(self._folder / name / "characters.db"), [text.encode() for text in self._plants])
            self._check(f"and finds what was planted in {name}'s own database", len({each[:40] for each in held}) == 3)

    # What is said.

    def _hear(self, name: str, event: Event) -> None:
        if "loaded" in event:
            self._now_and_then(name, f"wrote {event['loaded']:,} documents …")
        elif "opened_by" in event:
            self.facts["opened_by"] = event
            self._say(name, f"is visited by {event['opened_by']}, who says {event['info']}")
        elif "progress" in event:
            self.path = event["path"]
            progress = _progress(event["progress"])
            if self._line is not None:
                self._line.update(progress, event["path"])
            if not sys.stderr.isatty() and progress.state == "active":
                rate = self._rate.at(time.monotonic(), progress.docs_written)
                text = f"{progress.docs_written:,} documents, {amount(progress.bytes)}, {rate:,.0f}/s"
                self._now_and_then(name, f"{text}, {progress.pending or 0:,} to go; {event['path']}")

    def _step(self, what: str, result: Mapping[str, Any]) -> None:
        self.steps.append(Step(what, result["docs_written"], result["bytes"], result["seconds"]))
        self._say("sent", f"{what}: {result['docs_written']:,} documents, {amount(result['bytes'])}, {result['path']}")

    def _check(self, what: str, ok: bool, detail: str = "") -> None:
        self.checks.append(Check(what, ok, detail))
        if not ok:
            self._say("WRONG", f"{what}: {detail}")

    def _compared(self, done: int, total: int) -> None:
        self._now_and_then("compare", f"{done:,} of {total:,} documents …")

    def _now_and_then(self, who: str, text: str) -> None:
        if time.monotonic() - self._said >= 2:
            self._say(who, text)

    def _say(self, who: str, text: str) -> None:
        self._said = time.monotonic()
        if not self._quiet:
            print(f"{who:<8} {text}", flush=True)


def _progress(values: Mapping[str, Any]) -> ReplicationProgress:
    names = ("state", "docs_read", "docs_written", "docs_failed", "changes_read", "bytes", "pending")
    return ReplicationProgress(**{name: values[name] for name in names})
