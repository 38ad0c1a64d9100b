"""Where shares are found and connections begin: any database that both sides reach.

A hub is used through the ``Documents`` port only. It carries two kinds of documents: a *share* with a lease that its
owner renews, and a *signal* that carries one offer and then its answer. ``docs/protocol/trust.md`` has their exact
form. Inside, the pure parts come first:

* :mod:`.shares`: share documents, made, signed and verified;
* :mod:`.leases`: which of the shares seen are alive, by two clocks that may be wrong;
* :mod:`.signals`: offers and answers, sealed, signed and opened;
* :mod:`.admission`: replays, and how many openings may be pending;
* :mod:`.feed`: the one live feed of a hub object, which reconnects;
* :mod:`.publisher`: publishing, renewing and withdrawing;
* :mod:`.directory`: listings, and telling of what changes in them;
* :mod:`.answering` and :mod:`.calling`: the two ends of a signal;
* :mod:`.collector`: tidying;
* :mod:`.client`: all of it behind one object;
* :mod:`.events`: what ``on_remote`` is given; :mod:`.names`: the ``dbname`` of a share.
"""
