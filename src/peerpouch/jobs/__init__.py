"""What runs unattended: replications that were asked for over HTTP, and those of ``_replicator`` documents.

* :mod:`.requests`: what a request or a document asks for, checked; pure;
* :mod:`.job`: one replication: opened, run, and begun again when it broke off;
* :mod:`.scheduler`: the table of jobs;
* :mod:`.documents`: keeps the jobs of ``_replicator`` in step with its documents;
* :mod:`.reports`: jobs in the form of CouchDB's ``_active_tasks`` and ``_scheduler``.
"""
