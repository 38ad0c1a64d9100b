"""The server's side of a public hub: a database that strangers may use for what a hub is for, and for nothing else.

``docs/protocol/public-hub.md`` says what they may do, and by which proofs. The pure parts come first:

* :mod:`.limits`: the numbers;
* :mod:`.rules`: who sees what, and which writes are allowed;
* :mod:`.occupancy`: what is in the hub, by whom, and until when;
* :mod:`.rates`: how often somebody may come;
* :mod:`.visit`: the hub's database as one visitor may use it, a :class:`~peerpouch.ports.Database`;
* :mod:`.service`: the hub itself, which gives out visits and forgets what has run out.
"""
