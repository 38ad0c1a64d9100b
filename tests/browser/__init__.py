"""The browser plugin: its own tests under Node, and real pages in a real browser."""
