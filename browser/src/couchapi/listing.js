/**
 * Handlers of listings and queries: `_all_docs`, `_design_docs`, `_local_docs`, `_find`, `_explain`, `_index`, views.
 */

import { lazily } from '../lazy.js';
import { isObject } from '../values.js';
import { refuse } from './requests.js';
import { jsonResponse, streamResponse, told } from './responses.js';

/** @typedef {import('./requests.js').Request} Request */
/** @typedef {import('./requests.js').Params} Params */

/** What only queries need. */
const selecting = lazily(() => import('../access/selector.js'));

/** Documents that `_find` gives when nobody says how many: CouchDB's. */
const DEFAULT_LIMIT = 25;

/** The options of a listing or a view: the query's, and those of a POST's body. @param {Request} request */
async function paramsOf(request) {
  return request.method === 'POST'
    ? request.params.withBody(await request.object({ required: false }))
    : request.params;
}

/** The value of a parameter with two spellings. @param {Params} params @param {string[]} names */
function either(params, names) {
  const name = names.find((each) => params.has(each));
  return name === undefined ? undefined : params.json(name);
}

const START = ['startkey', 'start_key'];
const END = ['endkey', 'end_key'];

/**
 * What of ids is asked for. Any value that is not a string sorts before all ids, but objects and arrays after.
 *
 * @param {Params} params
 * @returns {Record<string, any>}
 */
function rangeOf(params) {
  if (params.has('key')) {
    const key = params.json('key');
    return typeof key === 'string' ? { startkey: key, endkey: key } : { limit: 0 };
  }
  const descending = params.boolean('descending');
  /** @type {Record<string, any>} */
  const range = { inclusive_end: params.boolean('inclusive_end', true) };
  for (const [names, isLowest] of /** @type {[string[], boolean][]} */ ([
    [START, !descending],
    [END, descending],
  ])) {
    const key = either(params, names);
    if (typeof key === 'string') range[names[0]] = key;
    else if (key !== undefined && (typeof key === 'object' && key !== null) === isLowest) range.limit = 0;
  }
  return range;
}

/** @param {Params} params @returns {Record<string, any>} */
function optionsOf(params) {
  const keys = params.strings('keys');
  if (keys && ['key', ...START, ...END].some((name) => params.has(name)))
    refuse('`keys` is incompatible with `key`, `start_key` and `end_key`', 'query_parse_error');
  const flags = ['descending', 'include_docs', 'conflicts', 'update_seq'].map((name) => [name, params.boolean(name)]);
  return {
    skip: params.integer('skip') ?? 0,
    limit: params.integer('limit'),
    ...Object.fromEntries(flags),
    ...(keys ? { keys } : rangeOf(params)),
  };
}

/** @param {Record<string, any>} options */
const ofAll = (options) => options;

/** @param {Record<string, any>} options */
function ofDesigns(options) {
  if (options.keys) return options;
  const [first, last] = options.descending ? ['endkey', 'startkey'] : ['startkey', 'endkey'];
  // What may follow in an id after "_design/" sorts below the character after the slash.
  return {
    ...options,
    [first]: options[first] > '_design/' ? options[first] : '_design/',
    [last]: options[last] < '_design0' ? options[last] : '_design/\uffff',
  };
}

/** @param {Request} request */
export const allDocs = async (request) => streamResponse(told(await list(request, await paramsOf(request), ofAll)));

/** @param {Request} request */
export const designDocs = async (request) => streamResponse(told(await list(request, await paramsOf(request), ofDesigns)));

/** Several listings in one answer. @param {Request} request */
export const allDocsQueries = (request) => listings(request, ofAll);

/** @param {Request} request */
export const designDocsQueries = (request) => listings(request, ofDesigns);

/** @param {Request} request @param {(options: any) => any} narrow */
const listings = (request, narrow) =>
  several(
    request,
    (params) => request.database.checkListing(optionsOf(params)),
    (params) => list(request, params, narrow),
  );

/**
 * The answers of several queries in one. Each is made when those before it were taken: a few bytes ask for a page of rows,
 * and a body has room for a hundred thousand of them.
 *
 * @param {Request} request
 * @param {(params: Params) => void} check What is wrong with one shows before anything is sent.
 * @param {(params: Params) => Promise<AsyncGenerator<string>>} answer
 */
async function several(request, check, answer) {
  const { queries } = await request.object();
  if (!Array.isArray(queries) || !queries.every(isObject)) {
    return refuse('POST body must include `queries` parameter.');
  }
  for (const query of queries) check(request.params.withBody(query));
  async function* joined() {
    yield '{"results":[\n';
    for (const [n, query] of queries.entries()) {
      if (n) yield ',';
      yield* await answer(request.params.withBody(query));
    }
    yield ']}\n';
  }
  return streamResponse(told(joined()));
}

