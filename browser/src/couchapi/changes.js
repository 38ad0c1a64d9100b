/** The changes feed: normal, longpoll, continuous and eventsource. */

import { asError } from '../access/documents.js';
import { Idle } from '../access/watching.js';
import { lazily } from '../lazy.js';
import { refuse } from './requests.js';
import { errorFields, streamResponse, told } from './responses.js';

/** @typedef {import('./requests.js').Request} Request */
/** @typedef {import('../access/documents.js').Page} Page */

/**
 * Milliseconds after which an idle feed without heartbeats ends, and between heartbeats for which no number was named:
 * CouchDB's.
 */
const TIMEOUT = 60_000;

/** What only feeds with a selector need. */
const selecting = lazily(() => import('../access/selector.js'));

const FEEDS = ['normal', 'longpoll', 'continuous', 'live', 'eventsource'];

/**
 * A sequence as text or number; clients that take it for JSON send it back with its quotes.
 *
 * @param {import('./requests.js').Params} params
 */
function sinceOf(params) {
  const value = params.raw('since') ?? 0;
  const text = String(value).replace(/^"(.*)"$/s, '$1');
  return /^\d{1,15}$/.test(text) ? Number(text) : text || 0;
}

/** @param {import('./requests.js').Params} params */
function heartbeatOf(params) {
  const value = params.raw('heartbeat');
  if (value === 'true' || value === true) return TIMEOUT;
  return value === 'false' || value === false ? undefined : params.integer('heartbeat', 1);
}

/** @param {import('./requests.js').Params} params */
async function filterOf(params) {
  const filter = params.text('filter');
  if (filter === undefined) return {};
  if (filter === '_doc_ids')
    return { doc_ids: params.strings('doc_ids') ?? refuse('`doc_ids` filter parameter is not a list.') };
  if (filter === '_selector') {
    const { compileSelector } = await selecting();
    return { matches: compileSelector(params.json('selector')) };
  }
  if (filter === '_design') return { matches: (/** @type {any} */ doc) => doc._id.startsWith('_design/') };
  if (filter === '_view') return { filter, view: params.text('view') };
  // A function of one of the page's own design documents.
  return { filter, query_params: Object.fromEntries(params.query) };
}

/** @param {Request} request */
export async function changes(request) {
  const params =
    request.method === 'POST' ? request.params.withBody(await request.object({ required: false })) : request.params;
  const feed = params.text('feed') ?? 'normal';
  if (!FEEDS.includes(feed)) refuse('Supported `feed` types: normal, continuous, live, longpoll, eventsource');
  const style = params.text('style') ?? 'main_only';
  if (style !== 'main_only' && style !== 'all_docs') refuse('`style` must be main_only or all_docs');
  const limit = params.integer('limit');
  const heartbeat = heartbeatOf(params);
  const timeout = heartbeat ? undefined : (params.integer('timeout') ?? TIMEOUT);
  const abort = new AbortController();
  const stop = () => abort.abort();
  request.signal.addEventListener('abort', stop, { once: true });
  const asked = {
    since: sinceOf(params),
    limit: limit === undefined ? undefined : Math.max(limit, 1),
    style,
    descending: params.boolean('descending'),
    include_docs: params.boolean('include_docs'),
    conflicts: params.boolean('conflicts'),
    idle: new Idle(request.context.clock, { heartbeat, timeout }),
    signal: abort.signal,
    ...(await filterOf(params)),
  };
  const live = feed !== 'normal' && feed !== 'longpoll';
  /** @param {any} more @returns {AsyncGenerator<Page>} */
  const open = (more) => {
    const pages = request.database.changes({ ...asked, ...more });
    return params.boolean('attachments') ? inlined(request.database, pages) : pages;
  };
  const pages = open({ live, descending: asked.descending && !live });
  try {
    // What is wrong with the request shows at the first page, and has a status.
    const first = live ? null : await pages.next();
    const all = first === null ? pages : again(first, pages);
    const pieces =
      feed === 'normal'
        ? told(results(all, asked.since))
        : feed === 'longpoll'
          ? told(longpoll(all, asked.since, open))
          : feed === 'eventsource'
            ? events(all)
            : lines(all, asked.since);
    const headers = {
      'content-type': feed === 'eventsource' ? 'text/event-stream' : 'application/json',
      // What pauses must not be compressed: a browser's compressor keeps back what it was given last.
      'cache-control': feed === 'normal' ? 'no-cache' : 'no-cache, no-transform',
    };
    return streamResponse(
      freed(pieces, () => request.signal.removeEventListener('abort', stop)),
      { abort, headers },
    );
  } catch (error) {
    stop();
    await pages.return(undefined);
    throw error;
  }
}

