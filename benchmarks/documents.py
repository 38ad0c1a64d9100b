"""What is written: records of about 240 bytes as JSON, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator
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


def batches(count: int, size: int = BATCH) -> Iterator[list[dict[str, Any]]]:
    """``count`` records, ``size`` at a time."""
    records = map(record, range(count))
    while batch := list(islice(records, size)):
        yield batch