/** @param {Request} request @param {Params} params @param {(options: any) => any} narrow */
async function list(request, params, narrow) {
  const { total, offset, update_seq, pages } = await request.database.listing(narrow(optionsOf(params)));
  const head = JSON.stringify({ total_rows: total, offset, ...(update_seq === undefined ? {} : { update_seq }) });
  return rowsOf(head, params.boolean('attachments') ? inlined(request.database, pages) : pages);
}

/** Rows with attachments inline. @param {Request['database']} database @param {AsyncGenerator<any[]>} pages */
async function* inlined(database, pages) {
  for await (const page of pages) {
    for (const row of page) if (row.doc?._attachments) row.doc = await database.inlined(row.doc);
    yield page;
  }
}

/** @param {string} head @param {AsyncGenerator<any[]>} pages */
async function* rowsOf(head, pages) {
  yield `${head.slice(0, -1)},"rows":[\n`;
  let separator = '';
  for await (const page of pages) {
    if (page.length) yield separator + page.map((row) => JSON.stringify(row)).join(',\n');
    if (page.length) separator = ',\n';
  }
  yield '\n]}\n';
}

/** @param {Request} request */
export async function localDocs(request) {
  const params = await paramsOf(request);
  const docs = await request.database.locals();
  const rows = docs.map((doc) => ({
    id: doc._id,
    key: doc._id,
    value: { rev: doc._rev },
    ...(params.boolean('include_docs') ? { doc } : {}),
  }));
  return jsonResponse({ total_rows: rows.length, offset: 0, rows: rows.sort((a, b) => (a.id < b.id ? -1 : 1)) });
}

/** @param {Request} request */
async function queryOf(request) {
  const body = await request.object();
  const params = request.params.withBody(body);
  if (!('selector' in body)) refuse('Missing required key: selector');
  const { compileSelector } = await selecting();
  compileSelector(body.selector);
  const fields = body.fields === 'all_fields' ? undefined : params.strings('fields');
  return {
    selector: body.selector,
    fields,
    sort: body.sort,
    bookmark: body.bookmark,
    limit: params.integer('limit') ?? DEFAULT_LIMIT,
    skip: params.integer('skip') ?? 0,
  };
}

/** @param {Request} request */
export async function find(request) {
  return jsonResponse(await request.database.find(await queryOf(request)));
}

const ALL_DOCS = { ddoc: null, name: '_all_docs', type: 'special', def: { fields: [{ _id: 'asc' }] } };

/** Visitors' queries go through all that they may see. @param {Request} request */
export async function explain(request) {
  const { selector, fields = 'all_fields', limit, skip } = await queryOf(request);
  request.database.require('query');
  return jsonResponse({ dbname: request.context.name, index: ALL_DOCS, selector, fields, limit, skip });
}

/** @param {Request} request */
export async function indexes(request) {
  request.database.require('query');
  return jsonResponse({ total_rows: 1, indexes: [ALL_DOCS] });
}

/** The options of a view. @param {Params} params */
function viewOptionsOf(params) {
  /** @type {Record<string, any>} */
  const options = {};
  for (const name of ['key', 'keys']) if (params.has(name)) options[name] = params.json(name);
  for (const [name, spellings] of Object.entries({ startkey: START, endkey: END })) {
    const value = either(params, spellings);
    if (value !== undefined) options[name] = value;
  }
  for (const name of ['reduce', 'group', 'descending', 'include_docs', 'conflicts', 'inclusive_end', 'update_seq']) {
    if (params.has(name)) options[name] = params.boolean(name);
  }
  for (const name of ['limit', 'skip', 'group_level']) if (params.has(name)) options[name] = params.integer(name);
  return options;
}

/** @param {Request} request */
const viewOf = ({ values }) => `${values.design}/${values.view}`;

/** A view of one of the page's own design documents. @param {Request} request */
export async function view(request) {
  const options = viewOptionsOf(await paramsOf(request));
  return jsonResponse(await request.database.query(viewOf(request), options));
}

/** Several queries of a view in one answer. @param {Request} request */
export async function viewQueries(request) {
  const name = viewOf(request);
  request.database.checkQuery(name);
  // That there is such a view is learned before anything is sent, too.
  await request.database.query(name, { reduce: false, limit: 0 });
  return several(request, viewOptionsOf, async (params) => {
    const result = await request.database.query(name, viewOptionsOf(params));
    return (async function* () {
      yield JSON.stringify(result);
    })();
  });
}
