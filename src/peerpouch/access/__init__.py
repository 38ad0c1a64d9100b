"""The access gate: a database wrapped for somebody else's eyes.

* :mod:`.gate`: :class:`~.gate.GatedDatabase`, every method of the port classified;
* :mod:`.queries`: its half in front of queries;
* :mod:`.guests`: the ``_local`` documents of visitors, each one's own, bounded.

What is allowed is decided by the pure :mod:`peerpouch.core.policy`.
"""
