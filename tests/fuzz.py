"""Fuzzing for as long as one likes: ``python -m tests.fuzz [TARGET] [--seconds N]``, or ``make fuzz``.

The targets are property tests, which hypothesis lets be driven by bytes. With atheris the bytes are guided by coverage;
without it (it has no build for every Python) they are random. What is found fails the same test, and ``--again FILE``
repeats it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_SESSIONS = "tests.property.test_wire_sessions"
TARGETS = {
    "frames": f"{_SESSIONS}:test_random_frames_give_protocol_errors_only_and_hold_bounded_memory",
    "session": f"{_SESSIONS}:test_a_mutated_session_gives_protocol_errors_only_and_holds_bounded_memory",
    "heads": "tests.wire.test_frames:test_random_bytes_as_heads_give_heads_that_encode_again_or_a_protocol_error",
    "link": "tests.property.test_hostile_peers:test_whatever_a_peer_sends_everything_ends_and_nothing_stays",
    "stun": "tests.transports.webrtc.test_stun:test_any_bytes_are_no_address_or_one",
    "sdp": "tests.transports.webrtc.test_sdp:test_any_text_is_read_without_another_error",
}
LONGEST = 4096
"""Bytes of one input."""

FuzzOne = Callable[[bytes], Any]


def target(name: str) -> FuzzOne:
    """What takes the bytes: the test's own hook (hypothesis, "Use with external fuzzers")."""
    module, _, test = TARGETS[name].partition(":")
    hook: FuzzOne = getattr(import_module(module), test).hypothesis.fuzz_one_input
    return hook


def by_chance(fuzz_one: FuzzOne, seconds: float, seed: int) -> int:
    """Random bytes for so long; gives how many inputs that were."""
    chance, count, end = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = chance.randbytes(chance.randrange(LONGEST))
        try:
            fuzz_one(data)
        except Exception:
            found = Path(f"fuzz-{seed}-{count}.bin")
            found.write_bytes(data)
            print(f"failed; the input is in {found}", file=sys.stderr)
            raise
        count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the channel.")
    parser.add_argument("target", nargs="?", choices=TARGETS, help="by default all, one after the other")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--again", type=Path, help="a file with an input that failed")
    parser.add_argument("--by-chance", action="store_true", help="also where atheris is installed")
    asked = parser.parse_args()
    for name in [asked.target] if asked.target else list(TARGETS):
        if asked.again is not None:
            target(name)(asked.again.read_bytes())
        elif asked.by_chance or not _guided(name, asked.seconds, asked.seed, alone=bool(asked.target)):
            print(f"{name}: {by_chance(target(name), asked.seconds, asked.seed):,} inputs by chance, seed {asked.seed}")


def _guided(name: str, seconds: float, seed: int, *, alone: bool) -> bool:
    """Run atheris; false where it is not installed. It ends its process, so several targets get one each."""
    try:
        atheris = import_module("atheris")
    except ImportError:
        return False
    if not alone:
        import subprocess

        subprocess.run([sys.executable, "-m", "tests.fuzz", name, "--seconds", str(seconds)], check=True)
        return True
    with atheris.instrument_imports(include=["peerpouch"]):
        fuzz_one = target(name)
    # Hypothesis makes nothing of a few bytes, so inputs are long from the beginning.
    options = ["-len_control=0", f"-max_total_time={max(1, int(seconds))}", f"-max_len={LONGEST}", f"-seed={seed}"]
    atheris.Setup([sys.argv[0], *options], fuzz_one)
    atheris.Fuzz()
    return True


if __name__ == "__main__":
    main()
