"""Jobs, and indexes at work, in the form of CouchDB's ``_replicate``, ``_active_tasks`` and ``_scheduler``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Final

from peerpouch.jobs.job import Event, Job

NODE: Final = "nonode@nohost"
"""What stands for the node's name, as on a CouchDB that is not a cluster."""


def timestamp(seconds: float) -> str:
    """A time as ``_scheduler`` writes it: RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def result(job: Job) -> dict[str, Any]:
    """The answer of ``_replicate`` for a replication that has ended."""
    progress = job.progress
    kept = _history(progress.history)
    common = {
        "ok": True,
        "session_id": kept[0]["session_id"] if kept else job.session,
        "source_last_seq": progress.last_seq,
        "replication_id_version": 4,
    }
    if not progress.docs_read and not progress.missing_checked:
        return {**common, "no_changes": True}
    counted = {
        "start_time": formatdate(progress.started or job.started, usegmt=True),
        "end_time": formatdate(progress.ended or job.started, usegmt=True),
        "docs_read": progress.docs_read,
        "docs_written": progress.docs_written,
        "doc_write_failures": progress.docs_failed,
    }
    if job.request.options.doc_ids is not None:  # of which CouchDB keeps no history
        return {**common, **counted}
    entry = {
        "session_id": common["session_id"],
        "start_last_seq": job.request.options.since or 0,
        "end_last_seq": progress.last_seq,
        "recorded_seq": progress.last_seq,
        "missing_checked": progress.missing_checked,
        "missing_found": progress.missing_found,
        **counted,
    }
    return {**common, "history": kept or [entry]}


def _history(stored: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A checkpoint's history as CouchDB shows it. A long run has stored several entries, of which the newest counts."""
    shown: list[dict[str, Any]] = []
    runs: set[Any] = set()
    for entry in stored:
        run = entry.get("run")
        if run is None or run not in runs:
            runs.add(run)
            shown.append({name: value for name, value in entry.items() if name not in ("run", "last_seq")})
            if shown[-1].get("start_last_seq") == "0":
                shown[-1]["start_last_seq"] = 0
    return shown


def active_task(job: Job, now: float) -> dict[str, Any]:
    """A row of ``_active_tasks``."""
    info = job.info()
    pending = info["changes_pending"]
    read = job.progress.changes_read
    return {
        **info,
        "type": "replication",
        "node": NODE,
        "pid": _pid(job),
        "replication_id": job.request.id,
        "database": None if job.doc_id is None else "_replicator",
        "doc_id": job.doc_id,
        "user": job.user,
        "source": job.request.source.shown,
        "target": job.request.target.shown,
        "continuous": job.request.continuous,
        "checkpoint_interval": 5000,
        "progress": None if pending is None else 100 if not pending else 100 * read // (read + pending),
        "started_on": int(job.started),
        "updated_on": int(now),
    }


def indexer_task(database: str, design: str, done: int, total: int, started: float, now: float) -> dict[str, Any]:
    """A row of ``_active_tasks`` for an index that is being brought up to date."""
    return {
        "type": "indexer",
        "node": NODE,
        "pid": "<0.0.0>",
        "database": database,
        "design_document": design,
        "changes_done": done,
        "total_changes": total,
        "progress": 100 * done // total if total else 100,
        "started_on": int(started),
        "updated_on": int(now),
    }


def scheduler_job(job: Job) -> dict[str, Any]:
    """A row of ``_scheduler/jobs``."""
    return {
        "database": None if job.doc_id is None else "_replicator",
        "doc_id": job.doc_id,
        "id": job.request.id,
        "node": NODE,
        "pid": _pid(job),
        "source": job.request.source.shown,
        "target": job.request.target.shown,
        "user": job.user,
        "start_time": timestamp(job.started),
        "info": job.info(),
        "history": [_event(event) for event in reversed(job.history)],
    }


def scheduler_doc(job: Job) -> dict[str, Any]:
    """A row of ``_scheduler/docs``, of a job that has one."""
    crashed = next((event for event in reversed(job.history) if event.type in ("crashed", "failed")), None)
    wrong = job.state in ("crashing", "failed") and crashed is not None
    return {
        "database": "_replicator",
        "doc_id": job.doc_id,
        "id": job.request.id,
        "node": NODE,
        "source": job.request.source.shown,
        "target": job.request.target.shown,
        "state": job.state,
        "info": {"error": crashed.reason} if wrong and crashed is not None else job.info(),
        "error_count": job.errors if wrong else 0,
        "start_time": timestamp(job.started),
        "last_updated": timestamp(job.history[-1].time),
    }


def _event(event: Event) -> dict[str, Any]:
    told = {"timestamp": timestamp(event.time), "type": event.type}
    return told if event.reason is None else {**told, "reason": event.reason}


def _pid(job: Job) -> str:
    return f"<0.{int(job.session[:4], 16)}.0>"
