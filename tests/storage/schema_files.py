"""A small file of every released schema, and what is in each.

``python -m tests.storage.schema_files`` makes the file of the schema that the code has now, once, before its release; a
file that is there is never made again, since what it proves is that today's code reads what earlier code wrote.
"""

from __future__ import annotations

import asyncio
import gzip
import tempfile
from pathlib import Path
from typing import Any

from peerpouch.ports import Document
from peerpouch.storage import Storage, schema

FOLDER = Path(__file__).parent / "schemas"

CONTENT = bytes(range(256)) * 300
"""An attachment of more than one chunk would make the file large; its chunks are tested elsewhere."""

PLAIN: Document = {"_id": "plain", "text": "Grüße", "numbers": [1, 2.5, 2**70], "nested": {"deep": [None, True]}}


async def fill(database: Storage) -> None:
    """Something of everything that a file can hold."""
    await database.put(PLAIN)
    first = await database.put({"_id": "edited", "n": 1})
    second = await database.put({"_id": "edited", "_rev": first.rev, "n": 2})
    await database.bulk_docs(
        [{"_id": "edited", "_rev": "2-abc", "_revisions": {"start": 2, "ids": ["abc", first.rev[2:]]}, "n": "other"}],
        new_edits=False,
    )
    gone = await database.put({"_id": "gone", "n": 1})
    await database.remove("gone", gone.rev)
    await database.put({"_id": "_design/view", "views": {}})
    await database.put_attachment("with file", "file.bin", CONTENT, "application/x-test")
    await database.put({"_id": "_local/checkpoint", "seq": second.rev})
    await database.put_security({"members": {"names": ["jan"], "roles": []}})
    await database.put_revs_limit(77)


async def contents(database: Storage) -> dict[str, Any]:
    """What is read of it again."""
    listing = await database.all_docs(include_docs=True, conflicts=True, attachments="bytes")
    changes = await database.changes(style="all_docs")
    return {
        "docs": [row.get("doc") for row in listing["rows"]],
        "changes": [(row["id"], row["changes"], row.get("deleted", False)) for row in changes["results"]],
        "leaves": [(leaf.rev, leaf.doc) for leaf in await database.open_revs("edited", with_revisions=True)],
        "local": await database.get("_local/checkpoint"),
        "security": await database.get_security(),
        "revs_limit": await database.get_revs_limit(),
        "check": await database.check(),
    }


def files() -> list[Path]:
    """The files, oldest schema first."""
    return sorted(FOLDER.glob("*.db.gz"), key=lambda path: int(path.name.partition(".")[0]))


async def make() -> None:
    target = FOLDER / f"{schema.SCHEMA_VERSION}.db.gz"
    if target.exists():
        raise SystemExit(f"{target.name} is there, and stays as it is.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.db"
        async with await Storage.open(path) as database:
            await fill(database)
        target.write_bytes(gzip.compress(path.read_bytes(), mtime=0))


if __name__ == "__main__":
    asyncio.run(make())
