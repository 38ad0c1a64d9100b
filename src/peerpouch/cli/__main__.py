"""``python -m peerpouch.cli`` is ``peerpouch``."""

from peerpouch.cli import main

main()
