from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from tests.network import comebacks
from tests.network.together import together

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bed")]


@pytest.mark.timeout(3600)
async def test_replication_goes_on_by_itself_and_attachments_where_they_broke_off(
    tmp_path: Path, everything: bool
) -> None:
    # At full size an attachment of a gigabyte, as fast as it goes; else as fast as lets it be cut in time.
    size, rate = (1 << 30, None) if everything else (40_000_000, 12e6)
    cut = partial(comebacks.attachment_cut, size=size, rate=rate)
    scenarios: dict[str, Callable[[Path], Awaitable[None]]] = {
        "an attachment is pulled, and the line cut": partial(cut, direction="pull"),
        "an attachment is pushed, and the line cut": partial(cut, direction="push"),
        "an attachment is pulled, and the sharer killed": partial(
            comebacks.attachment_of_a_killed_sharer, size=40_000_000, rate=12e6
        ),
        "the sharer sleeps": partial(comebacks.sleep, which="sharer"),
        "the opener sleeps": partial(comebacks.sleep, which="opener"),
        "a machine gets another address": partial(comebacks.another_address, path="direct"),
        "a router gets another address": partial(comebacks.another_address, path="nat"),
        "the line is down for long": comebacks.line_down,
        "an interface goes down and up": comebacks.interface_down,
    }
    await together({name: partial(work, tmp_path / name.replace(" ", "-")) for name, work in scenarios.items()})
