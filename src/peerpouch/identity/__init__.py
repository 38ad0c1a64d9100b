"""Who somebody is: keys, signatures, sealed boxes, canonical JSON, contacts and invites.

``docs/protocol/trust.md`` has the exact scheme. Inside:

* :mod:`.encoding`: bytes as text, the two ways that the protocol knows;
* :mod:`.canonical`: the one byte string of a JSON value that is signed;
* :mod:`.keys`: identities, public keys and fingerprints;
* :mod:`.sealing`: session keys and boxes that only their holder opens;
* :mod:`.files`: small private files that several processes replace safely;
* :mod:`.contacts` and :mod:`.invites`.
"""
