"""Connections to other peers: one per pair of addresses, shared, reconnecting, closed when nobody uses them.

* :mod:`.pool`: :class:`~.pool.Pool`, which makes, shares, settles and closes connections;
* :mod:`.connection`: what is known of one connection, and who uses it;
* :mod:`.lease`: one use of a share, an Exchange that survives the loss of its connection;
* :mod:`.control`: the few requests by which two pools speak of shares over an open connection;
* :mod:`.restarting`: another path for a connection that there is;
* :mod:`.limits`: the bounds; :mod:`.timing`: time limits on the Clock port; :mod:`.tasks`: what is done at once.
"""