/** @param {AsyncGenerator<string>} pieces @param {() => void} free */
async function* freed(pieces, free) {
  try {
    yield* pieces;
  } finally {
    free();
  }
}

/** @param {IteratorResult<Page>} first @param {AsyncGenerator<Page>} rest @returns {AsyncGenerator<Page>} */
async function* again(first, rest) {
  try {
    if (!first.done) {
      yield first.value;
      yield* rest;
    }
  } finally {
    await rest.return(undefined);
  }
}

/** Pages with attachments inline. @param {Request['database']} database @param {AsyncGenerator<Page>} pages */
async function* inlined(database, pages) {
  for await (const page of pages) {
    for (const change of page.results) {
      if (change.doc?._attachments) change.doc = await database.inlined(change.doc);
    }
    yield page;
  }
}

/** @param {any[]} rows */
const encode = (rows) => rows.map((row) => JSON.stringify(row)).join(',\n');

/** @param {AsyncGenerator<Page>} pages @param {any} since */
async function* results(pages, since) {
  yield '{"results":[\n';
  let separator = '';
  let last = { last_seq: since, pending: 0 };
  for await (const { results: rows, last_seq, pending } of pages) {
    if (rows.length) yield separator + encode(rows);
    if (rows.length) separator = ',\n';
    last = { last_seq, pending };
  }
  yield end(last);
}

/** @param {{ last_seq: any, pending: number }} last */
const end = (last) => `\n],\n${JSON.stringify(last).slice(1)}\n`;

/**
 * What there is; if there is nothing, what comes next, after line breaks as heartbeats.
 *
 * @param {AsyncGenerator<Page>} pages
 * @param {any} since
 * @param {(more: any) => AsyncGenerator<Page>} open
 */
async function* longpoll(pages, since, open) {
  yield '{"results":[\n';
  let separator = '';
  let last = { last_seq: since, pending: 0 };
  for await (const { results: rows, last_seq, pending } of pages) {
    if (rows.length) yield separator + encode(rows);
    if (rows.length) separator = ',\n';
    last = { last_seq, pending };
  }
  if (separator === '') {
    for await (const { results: rows, last_seq, pending } of open({
      since: last.last_seq,
      live: true,
      descending: false,
    })) {
      last = { last_seq, pending };
      if (rows.length) {
        yield encode(rows);
        break;
      }
      yield '\n';
      yield '';
    }
  }
  yield end(last);
}

/**
 * A row to a line, an empty line as heartbeat, and the last sequence, or the error, in the last line.
 *
 * @param {AsyncGenerator<Page>} pages
 * @param {any} since
 */
async function* lines(pages, since) {
  try {
    for await (const { results: rows, last_seq } of pages) {
      since = last_seq;
      yield rows.length ? rows.map((row) => `${JSON.stringify(row)}\n`).join('') : '\n';
      yield '';
    }
  } catch (error) {
    yield `${JSON.stringify(errorFields(asError(error)))}\n`;
    return;
  }
  yield `${JSON.stringify({ last_seq: since, pending: 0 })}\n`;
}

/** @param {AsyncGenerator<Page>} pages */
async function* events(pages) {
  yield '\n';
  for await (const { results: rows } of pages) {
    yield (
      rows.map((row) => `data: ${JSON.stringify(row)}\nid: ${JSON.stringify(row.seq)}\n\n`).join('') ||
      'event: heartbeat\ndata: \n\n'
    );
    yield '';
  }
}
