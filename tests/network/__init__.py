"""Tests in networks of their own: NATs, TURN, latency, loss, cuts.

Theory of operation
    Each test builds its own small internet out of Linux network namespaces, and nothing leaves them. A namespace
    belongs to a process that holds it and ends when this one does, also when it is killed: so no name is taken twice,
    and nothing is left behind by a test that fails.

* :mod:`.shaper`: a link with delay, loss, reordering, a rate and a largest packet, over two TUN devices, for kernels
  without ``netem``;
* :mod:`.namespaces`: namespaces, and running things in them; :mod:`.inside` enters one;
* :mod:`.internet`: two homes with or without NAT, the internet between them, STUN, TURN and a hub;
* :mod:`.peer`: a process with a database and a hub that the tests call; :mod:`.cells`, :mod:`.matrix`: which networks
  are tried, and replication in one of them; :mod:`.comebacks`: after cuts, sleep and changes of address;
  :mod:`.chaos`: seeded cuts and kills;
* :mod:`.together` tries several at a time; :mod:`.chance` has the seed; ``test_shaping.py`` checks the bed itself.

They need root, ``/dev/net/tun``, iproute2, nftables and coturn. Where one of them is missing they are skipped with that
reason. ``make test-network`` runs everything; `make test` a selection that is drawn by a seed, which is printed.
"""
