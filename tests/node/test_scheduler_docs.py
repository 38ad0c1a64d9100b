"""``_scheduler/docs``: the documents of ``_replicator``, in pages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2

import peerpouch


async def test_documents_that_ended_and_that_run_are_listed_in_pages(tmp_path: Path) -> None:
    async with (
        peerpouch.Server(tmp_path, port=0) as server,
        httpx2.AsyncClient(base_url=server.url, trust_env=False) as http,
    ):
        ended = [
            {"_id": f"{letter}{n}", "source": "x", "target": "y", "_replication_state": state}
            for letter, state in (("b", "completed"), ("d", "failed"))
            for n in range(10)
        ]
        await http.put("here")
        await http.put("there")
        going = {"source": "here", "target": "there", "continuous": True}
        docs = [*ended, {"_id": "c", **going}, {"_id": "_design/a", "_replication_state": "failed"}]
        await http.post("_replicator/_bulk_docs", json={"docs": docs})

        async def page(asked: str) -> Any:
            answer = (await http.get(f"_scheduler/docs?{asked}")).json()
            return answer["total_rows"], answer["offset"], [row["doc_id"] for row in answer["docs"]]

        async with asyncio.timeout(30):
            while (await http.get("_scheduler/docs/_replicator/c")).status_code != 200:
                await asyncio.sleep(0.02)
        # A job that can't be: the same replication runs already.
        await http.put("_replicator/e", json=going)
        async with asyncio.timeout(30):
            while (await http.get("_scheduler/docs/_replicator/e")).status_code != 200:
                await asyncio.sleep(0.02)
        all_ids = [*(f"b{n}" for n in range(10)), "c", *(f"d{n}" for n in range(10)), "e"]
        assert await page("limit=50") == (22, 0, all_ids)
        assert await page("skip=8&limit=4") == (22, 8, all_ids[8:12])
        assert await page("skip=50") == (22, 22, [])
        assert await page("states=failed&limit=2&skip=9") == (11, 9, ["d9", "e"])
        assert await page("limit=0") == (22, 0, [])
        row = (await http.get("_scheduler/docs/_replicator/d3")).json()
        assert (row["state"], row["source"], row["error_count"]) == ("failed", "x", 1)
        for missing in ("nothing", "_design%2Fa", "_local%2Fx"):
            assert (await http.get(f"_scheduler/docs/_replicator/{missing}")).status_code == 404
        await http.delete("_replicator")
        async with asyncio.timeout(30):
            while await page("limit=9") != (0, 0, []):
                await asyncio.sleep(0.02)
