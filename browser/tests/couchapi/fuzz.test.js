import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createApp } from '../../src/couchapi/app.js';
import { STATUS } from '../../src/errors.js';
import { pouch } from '../pouch.js';

/** Random numbers that are the same each time (mulberry32). @param {number} seed */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const PATHS = [
  '',
  '_changes',
  '_bulk_docs',
  '_bulk_get',
  '_revs_diff',
  '_missing_revs',
  '_all_docs',
  '_design_docs',
  '_local_docs',
  '_find',
  '_explain',
  '_index',
  '_ensure_full_commit',
  '_revs_limit',
  '_security',
  '_design/d',
  '_design/d/_view/v',
  '_design',
  '_local/x',
  '_local',
  'a',
  'a/f',
  'b%2Fc',
  'a/f%2Fg',
  '%FF',
  '%E2%82',
  '_nothing',
  '_design%2Fd',
  '_local%2Fx',
  'a/',
  '__proto__',
  'constructor',
  'a/__proto__',
  '_changes/more',
];
const NAMES = [
  'rev',
  'revs',
  'open_revs',
  'atts_since',
  'since',
  'limit',
  'skip',
  'keys',
  'key',
  'startkey',
  'endkey',
  'descending',
  'include_docs',
  'attachments',
  'feed',
  'filter',
  'heartbeat',
  'timeout',
  'style',
  'selector',
  'doc_ids',
  'conflicts',
  'latest',
  'new_edits',
  'group_level',
  'reduce',
  'meta',
  '__proto__',
];
const TEXTS = [
  'true',
  'false',
  '0',
  '-1',
  '1',
  '1e9',
  'all',
  '"x"',
  '[]',
  '["a"]',
  '{}',
  '[1]',
  'null',
  '1-x',
  '["1-x"]',
  '9-' + 'f'.repeat(300),
  'now',
  '5-abc',
  'normal',
  '_selector',
  '_doc_ids',
  '_view',
  'd/v',
  '%',
  '%00',
  'é',
  '999999999999999999999',
  'main_only',
  'all_docs',
  '',
];
const VALUES = [
  null,
  true,
  0,
  -1,
  1.5,
  '',
  'a',
  '_id',
  '1-x',
  [],
  {},
  ['a'],
  [null],
  [{}],
  { id: 'a' },
  [{ id: 'a' }],
  { a: ['1-x'] },
  { a: 1 },
  { $gt: 1 },
  { $bad: 1 },
  { a: { $regex: '(' } },
  [{ _id: 'a' }],
  [{ _id: 'x', _rev: '1-y' }],
  [{ _id: '_x' }],
  [{ _id: 'y', _attachments: { f: { data: '*' } } }],
  [{ _id: 'z', _attachments: { f: 1 } }],
  [{ _id: 'z', _attachments: { f: { stub: true } } }],
  [{ _id: 'r', _revisions: { start: 1, ids: ['a', 'b'] } }],
  [{ _id: 'r', _rev: '2-a', _revisions: { start: 2, ids: ['a', 'b'] } }],
  [{ _id: 'd', _deleted: 'yes' }],
  [{ _id: 1 }],
  [{ _id: 'n', __proto__: 1 }],
];
const FIELDS = [
  'docs',
  'keys',
  'selector',
  'fields',
  'sort',
  'limit',
  'skip',
  'bookmark',
  'new_edits',
  'doc_ids',
  '_id',
  '_rev',
  '_attachments',
  'a',
  'queries',
  'filter',
];

for (const access of ['read-write', 'read-only', { select: { type: 'a' } }]) {
  test(`whatever is asked of a share (${JSON.stringify(access)}) is answered, and a mistake is the client's`, async (t) => {
    const db = pouch();
    await db.put({ _id: 'a', type: 'a', _attachments: { f: { content_type: 'text/plain', data: btoa('x') } } });
    await db.put({ _id: 'b/c' });
    const complaints = t.mock.method(console, 'error', () => {});
    t.mock.method(console, 'warn', () => {});
    t.mock.method(console, 'log', () => {});
    const { handler } = await createApp(db, { access });
    const next = random(2013);
    const pick = (/** @type {any[]} */ list) => list[Math.floor(next() * list.length)];
    for (let n = 0; n < 700; n++) {
      const query = Array.from(
        { length: Math.floor(next() * 3) },
        () => `${pick(NAMES)}=${next() < 0.5 ? encodeURIComponent(pick(TEXTS)) : pick(TEXTS)}`,
      ).join('&');
      const body =
        next() < 0.15
          ? pick(['', 'not json', '[', '{"docs":'])
          : JSON.stringify(
              next() < 0.3
                ? pick(VALUES)
                : Object.fromEntries(Array.from({ length: 2 }, () => [pick(FIELDS), pick(VALUES)])),
            );
      const method = pick(['GET', 'GET', 'POST', 'POST', 'PUT', 'DELETE', 'HEAD', 'COPY']);
      const url = `/${pick(PATHS)}?${query}`;
      const headers = new Headers({
        'content-type': pick([
          'application/json',
          'application/json',
          'application/json',
          'text/plain',
          'multipart/related; boundary=x',
          'multipart/related',
        ]),
      });
      if (next() < 0.1) headers.set('content-encoding', pick(['gzip', 'br']));
      if (next() < 0.1) headers.set('range', pick(['bytes=0-0', 'bytes=5-', 'bytes=-0', 'lines=1']));
      if (next() < 0.1) headers.set('if-match', pick(['"1-x"', 'x']));
      const abort = new AbortController();
      const response = await handler({
        method,
        url,
        headers,
        body: method === 'GET' || method === 'HEAD' ? null : new Blob([body]).stream(),
        signal: abort.signal,
      });
      // A live feed ends when nobody wants it any more.
      if (/feed=|longpoll/.test(url + body)) abort.abort();
      const text = await response.text();
      const said = `${method} ${url} ${body} -> ${response.status} ${text}`;
      assert.ok(response.status < 500 || response.status === 501, said);
      assert.equal(complaints.mock.callCount(), 0, `${said} ${complaints.mock.calls[0]?.arguments}`);
      if (response.status >= 400 && method !== 'HEAD') {
        const { error, reason } = JSON.parse(text);
        assert.ok(error in STATUS && typeof reason === 'string', said);
      }
    }
  });
}
