"""The composition root: the one package that knows all the others.

* :mod:`.hubs`: ``Hub`` and ``open``; :mod:`.meeting`: all of ``Hub`` but opening what it is given;
* :mod:`.databases`: databases in files and behind URLs; :mod:`.remotes`: shares that were opened;
* :mod:`.sharing`: shares as users see them; :mod:`.registry`: the databases that peers are let in to;
* :mod:`.replicating`: ``replicate`` and ``sync``;
* :mod:`.targets`: what a path or URL means; :mod:`.ice`: STUN and TURN servers; :mod:`.opening`: what ``open`` gives.
"""
