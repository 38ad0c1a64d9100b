"""``validate_doc_update`` of design documents, as a guard inside the write transaction.

All functions of all design documents judge every document, whoever writes it and by whichever way it comes, except
design documents and ``_local`` ones. (CouchDB documentation, "Validate Document Update Functions".)

A function may be anybody's, and it runs while the database's writer waits. So besides the runner's limits for a call,
which refuse the document at hand, there is one for the whole: a function that has used :data:`ALLOWANCE` seconds of the
writer's time is not run for :data:`PAUSE` seconds, in which every document is refused. It earns half a second with each
second that passes, so a function that is merely slow goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from peerpouch.core.modules import modules_of
from peerpouch.errors import Forbidden, PeerPouchError, Unauthorized
from peerpouch.ports import (
    BlockingRunner,
    Document,
    Guard,
    Principal,
    Proposal,
    StandingGuard,
    user_context,
)
from peerpouch.query.definitions import DESIGN

PAUSE: Final = 20.0
"""Seconds for which a function is not run: with what it may use before, the writer has two thirds of its time."""

ALLOWANCE: Final = 10.0
"""Seconds of the writer's time that a function may use at once, for instance on a large batch: two calls that run into
the limit of time."""

_EARNED: Final = 0.5
_REMEMBERED: Final = 256
"""Functions whose use of time is remembered; far more than a database has."""


@dataclass(frozen=True, slots=True)
class _Function:
    design: str
    source: str
    modules: str


@dataclass(slots=True)
class _Use:
    """What a function has cost so far."""

    spent: float = 0.0
    at: float = 0.0
    paused_until: float = 0.0


class DocumentValidation:
    """The functions of one database.

    Args:
        runner: Runs them, in the writer's thread.
        name: What the database is called in ``userCtx``.
        now: Seconds on a monotonic clock.
    """

    def __init__(self, runner: BlockingRunner, name: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self._runner = runner
        self._name = name
        self._now = now
        self._known: list[tuple[str, str]] = []
        self._functions: list[_Function] = []
        self._uses: dict[_Function, _Use] = {}

    def guard_for(self, who: Principal) -> StandingGuard:
        """What judges the writes that are made on somebody's behalf."""

        def make(design_docs: Sequence[Document], security: Document) -> Guard | None:
            functions = self._find(design_docs)
            if not functions:
                return None
            context = user_context(who, self._name)
            return lambda proposal: self._judge(proposal, functions, context, security)

        return make

    def prepare(self, design_docs: Iterable[Document]) -> None:
        """Start what runs the functions, if there are any; no write has to wait for it then. For a thread that may."""
        if any(isinstance(doc.get("validate_doc_update"), str) for doc in design_docs):
            self._runner.prepare()

    def _find(self, design_docs: Sequence[Document]) -> list[_Function]:
        known = [(doc["_id"], doc["_rev"]) for doc in design_docs]
        if known != self._known:
            self._functions = [
                _Function(doc["_id"], source, modules_of(source, doc))
                for doc in design_docs
                if isinstance(source := doc.get("validate_doc_update"), str)
            ]
            self._known = known
        return self._functions

    def _judge(
        self, proposal: Proposal, functions: list[_Function], context: dict[str, Any], security: Document
    ) -> None:
        if proposal.new["_id"].startswith(DESIGN):
            return
        before = proposal.before()
        for function in functions:
            self._run(function, [proposal.new, before, context, security])

    def _run(self, function: _Function, arguments: list[Any]) -> None:
        use = self._uses.get(function)
        if use is None:
            if len(self._uses) >= _REMEMBERED:
                self._uses.pop(next(iter(self._uses)))
            use = self._uses[function] = _Use()
        began = self._now()
        if began < use.paused_until:
            raise Forbidden(f"validate_doc_update of {function.design} takes too much time; it is given a rest.")
        try:
            self._runner.call(function.source, *arguments, modules=function.modules)
        except (Forbidden, Unauthorized):
            raise
        except PeerPouchError as error:
            raise Forbidden(f"validate_doc_update of {function.design} failed: {error.reason}") from None
        finally:
            self._account(function, use, began)

    def _account(self, function: _Function, use: _Use, began: float) -> None:
        ended = self._now()
        use.spent = max(0.0, use.spent - (began - use.at) * _EARNED) + (ended - began)
        use.at = ended
        if use.spent > ALLOWANCE:
            use.paused_until, use.spent = ended + PAUSE, 0.0
