/** Handlers of one document: GET with every option, PUT, DELETE. */

import { checkRev } from '../access/checking.js';
import { isObject } from '../values.js';
import { readRelated } from './multipart.js';
import { decoded, refuse } from './requests.js';
import { etag, jsonResponse } from './responses.js';

/** @typedef {import('./requests.js').Request} Request */
/** @typedef {import('../access/documents.js').Doc} Doc */

const TELLING = ['revs_info', 'conflicts', 'deleted_conflicts', 'local_seq'];

/** The id that the path names. @param {Request} request @returns {string} */
export function documentId({ values }) {
  if (values.design !== undefined) return `_design/${values.design}`;
  return values.local !== undefined ? `_local/${values.local}` : values.doc;
}

/** The response to a write. @param {{ id: string, rev: string }} written @param {number} [status] */
export function created({ id, rev }, status = 201) {
  return jsonResponse({ ok: true, id, rev }, { status, headers: etag(rev) });
}

/**
 * The revision that a write extends, from the query or the If-Match header.
 *
 * @param {Request} request
 * @returns {string | undefined}
 */
export function revision(request) {
  const asked = request.params.text('rev');
  const matched = request.header('if-match')?.trim().replace(/^W\//, '').replace(/^"|"$/g, '');
  if (matched !== undefined && asked !== undefined && asked !== matched)
    refuse('Document rev and etag have different values.');
  const rev = matched ?? asked;
  return rev === undefined ? undefined : checkRev(rev);
}

/** Whether the client knows this already. @param {Request} request @param {string} tag */
export function isKnown(request, tag) {
  const known = request
    .header('if-none-match')
    ?.split(',')
    .map((item) => item.trim().replace(/^W\//, ''));
  return known?.some((item) => item === `"${tag}"` || item === '*') ?? false;
}

/** @param {Request} request @param {string} name @returns {string[] | undefined} */
function revisions(request, name) {
  return request.params.strings(name)?.map(checkRev);
}

/** @param {Request} request */
export async function get(request) {
  const { params, database } = request;
  const id = documentId(request);
  if (params.has('open_revs')) return openRevs(request, id);
  const meta = params.boolean('meta');
  /** @type {Record<string, boolean>} */
  const telling = {};
  for (const name of TELLING) telling[name] = (meta && name !== 'local_seq') || params.boolean(name);
  const since = revisions(request, 'atts_since');
  const rev = params.text('rev');
  const revs = params.boolean('revs');
  const doc = await database.get(id, {
    rev: rev === undefined ? undefined : checkRev(rev),
    revs: revs || since !== undefined,
    latest: params.boolean('latest'),
    ...telling,
  });
  /** @type {Record<string, string>} */
  const headers = Object.values(telling).some(Boolean) ? {} : etag(doc._rev);
  if (headers.etag && isKnown(request, doc._rev)) return new Response(null, { status: 304, headers });
  const shown = await withAttachments(request, doc, since);
  return jsonResponse(revs ? shown : withoutHistory(shown), { headers });
}

/**
 * A document with its attachments inline where that was asked for.
 *
 * @param {Request} request
 * @param {Doc} doc
 * @param {string[]} [since]
 */
async function withAttachments({ params, database }, doc, since) {
  return params.boolean('attachments') || since !== undefined ? database.inlined(doc, since) : doc;
}

/** @param {Doc} doc @returns {Doc} */
export function withoutHistory({ _revisions, ...doc }) {
  return doc;
}

/** @param {Request} request @param {string} id */
async function openRevs(request, id) {
  const { params, database } = request;
  const all = params.text('open_revs') === 'all';
  const wanted = all ? 'all' : (revisions(request, 'open_revs') ?? []);
  const since = revisions(request, 'atts_since');
  const results = await database.openRevs(id, wanted, { latest: params.boolean('latest') });
  if (all && results.length === 0) refuse('missing', 'not_found');
  const rows = [];
  for (const { rev, doc } of results) {
    if (!doc) rows.push({ missing: rev });
    else {
      const shown = await withAttachments(request, doc, since);
      rows.push({ ok: params.boolean('revs') ? shown : withoutHistory(shown) });
    }
  }
  return jsonResponse(rows);
}

/** Write one document; throws what went wrong. @param {Request} request @param {Doc} doc @param {boolean} [newEdits] */
export async function write({ database }, doc, newEdits = true) {
  const [result] = await database.bulkDocs([doc], { newEdits });
  if ('error' in result) throw result.error;
  return result;
}

/** `PUT /doc`: JSON, or `multipart/related` with the attachments after the document. @param {Request} request */
export async function put(request) {
  const newEdits = request.params.boolean('new_edits', true);
  const related = /^\s*multipart\/related/i.test(request.header('content-type') ?? '');
  const doc = related ? await readRelated(request) : await request.json();
  if (!isObject(doc)) return refuse('Document must be a JSON object');
  const rev = revision(request);
  if (rev !== undefined && doc._rev !== undefined && doc._rev !== rev) {
    refuse('Document rev from request body and query string have different values');
  }
  return created(await write(request, { ...doc, _id: documentId(request), ...(rev ? { _rev: rev } : {}) }, newEdits));
}

/** `POST /`: write a document, whose id is made up if it has none. @param {Request} request */
export async function post(request) {
  const doc = await request.object();
  return created(await write(request, { ...doc, _id: doc._id ?? crypto.randomUUID().replaceAll('-', '') }));
}

/** `COPY /doc` with a Destination header: an id, and the revision that is replaced, if one is. @param {Request} request */
export async function copy(request) {
  const destination = request.header('destination');
  if (destination === null) return refuse('Destination header is mandatory for COPY.');
  if (/^https?:\/\//i.test(destination)) refuse('Destination URL must be relative.');
  const [, target, query] = /** @type {RegExpExecArray} */ (/^([^?]*)\??(.*)$/s.exec(destination));
  const rev = request.params.text('rev');
  const { database } = request;
  const doc = await database.get(documentId(request), { rev: rev === undefined ? undefined : checkRev(rev) });
  const { _rev, ...copied } = withoutHistory(await database.inlined(doc));
  const replaced = query === '' ? undefined : /^rev=([^&]+)$/.exec(query)?.[1];
  if (query !== '' && replaced === undefined) refuse('The Destination header takes a rev and nothing else.');
  const _id = decoded(target);
  return created(await write(request, { ...copied, _id, ...(replaced && { _rev: checkRev(decoded(replaced)) }) }));
}

/** @param {Request} request */
export async function remove(request) {
  const id = documentId(request);
  const rev = revision(request);
  if (rev === undefined) {
    await request.database.get(id); // a document that is not there is "missing" or "deleted", and no conflict
    return refuse('Document update conflict', 'conflict');
  }
  return created(await write(request, { _id: id, _rev: rev, _deleted: true }), 200);
}
