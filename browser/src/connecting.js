/** What only a page needs that opens or shares something: it is loaded when one does. */

import { Pool } from './peers/pool.js';
import { WebRTC } from './transport/webrtc.js';

/**
 * Asked for this browser's address as the internet sees it, when a connection is made. It learns that address and the
 * time, and nothing of peers, shares or data. `iceServers: []` turns it off.
 */
const ICE_SERVERS = [{ urls: 'stun:stun.l.google.com:19302' }];

/**
 * The connections of one meeting.
 *
 * @param {import('./hub/client.js').HubClient} hub
 * @param {import('./peers/pool.js').Welcome} welcome
 * @param {import('./meeting.js').Options & { clock: import('./clock.js').Clock }} options
 */
export function makePool(hub, welcome, options) {
  const { clock, iceServers = ICE_SERVERS, iceTransportPolicy: policy = 'all', RTCPeerConnection } = options;
  const transport = new WebRTC({ clock, iceServers, policy, ...(RTCPeerConnection && { RTCPeerConnection }) });
  return new Pool({ address: hub.address, hub, clock, transport, welcome });
}
