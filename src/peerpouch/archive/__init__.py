"""A database as lines of JSON, and back: every leaf of every document, with its history and attachments.

:mod:`.lines` says what the lines are; :mod:`.exporting` writes them, :mod:`.importing` reads them. Both stream: memory
does not grow with the number of documents or the size of an attachment. They use the port ``Database`` only, so what is
exported may be a file, a server's database or another peer's share.
"""
