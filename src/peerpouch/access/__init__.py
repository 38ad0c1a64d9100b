"""The access gate: a database wrapped for somebody else's eyes.

* :mod:`.gate`: :class:`~.gate.GatedDatabase`, every method of the port classified;
* :mod:`.queries`: its half in front of queries;
* :mod:`.limited`: a database as it looks through a selector, with :mod:`.limitedqueries`, :mod:`.feeds`,
  :mod:`.leaves` and :mod:`.writes`;
* :mod:`.selection`: what that selector lets through, kept as an index beside the documents; the rules stand there;
* :mod:`.validation`: the owner's own function that judges writes;
* :mod:`.guests`: the ``_local`` documents of visitors, each one's own, bounded.

What is allowed is decided by the pure :mod:`peerpouch.core.policy`.
"""
