"""The figures of peerpouch: ``make bench``, or ``python -m benchmarks [NAME …] [--short] [--long] [--list]``.

* :mod:`.registry`: what a benchmark is, and the table of them; :mod:`.runner`: interleaved rounds, median and spread;
  :mod:`.report`: the table on the terminal and in ``results.md``; :mod:`.plots`: a picture of each;
* :mod:`.local`, :mod:`.reading`, :mod:`.attachments`, :mod:`.replicating`, :mod:`.peering`: the benchmarks; a module of
  others slots in by being imported in ``__main__``; :mod:`.growth`: those with a million documents;
* :mod:`.sets`: the same with other documents; :mod:`.starting`: fresh processes; :mod:`.trusting`: keys and gates;
  :mod:`.querying`: indexes and views; :mod:`.serving`: the HTTP server;
* :mod:`.shaped`: those over a link with latency, loss or a rate;
* :mod:`.pouchdb`: PouchDB as a subject of them; ``pouchdb.mjs`` is its process;
* :mod:`.documents`: what is written; :mod:`.peer`, :mod:`.channel`: the processes on the other side.

A benchmark has one *subject* or several: peerpouch, a peer of its kind, or the limit that bounds both (bare SQLite, a
bare data channel). All subjects of a benchmark run in turn, round by round, on the same documents, so that what else
happens on the machine meets them alike. Nothing here asserts a time.
"""
