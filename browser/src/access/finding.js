/**
 * Mango queries of visitors. They go through all documents that the visitor may see: PouchDB's own `find` would try a
 * stranger's regular expression with JavaScript's engine, which one of them can keep busy for ever.
 */

import { PeerPouchError } from '../errors.js';
import { isObject } from '../values.js';
import { collate, compileFields, compileSelector } from './selector.js';

/** Documents that are sorted in memory at most. */
const MAX_SORTED = 10_000;

/** @typedef {Record<string, any>} Doc */

/** @param {any} sort @returns {{ fields: string[], descending: boolean } | null} */
function parseSort(sort) {
  if (!sort || (Array.isArray(sort) && sort.length === 0)) return null;
  if (!Array.isArray(sort)) throw new PeerPouchError('bad_request', '`sort` must be an array');
  const parts = sort.map((part) => {
    const [[field, direction], ...more] = isObject(part) ? Object.entries(part) : [[part, 'asc']];
    if (typeof field !== 'string' || more.length || !['asc', 'desc'].includes(direction)) {
      throw new PeerPouchError('bad_request', `Invalid sort field: ${JSON.stringify(part)}`);
    }
    return { field, direction };
  });
  if (new Set(parts.map(({ direction }) => direction)).size > 1) {
    throw new PeerPouchError('bad_request', 'Sorts currently only support a single direction for all fields.');
  }
  return { fields: parts.map(({ field }) => field), descending: parts[0].direction === 'desc' };
}

/**
 * Where a query goes on: after so many matches, counted from the beginning or from an id.
 *
 * @param {unknown} bookmark @returns {{ after?: string, skip: number }}
 */
function parseBookmark(bookmark) {
  if (bookmark === undefined || bookmark === null || bookmark === '' || bookmark === 'nil') return { skip: 0 };
  try {
    const { after, skip } = JSON.parse(atob(String(bookmark)));
    if ((after === undefined || typeof after === 'string') && Number.isSafeInteger(skip) && skip >= 0)
      return { after: after && decodeURIComponent(after), skip };
  } catch {
    // Not one of ours.
  }
  throw new PeerPouchError('invalid_bookmark', `Invalid bookmark value: ${JSON.stringify(bookmark)}`);
}

/** @param {{ after?: string, skip: number }} place */
const formatBookmark = ({ after, skip }) => btoa(JSON.stringify({ after: after && encodeURIComponent(after), skip }));

/**
 * @param {import('./documents.js').LocalDocuments | import('./limited.js').LimitedDocuments} documents What the
 *   visitor may see.
 * @param {{ selector: any, fields?: string[] | null, sort?: any, limit: number, skip: number, bookmark?: any }} query
 * @param {() => void} check Called for each page: throws once the visit has ended.
 * @returns {Promise<{ docs: Doc[], bookmark: string }>}
 */
export async function find(documents, { selector, fields, sort, limit, skip, bookmark }, check) {
  const matches = compileSelector(selector);
  const project = compileFields(fields);
  const order = parseSort(sort);
  const place = parseBookmark(bookmark);
  const wanted = place.skip + (bookmark ? 0 : skip);
  /** @type {Doc[]} */
  const found = [];
  const most = order ? MAX_SORTED : wanted + limit;
  const { pages } = await documents.listing({ include_docs: true, startkey: place.after });
  for await (const rows of pages) {
    check();
    for (const { doc } of rows) {
      if (found.length < most && doc._id !== place.after && !doc._id.startsWith('_design/') && matches(doc))
        found.push(doc);
    }
    if (found.length < most) continue;
    if (order)
      throw new PeerPouchError('no_usable_index', `More than ${MAX_SORTED} documents match: too many to sort.`);
    break;
  }
  const docs = (order ? sorted(found, order) : found).slice(wanted, wanted + limit);
  const next =
    docs.length === 0 ? place : order ? { skip: wanted + docs.length } : { after: docs[docs.length - 1]._id, skip: 0 };
  return { docs: docs.map(project), bookmark: formatBookmark(next) };
}

/**
 * Documents that lack one of the fields are left out, as by an index.
 *
 * @param {Doc[]} docs
 * @param {{ fields: string[], descending: boolean }} order
 */
function sorted(docs, { fields, descending }) {
  const complete = compileSelector(Object.fromEntries(fields.map((field) => [field, { $exists: true }])));
  const picks = fields.map((field) => compileFields([field]));
  const keyed = docs.filter(complete).map((doc) => ({ doc, key: [...picks.map((pick) => pick(doc)), doc._id] }));
  keyed.sort((a, b) => collate(a.key, b.key) * (descending ? -1 : 1));
  return keyed.map(({ doc }) => doc);
}
