import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PeerPouchError } from '../src/errors.js';

test('an error carries its name, its status and its reason, as those of PouchDB do', () => {
  const error = new PeerPouchError('share_not_found', 'The hub has no such share.');
  assert.equal(error.status, 404);
  assert.equal(error.message, 'The hub has no such share.');
  assert.deepEqual(JSON.parse(JSON.stringify(error)), {
    error: 'share_not_found',
    reason: 'The hub has no such share.',
    status: 404,
  });
});
