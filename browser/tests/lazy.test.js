import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PeerPouchError } from '../src/errors.js';
import { lazily } from '../src/lazy.js';

test('a part is loaded once, and again after it could not be', async () => {
  let loads = 0;
  const load = lazily(async () => {
    loads += 1;
    if (loads === 1) throw new TypeError('away');
    return loads;
  });
  const [one, other] = await Promise.allSettled([load(), load()]);
  assert.equal(one.reason.error, 'connection_failed');
  assert.match(one.reason.reason, /not loaded: away/);
  assert.equal(one.reason, other.reason);
  assert.deepEqual(await Promise.all([load(), load()]), [2, 2]);
});

test('an error of ours stays what it is', async () => {
  const load = lazily(async () => { throw new PeerPouchError('database_closed', 'The hub was closed.'); });
  await assert.rejects(load(), { error: 'database_closed', reason: 'The hub was closed.' });
});
