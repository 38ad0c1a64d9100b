"""What is written, the same in every run: records of about 240 bytes as JSON, and three other sets."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

BATCH = 1000

_WORDS = [
    "amber",
    "basalt",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "garnet",
    "heath",
    "indigo",
    "juniper",
    "kelp",
    "lichen",
    "marsh",
    "nectar",
    "opal",
    "pine",
]


def record(number: int) -> dict[str, Any]:
    """One record. Ids are in order, as an import's are."""
    chance = random.Random(number)
    return {
        "_id": f"record-{number:09d}",
        "type": "measurement",
        "station": chance.choice(_WORDS),
        "time": f"2026-{number % 12 + 1:02d}-{number % 28 + 1:02d}T{number % 24:02d}:{number % 60:02d}:00Z",
        "value": round(chance.uniform(-40, 40), 3),
        "unit": "celsius",
        "flags": [chance.randrange(100) for _ in range(4)],
        "note": " ".join(chance.choices(_WORDS, k=13)),
    }


def nested(number: int) -> dict[str, Any]:
    """A record of about 2 kB, six levels deep."""
    chance = random.Random(number)

    def level(depth: int) -> dict[str, Any]:
        fields: dict[str, Any] = {word: chance.uniform(-40, 40) for word in chance.sample(_WORDS, 3)}
        fields["tags"] = chance.choices(_WORDS, k=3)
        return fields | ({"below": [level(depth - 1) for _ in range(2 - depth % 2)]} if depth else {})

    return {"_id": f"nested-{number:09d}", "type": "survey", "root": level(5)}


_TEXTS = ("Ærøskøbing", "Живая вода", "山高水长", "ひらがな", "مرحبا", "नमस्ते", "😀🎈🌍", "Łódź", "ὕδωρ", "שלום")


def unicode_text(number: int) -> dict[str, Any]:
    """A record whose text is hardly ever ASCII. Its id begins with a letter below U+0100: PouchDB's listing on LevelDB
    leaves out all that don't."""
    chance = random.Random(number)
    return {
        "_id": f"ßерия-{number:09d}",
        "title": chance.choice(_TEXTS),
        "words": chance.choices(_TEXTS, k=6),
        "text": " ".join(chance.choices(_TEXTS, k=20)),
    }


def with_attachment(number: int) -> dict[str, Any]:
    """A record with an attachment of 3 kB."""
    data = base64.b64encode(random.Random(number).randbytes(3_000)).decode()
    attachments = {"photo.jpg": {"content_type": "image/jpeg", "data": data}}
    return {**record(number), "_attachments": attachments}


Make = Callable[[int], dict[str, Any]]

SETS: dict[str, Make] = {"nested": nested, "unicode": unicode_text, "attachments": with_attachment}
"""The sets beside the records, by the names that benchmarks have for them."""

TITLES = {
    "nested": "nested documents of 2 kB",
    "unicode": "Unicode text",
    "attachments": "documents with an attachment of 3 kB",
}
"""What they are, in the titles of benchmarks."""


def batches(count: int, size: int = BATCH, make: Make = record) -> Iterator[list[dict[str, Any]]]:
    """``count`` documents, ``size`` at a time."""
    records = map(make, range(count))
    while batch := list(islice(records, size)):
        yield batch
