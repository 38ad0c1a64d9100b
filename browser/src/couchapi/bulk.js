/** Handlers of many documents at once: `_bulk_docs`, `_bulk_get`, `_revs_diff`. */

import { checkRev } from '../access/checking.js';
import { isObject } from '../values.js';
import { withoutHistory } from './documents.js';
import { refuse } from './requests.js';
import { errorFields, jsonResponse, streamResponse, told } from './responses.js';

/** @typedef {import('./requests.js').Request} Request */

/**
 * `POST /_bulk_docs`: a row per document; with `new_edits: false` only for those that failed.
 *
 * @param {Request} request
 */
export async function bulkDocs(request) {
  const { docs, new_edits: newEdits = true } = await request.object();
  if (!Array.isArray(docs)) refuse('POST body must include `docs` parameter, an array.');
  if (typeof newEdits !== 'boolean') refuse('`new_edits` parameter must be a boolean.');
  if (!docs.every(isObject)) refuse('Document must be a JSON object');
  const results = await request.database.bulkDocs(docs, { newEdits });
  const rows = results.map((result) => ('error' in result ? { ...result, ...errorFields(result.error) } : result));
  return jsonResponse(newEdits ? rows : rows.filter((row) => 'error' in row), { status: 201 });
}

/** @param {any} entry @returns {import('../access/documents.js').RevisionRequest} */
function revisionRequest(entry) {
  if (!isObject(entry) || typeof entry.id !== 'string') return refuse('document id missed');
  const { id, rev, atts_since } = entry;
  if (atts_since !== undefined && atts_since !== null && !Array.isArray(atts_since))
    refuse('`atts_since` must be an array of revisions');
  return {
    id,
    rev: rev === undefined || rev === null ? undefined : checkRev(rev),
    atts_since: atts_since?.map(checkRev),
  };
}

/** @param {Request} request */
export async function bulkGet(request) {
  const { docs } = await request.object();
  if (!Array.isArray(docs)) return refuse("Missing JSON list of 'docs'.");
  return streamResponse(told(bulkGetRows(request, docs.map(revisionRequest))));
}

/** @param {Request} request @param {import('../access/documents.js').RevisionRequest[]} wanted */
async function* bulkGetRows(request, wanted) {
  const { params, database } = request;
  let separator = '{"results":[';
  for await (const results of database.bulkGet(wanted, { latest: params.boolean('latest') })) {
    const docs = [];
    for (const { id, rev, doc, error, atts_since } of results) {
      if (doc) {
        const shown = params.boolean('attachments') ? await database.inlined(doc, atts_since) : doc;
        docs.push({ ok: params.boolean('revs') ? shown : withoutHistory(shown) });
      } else docs.push({ error: { id, rev: rev ?? 'undefined', ...(error ? errorFields(error) : {}) } });
    }
    yield `${separator}${JSON.stringify({ id: results[0].id, docs })}`;
    separator = ',';
  }
  yield separator === ',' ? ']}\n' : '{"results":[]}\n';
}

/** An object of lists of revisions. @param {Request} request @returns {Promise<Record<string, string[]>>} */
async function revisionLists(request) {
  const value = await request.object();
  for (const revs of Object.values(value)) {
    if (!Array.isArray(revs)) refuse("Each document's revisions must be an array");
    revs.forEach(checkRev);
  }
  return value;
}

/** @param {Request} request */
export async function revsDiff(request) {
  return jsonResponse(await request.database.revsDiff(await revisionLists(request)));
}

/** @param {Request} request */
export async function missingRevs(request) {
  const diff = await request.database.revsDiff(await revisionLists(request));
  return jsonResponse({
    missing_revs: Object.fromEntries(Object.entries(diff).map(([id, { missing }]) => [id, missing])),
  });
}
