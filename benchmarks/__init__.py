"""The figures of peerpouch: ``make bench``, or ``python -m benchmarks``. How to use it: ``docs/how-to/benchmarks.md``.

* :mod:`.registry`: what a benchmark is, and the table of them; :mod:`.catalogue`: all of them, in their order;
* :mod:`.runner`: pass after pass, and subjects in turn; :mod:`.worker`: the process that measures;
* :mod:`.results`: what was measured, and its file; :mod:`.conditions`: of what machine and versions;
* :mod:`.report`: the tables; :mod:`.directions`: where the project wants to be; :mod:`.plots`: a picture of each;
* :mod:`.local`, :mod:`.reading`, :mod:`.replicating`, :mod:`.attachments`: one process; :mod:`.sets`: other documents;
  :mod:`.bounds`: what bounds them; :mod:`.starting`: fresh processes; :mod:`.trusting`: keys and gates;
  :mod:`.querying`: indexes and views; :mod:`.growth`: a million documents;
* :mod:`.peering`: two processes; :mod:`.large`: much between them; :mod:`.shaped`: over a link with latency, loss or a
  rate; :mod:`.browsing`: a page and a process; :mod:`.serving`, :mod:`.feeds`: the HTTP server;
* :mod:`.pouchdb`: PouchDB as a subject of them; ``pouchdb.mjs`` is its process;
* :mod:`.documents`: what is written; :mod:`.peer`, :mod:`.channel`: the processes on the other side.

A benchmark has one *subject* or several: peerpouch, a peer of its kind, or the limit that bounds both (bare SQLite, a
bare data channel). All subjects of a benchmark run in turn, round by round, on the same documents, so that what else
happens on the machine meets them alike. Nothing here asserts a time.
"""
