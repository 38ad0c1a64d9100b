import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import PouchDB from 'pouchdb';
import memory from 'pouchdb-adapter-memory';

import { Access } from '../src/access/access.js';
import { PeerPouchError } from '../src/errors.js';
import { Door } from '../src/hub/door.js';
import { Contacts } from '../src/trust/contacts.js';
import { Identity } from '../src/trust/identity.js';
import { Invitations } from '../src/trust/invitations.js';
import { disclose } from '../src/trust/invite-text.js';
import { Invite, enclose } from '../src/trust/invites.js';
import { FakeClock } from './fake-clock.js';

PouchDB.plugin(memory);

const fails = (error, reason = /./) => (thrown) =>
  thrown instanceof PeerPouchError && thrown.error === error && reason.test(thrown.reason);

let count = 0;
let contacts;
let invitations;
let ada;
let bob;

beforeEach(async () => {
  contacts = new Contacts();
  invitations = new Invitations(new PouchDB(`door-${(count += 1)}`, { adapter: 'memory' }), new FakeClock());
  [ada, bob] = await Promise.all([1, 2].map(() => remote()));
});

async function remote() {
  const { key, fingerprint, text } = await Identity.ephemeral();
  return { key, fingerprint, text, session: 's', contact: null };
}

const door = (rules = {}) => Door.make('Notes', { invitations, contacts, parse: Access.parse, ...rules });
const decide = (at, peer, token = null, info = null) => at.decide(peer, 'share', info, token);
const accessOf = async (at, peer, token) => at.accessOf(await decide(at, peer, token));

test('a share that says nothing lets everybody read and write', async () => {
  const access = await accessOf(await door(), ada);
  assert.ok(access.read && access.write);
});

test('onRemote sees who comes and what is said, and may refuse with a reason', async () => {
  const seen = [];
  const at = await door({
    onRemote: async (event) => {
      seen.push([event.share, event.peer.fingerprint, event.info, event.defaultPrevented]);
      if (event.peer.fingerprint !== ada.fingerprint) event.preventDefault('Come back tomorrow.');
    },
  });
  await decide(at, ada, null, { hello: 1 });
  assert.deepEqual(seen, [['share', ada.fingerprint, { hello: 1 }, false]]);
  await assert.rejects(decide(at, bob), fails('forbidden', /^Come back tomorrow\.$/));
  for (const reason of [undefined, '', '  ', 7, null]) {
    await assert.rejects(decide(await door({ onRemote: (event) => event.preventDefault(reason) }), ada), fails('forbidden', /does not let you in/));
  }
});

test('what goes wrong while deciding refuses, and does not say what it was', async (t) => {
  const logged = t.mock.method(console, 'error', () => {});
  const broken = async () => {
    throw new Error('secret');
  };
  for (const rules of [{ onRemote: broken }, { access: broken }, { access: () => 'nonsense' }]) {
    await assert.rejects(decide(await door(rules), ada), fails('forbidden', /could not let you in/));
  }
  assert.equal(logged.mock.callCount(), 3);
});

test('peers are keys as bytes or text, fingerprints, or names of contacts; nobody else comes in', async () => {
  await contacts.add('Ada', ada.key, { now: 1 });
  for (const name of [ada.key, ada.text, ada.fingerprint, ada.fingerprint.toUpperCase().replaceAll('-', ' '), 'Ada']) {
    const at = await door({ peers: [name] });
    await decide(at, ada);
    await assert.rejects(decide(at, bob), fails('forbidden', /with others only/));
    const byAccess = await door({ access: { peers: [name] } });
    await decide(byAccess, ada);
    await assert.rejects(decide(byAccess, bob), fails('forbidden', /with others only/));
  }
  await assert.rejects(decide(await door({ peers: [] }), ada), fails('forbidden'));
});

test('a function says for each what it may do, and refuses with null', async () => {
  const at = await door({ access: async (peer) => (peer.fingerprint === ada.fingerprint ? 'read-only' : null) });
  assert.equal((await accessOf(at, ada)).write, false);
  await assert.rejects(decide(at, bob), fails('forbidden', /with others only/));
});

test('rules that are none are refused when they are given', async () => {
  await assert.rejects(door({ access: 'everything' }), fails('bad_request'));
  await assert.rejects(door({ peers: 'Ada' }), fails('bad_request'));
  await assert.rejects(door({ onRemote: 'yes' }), fails('bad_request'));
});

test('an invite lets in past the rules, gives what it says, and closes a share that said nothing', async () => {
  const plain = await invitations.add();
  const reading = await invitations.add({ access: 'read-only' });
  const at = await door({ peers: [], access: 'read-write' });
  assert.ok((await accessOf(at, ada, plain)).write);
  assert.ok(!(await accessOf(at, ada, reading)).write);
  await assert.rejects(decide(at, ada), fails('forbidden'));
  // What may be done says nothing of who may come; the twins do.
  for (const rules of [{}, { access: 'read-only' }, { access: { read: true, write: false } }]) {
    await assert.rejects(decide(await door(rules), bob), fails('forbidden', /for those who were invited/));
  }
  for (const rules of [{ access: () => 'read-only' }, { onRemote: () => {} }, { peers: [bob.key] }]) {
    await decide(await door(rules), bob);
  }
  await assert.rejects(decide(at, bob, new Uint8Array(16)), fails('forbidden', /not valid any more/));
});

test('an invite for one is bound to the first key, and the same key may use it again', async () => {
  const token = await invitations.add({ once: true });
  await decide(await door(), ada, token);
  await decide(await door(), ada, token);
  await assert.rejects(decide(await door(), bob, token), fails('forbidden', /somebody else has used it/));
  // The twin: without `once`, it is for whoever has it.
  const shared = await invitations.add();
  await decide(await door(), ada, shared);
  await decide(await door(), bob, shared);
});

test('who was shut out stays out, invited or not, until that is taken back', async () => {
  const token = await invitations.add();
  await invitations.revoke(ada.key);
  await assert.rejects(decide(await door({ access: 'read-only' }), ada), fails('forbidden', /any more/));
  await assert.rejects(decide(await door(), ada, token), fails('forbidden', /any more/));
  await decide(await door(), bob, token);
  await invitations.revoke(ada.key, false);
  await decide(await door(), ada, token);
});

test('a token travels within the info, and comes out of it again', async () => {
  const token = new Uint8Array(16).fill(7);
  const invite = await Invite.make({ hub: 'h', shareId: 'a'.repeat(26), fingerprint: ada.fingerprint, token });
  const sent = JSON.parse(JSON.stringify(enclose({ who: 'me' }, invite)));
  assert.deepEqual(disclose(sent), { info: { who: 'me' }, token });
  assert.deepEqual(enclose({ who: 'me' }, null), { who: 'me' });
  for (const info of [null, 7, 'text', [1], { who: 'me' }]) assert.deepEqual(disclose(info), { info, token: null });
  assert.throws(() => disclose({ 'peerpouch:invite': 'short' }), fails('invalid_signal'));
});
