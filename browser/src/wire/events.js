/**
 * What a connection tells its owner of what arrived.
 *
 * - Opened: the other side's HELLO came; requests may be made.
 * - RequestReceived, ResponseReceived: a head; with `ended` there is no body.
 * - DataReceived: bytes of a body, its last ones with `ended`. Say `consumed` when they are used up.
 * - StreamReset: a stream ended before its time; the connection knows nothing of it any more. NONE after a whole response
 *   means that the rest of the request's body is not wanted; REFUSED that nothing was done for the request.
 * - PongReceived: how many milliseconds a ping took.
 * - WentAway: the other side takes no more requests; with a code other than NONE it is gone.
 *
 * @typedef {{ event: 'Opened', version: number, features: number }
 *   | { event: 'RequestReceived', stream: number, head: import('./frames.js').RequestHead, ended: boolean }
 *   | { event: 'ResponseReceived', stream: number, head: import('./frames.js').ResponseHead, ended: boolean }
 *   | { event: 'DataReceived', stream: number, data: Uint8Array, ended: boolean }
 *   | { event: 'StreamReset', stream: number, code: number, reason: string, byPeer: boolean }
 *   | { event: 'PongReceived', roundTrip: number }
 *   | { event: 'WentAway', code: number, reason: string }} Event
 */

export {};
