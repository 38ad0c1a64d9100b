from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.network.cells import matrix, other_engines, pairwise
from tests.network.matrix import replicate
from tests.network.together import together

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bed")]


@pytest.mark.timeout(4 * 3600)
async def test_documents_and_an_attachment_replicate_in_every_network(
    tmp_path: Path, seed: int, everything: bool
) -> None:
    cells = matrix() if everything else pairwise(seed)
    print(f"{len(cells)} networks, PEERPOUCH_NETWORK_SEED={seed}")
    await together({str(cell): partial(replicate, cell, tmp_path / str(cell), seed) for cell in cells})


@pytest.mark.skipif(find_spec("aiortc") is None, reason="the engine aiortc is not installed")
@pytest.mark.timeout(4 * 3600)
async def test_they_replicate_by_the_second_engine_too_and_between_both(
    tmp_path: Path, seed: int, everything: bool
) -> None:
    cells = other_engines(seed, everything=everything)
    print(f"{len(cells)} networks, PEERPOUCH_NETWORK_SEED={seed}")
    await together({str(cell): partial(replicate, cell, tmp_path / str(cell), seed) for cell in cells})
