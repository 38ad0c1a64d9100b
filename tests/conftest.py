"""What holds for every test: nothing leaves this machine, and no skip goes unnoticed."""

from __future__ import annotations

import os

from hypothesis import settings

from tests.network.chance import pytest_report_header as pytest_report_header
from tests.skips import pytest_configure as pytest_configure

# No STUN server is asked, in processes that tests start neither.
os.environ["PEERPOUCH_ICE_SERVERS"] = "none"
# The engine decides once in a process, at its first connection, whether the loopback address is a candidate; which test
# comes first must not matter.
os.environ["WRTC_ALLOW_LOOPBACK"] = "1"

# How long an example takes tells of the machine's load, not of the code. What else the profile says (it is another one
# in continuous integration) stays.
settings.register_profile("peerpouch", parent=settings(), deadline=None)
settings.load_profile("peerpouch")
