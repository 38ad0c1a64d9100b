/**
 * The states of a stream and of a connection, as tables. What they do not list is a breach of the protocol.
 *
 * A stream is two directions, and both follow the same little machine, on both ends: a head, then data, then the end.
 * The opener's sending direction starts with the head of the request; its receiving one waits for that of the response.
 *
 * @typedef {'head' | 'body' | 'done'} Direction
 * @typedef {'head' | 'head-end' | 'data' | 'data-end'} Step
 * @typedef {'opening' | 'open' | 'draining' | 'closed'} State
 * @typedef {'hello' | 'drain-sent' | 'drain-received' | 'failed'} Move
 */

/** @type {Record<Direction, Partial<Record<Step, Direction>>>} */
export const DIRECTION_TABLE = {
  head: { head: 'body', 'head-end': 'done' },
  body: { data: 'body', 'data-end': 'done' },
  done: {},
};

/** @type {Record<State, Partial<Record<Move, State>>>} */
export const CONNECTION_TABLE = {
  // Without a HELLO there are no streams, so there is nothing to drain.
  opening: { hello: 'open', 'drain-sent': 'closed', 'drain-received': 'closed', failed: 'closed' },
  open: { 'drain-sent': 'draining', 'drain-received': 'draining', failed: 'closed' },
  draining: { 'drain-sent': 'draining', 'drain-received': 'draining', failed: 'closed' },
  closed: {},
};
