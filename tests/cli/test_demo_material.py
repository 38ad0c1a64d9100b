"""What the demo replicates is real: every named character, and files of this Python."""

from __future__ import annotations

import sys
import unicodedata

from peerpouch.cli.demo import material
from peerpouch.cli.demo.actors import HALF
from peerpouch.cli.demo.story import DELETED, EDITED
from peerpouch.core import jsonio


def test_every_named_character_has_one_document() -> None:
    named = sum(unicodedata.name(chr(point), None) is not None for point in range(sys.maxunicode + 1))
    docs = list(material.characters())
    assert named > 100_000
    assert len({doc["_id"] for doc in docs}) == len(docs) == named


def test_a_character_is_described_as_unicodedata_does() -> None:
    half = next(doc for doc in material.characters(material.SMALLEST) if doc["_id"] == HALF)
    assert half["character"] == "½"
    assert half["name"] == "VULGAR FRACTION ONE HALF"
    assert half["numeric"] == 0.5
    assert half["decomposition"] == "<fraction> 0031 2044 0032"


def test_the_smallest_limit_has_all_that_the_story_needs() -> None:
    docs = list(material.characters(material.SMALLEST))
    ids = {doc["_id"] for doc in docs}
    assert len(docs) == material.SMALLEST
    assert {*EDITED, DELETED, HALF, "U+0030", "U+0039"} <= ids
    assert all(jsonio.dumps(doc) for doc in docs)


async def test_files_are_of_this_python_and_their_documents_name_them_uniquely() -> None:
    paths = material.files()
    assert len(paths) >= 5
    assert len({material.file_document(path)["_id"] for path in paths}) == len(paths)
    content = b"".join([chunk async for chunk in material.chunks(paths[0])])
    assert content == paths[0].read_bytes()
