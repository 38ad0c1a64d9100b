"""The owner's own judgement of what visitors write."""

from __future__ import annotations

import copy
import logging
from typing import Any

from peerpouch.core.policy import Validate
from peerpouch.errors import Forbidden, Unauthorized
from peerpouch.ports import Proposal

_LOG = logging.getLogger("peerpouch.access")


class Validation:
    """A guard that asks a function of the owner's.

    Args:
        function: ``validate(new document, visible leaves, peer)``; see :class:`peerpouch.core.policy.Access`.
        visitor: Who writes.
    """

    def __init__(self, function: Validate, visitor: Any) -> None:
        self._function = function
        self._visitor = visitor

    def __call__(self, proposal: Proposal) -> None:
        try:
            # Copies: what the function does to them must not change what is stored, or what is judged after it.
            verdict = self._function(copy.deepcopy(proposal.new), copy.deepcopy(proposal.leaves()), self._visitor)
        except (Forbidden, Unauthorized):
            raise
        except Exception:  # noqa: BLE001  it is the owner's code
            _LOG.exception("validate failed for a document of a visitor")
            raise Forbidden("The document could not be judged.") from None
        if verdict is False:
            raise Forbidden("The owner does not accept this document.")
