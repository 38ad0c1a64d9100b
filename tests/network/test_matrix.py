from __future__ import annotations

from pathlib import Path

import pytest

from tests.network.cells import matrix, pairwise
from tests.network.matrix import run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bed")]


@pytest.mark.timeout(4 * 3600)
async def test_documents_and_an_attachment_replicate_in_every_network(
    tmp_path: Path, seed: int, everything: bool
) -> None:
    cells = matrix() if everything else pairwise(seed)
    print(f"{len(cells)} networks, PEERPOUCH_NETWORK_SEED={seed}")
    outcomes = await run(cells, tmp_path, seed)
    failed = [str(outcome) for outcome in outcomes if outcome.error is not None]
    assert not failed, "\n".join([f"{len(failed)} of {len(cells)} networks, PEERPOUCH_NETWORK_SEED={seed}:", *failed])
