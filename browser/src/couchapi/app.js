/**
 * CouchDB's HTTP API over a local PouchDB, for one visitor: everything that a replicator and a reader need, behind the
 * access gate. A peer's requests come over the data channel; the first segment of a path is already gone, so `/` is the
 * database.
 *
 * Administration is not here at all: `_security`, `_purge`, `_compact`, indexes and design documents are the page's
 * own.
 */

import { GatedDatabase } from '../access/gate.js';
import { Access } from '../access/access.js';
import { PeerPouchError } from '../errors.js';
import { systemClock } from '../clock.js';
import { toText } from '../trust/bytes.js';
import * as attachments from './attachments.js';
import { bulkDocs, bulkGet, missingRevs, revsDiff } from './bulk.js';
import { changes } from './changes.js';
import * as documents from './documents.js';
import * as listing from './listing.js';
import { Request, refuse } from './requests.js';
import { errorResponse, jsonResponse } from './responses.js';
import { Room } from './room.js';

/** @typedef {(request: Request) => Promise<Response>} Handler */

/** @param {Request} request */
async function info({ database, context }) {
  return jsonResponse({
    db_name: context.name,
    ...(await database.info()),
    compact_running: false,
    purge_seq: 0,
    instance_start_time: '0',
    sizes: { file: 0, active: 0, external: 0 },
    props: {},
    cluster: { q: 1, n: 1, w: 1, r: 1 },
  });
}

/** @type {Handler} */
const forbidden = async () => refuse('Only the owner of a database may administer it.', 'forbidden');

/** @type {Handler} */
async function committed({ database }) {
  database.require('describe');
  return jsonResponse({ ok: true, instance_start_time: '0' }, { status: 201 });
}

/** @type {Handler} */
async function revsLimit({ database }) {
  database.require('describe');
  return jsonResponse(1000);
}

/** @type {Record<string, Record<string, Handler>>} Paths whose first segment says what they are. */
const SPECIAL = {
  '': {
    GET: info,
    POST: documents.post,
    PUT: async () => refuse('The database is there.', 'file_exists'),
    DELETE: forbidden,
  },
  _changes: { GET: changes, POST: changes },
  _bulk_docs: { POST: bulkDocs },
  _bulk_get: { POST: bulkGet },
  _revs_diff: { POST: revsDiff },
  _missing_revs: { POST: missingRevs },
  _all_docs: { GET: listing.allDocs, POST: listing.allDocs },
  _design_docs: { GET: listing.designDocs, POST: listing.designDocs },
  _local_docs: { GET: listing.localDocs, POST: listing.localDocs },
  _find: { POST: listing.find },
  _explain: { POST: listing.explain },
  _index: { GET: listing.indexes, POST: forbidden, DELETE: forbidden },
  _ensure_full_commit: { POST: committed },
  _revs_limit: { GET: revsLimit, PUT: forbidden },
  _security: { GET: forbidden, PUT: forbidden },
  _purge: { POST: forbidden },
  _compact: { POST: forbidden },
  _view_cleanup: { POST: forbidden },
};

/** @type {Record<string, Record<string, Handler>>} The same with `/queries` behind it. */
const QUERIES = { _all_docs: { POST: listing.allDocsQueries }, _design_docs: { POST: listing.designDocsQueries } };

const DOCUMENT = { GET: documents.get, PUT: documents.put, DELETE: documents.remove, COPY: documents.copy };
const ATTACHMENT = { GET: attachments.get, PUT: attachments.put, DELETE: attachments.remove };
const VIEW = { GET: listing.view, POST: listing.view };
const VIEW_QUERIES = { POST: listing.viewQueries };

/**
 * The handlers of a path, by method; sets the request's variables.
 *
 * @param {Request} request
 * @returns {Record<string, Handler>}
 */
function route(request) {
  const [first = '', second, ...rest] = request.segments;
  if (first === '_design' || first === '_local') {
    if (second === undefined) return refuse('missing', 'not_found');
    if (first === '_design' && rest[0] === '_view' && (rest.length === 2 || (rest.length === 3 && rest[2] === 'queries'))) {
      request.values = { design: second, view: rest[1] };
      return rest.length === 2 ? VIEW : VIEW_QUERIES;
    }
    request.values = { [first.slice(1)]: second, attachment: rest.join('/') };
    return rest.length ? ATTACHMENT : DOCUMENT;
  }
  if (Object.hasOwn(SPECIAL, first)) {
    if (second === 'queries' && rest.length === 0 && Object.hasOwn(QUERIES, first)) return QUERIES[first];
    // Below an index is what deletes one; below anything else there is nothing.
    return second === undefined || first === '_index' || first === '_compact'
      ? SPECIAL[first]
      : refuse('missing', 'not_found');
  }
  if (first.startsWith('_')) return refuse('missing', 'not_found');
  request.values = { doc: first, attachment: [second, ...rest].join('/') };
  return second === undefined ? DOCUMENT : ATTACHMENT;
}

/** @param {Request} request */
async function respond(request) {
  const handlers = route(request);
  const handler = handlers[request.method === 'HEAD' ? 'GET' : request.method];
  if (handler) return handler(request);
  const allow = Object.keys(handlers).join();
  return errorResponse(new PeerPouchError('method_not_allowed', `Only ${allow} allowed`), { allow });
}

/** What all visitors of all shares of a page have together. */
const SHARED = new Room();

/**
 * @param {any} db The page's PouchDB.
 * @param {{ access?: import('../access/access.js').Access | string | import('../access/access.js').AccessOptions,
 *   peer?: any,
 *   name?: string, clock?: import('../access/watching.js').Clock, room?: Room,
 *   onSent?: (progress: import('./requests.js').Sent) => void }} [options] `peer`: who visits, with its `key`, under
 *   which its checkpoints are kept, whatever its session. `name`: what it knows the database by.
 * @returns {Promise<{
 *   handler: (request: import('./requests.js').RequestLike) => Promise<Response>, revoke: (reason?: string) => void,
 * }>} Rejects for a malformed access.
 */
export async function createApp(db, { access, peer, name = 'share', clock = systemClock, room = SHARED, onSent } = {}) {
  const visitor = peer?.key instanceof Uint8Array ? `peer\0${toText(peer.key)}` : 'anonymous\0';
  const database = new GatedDatabase(db, await Access.parse(access), { visitor, peer });
  /** @param {import('./requests.js').RequestLike} raw */
  async function handler(raw) {
    /** @type {Request | null} */
    let request = null;
    try {
      request = new Request(raw, database, { clock, name, room, visitor, onSent });
      const response = await respond(request);
      if (raw.method.toUpperCase() !== 'HEAD' || response.body === null) return response;
      await response.body.cancel();
      return new Response(null, response);
    } catch (error) {
      return errorResponse(error);
    } finally {
      request?.held.release();
    }
  }
  return { handler, revoke: (reason) => database.revoke(reason) };
}
