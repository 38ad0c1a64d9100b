/** What is read out of a session description, and which ones are taken at all. */

import { PeerPouchError } from '../errors.js';

/** An SDP with a data channel and thirty candidates has 4 KiB; nothing honest is longer than this. */
const LONGEST_SDP = 64 * 1024;
/** A host has a few addresses, of a few kinds. Each candidate costs checks of connectivity, sent to wherever it says. */
const MOST_CANDIDATES = 64;

/**
 * The SDP, if it describes one data channel and nothing else.
 *
 * @param {string} sdp
 * @throws {PeerPouchError} `invalid_signal`
 */
export function checkSdp(sdp) {
  const lines = sdp.split(/\r?\n/);
  const media = lines.filter((line) => line.startsWith('m='));
  const isOne = media.length === 1 && media[0].startsWith('m=application ') && media[0].includes('webrtc-datachannel');
  if (
    sdp.length > LONGEST_SDP ||
    !sdp.startsWith('v=0') ||
    !isOne ||
    !lines.some((line) => line.startsWith('a=fingerprint:')) ||
    lines.filter((line) => line.startsWith('a=candidate:')).length > MOST_CANDIDATES
  ) {
    throw new PeerPouchError('invalid_signal', 'The session description is not that of a single data channel.');
  }
  return sdp;
}

/**
 * The candidates of an SDP for people: `host 192.0.2.1:5000/udp`.
 *
 * @param {string} sdp
 */
export function candidates(sdp) {
  const found = sdp
    .split(/\r?\n/)
    .filter((line) => line.startsWith('a=candidate:'))
    .map((line) => line.split(' '))
    .filter((fields) => fields.length >= 8)
    .map((fields) => `${fields[7]} ${fields[4]}:${fields[5]}/${fields[2].toLowerCase()}`);
  return found.join(', ') || 'none';
}
