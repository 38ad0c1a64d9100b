import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Access } from '../src/access/access.js';
import { Meeting } from '../src/meeting.js';
import { WebRTC } from '../src/transport/webrtc.js';
import { Contacts } from '../src/trust/contacts.js';
import { Identity } from '../src/trust/identity.js';
import { settle } from './fake-clock.js';
import { FakePeerConnection } from './fake-rtc.js';
import { MemoryHub } from './memory-hub.js';
import { mutant } from './mutant.js';
import { pouch } from './pouch.js';

const MOST_OF_ONE_KEY = 16;

/** An owner whose `onRemote` asks a person, and those who want to come in. */
async function scene(t, Class = Meeting) {
  const identity = await Identity.ephemeral();
  const meeting = await Class.join(new MemoryHub(), {
    identity, contacts: new Contacts(), iceServers: [], RTCPeerConnection: FakePeerConnection,
  });
  t.after(async () => {
    await meeting.close();
    for (const pc of FakePeerConnection.open) pc.close();
  });
  const here = { meeting, asked: 0, say: () => {} };
  const said = new Promise((resolve) => { here.say = resolve; });
  const onRemote = async () => {
    here.asked += 1;
    await said;
  };
  here.share = await meeting.shareDatabase(pouch(), { name: 'notes', onRemote });
  here.key = (await Identity.ephemeral()).key;
  here.peer = { key: here.key, session: 's'.repeat(26) };
  const offer = async () => (await new WebRTC({ RTCPeerConnection: FakePeerConnection }).offer(() => {})).sdp;
  /** Comes by way of the hub. */
  const reception = await meeting.pool.reception();
  here.knock = async () => reception.decide({ peer: here.peer, share: here.share.id, body: { sdp: await offer() } });
  here.until = async (number) => {
    while (here.asked < number) await settle();
  };
  return here;
}

async function revokedMeanwhile(here) {
  const knocking = here.knock();
  knocking.catch(() => {});
  await here.until(1);
  await here.share.revoke(here.key);
  here.say();
  return knocking;
}

test('who is revoked while it is decided on does not get in', async (t) => {
  const here = await scene(t);
  await assert.rejects(revokedMeanwhile(here), { error: 'share_not_found' });
  await here.share.reinstate(here.key);
  assert.ok((await here.knock()).sdp);
});

test('twin: without looking again it gets in', async (t) => {
  const load = mutant(t, { 'hosting.js': [['if (!serves()) throw', 'if (false) throw']] });
  const here = await scene(t, (await load('meeting.js')).Meeting);
  assert.ok((await revokedMeanwhile(here)).sdp);
});

async function revokedBeforeItIsEntered(here) {
  const { pool } = here.meeting;
  const reception = await pool.reception();
  const answer = reception.answerSdp.bind(reception);
  reception.answerSdp = async (...given) => { // it may have asked first whether the connection that there is still works
    await here.share.revoke(here.key);
    return answer(...given);
  };
  here.say();
  await here.knock();
  const request = { method: 'GET', url: `/${here.share.id}/`, headers: new Headers(), body: null };
  return (await pool.handler(here.peer)(request)).status;
}

test('who is revoked after it was decided on is served nothing, though it is entered then', async (t) => {
  assert.equal(await revokedBeforeItIsEntered(await scene(t)), 404);
});

test('twin: without asking at each request it is served', async (t) => {
  const load = mutant(t, { 'peers/reception.js': [['guest && (guest.serves?.() ?? true) ?', 'guest ?']] });
  assert.equal(await revokedBeforeItIsEntered(await scene(t, (await load('meeting.js')).Meeting)), 200);
});

async function knockWithoutEnd(here) {
  let refused = 0;
  const noted = (error) => {
    refused += 1;
    return error.error;
  };
  const knocking = Array.from({ length: 3 * MOST_OF_ONE_KEY }, () => here.knock().then(() => 'in', noted));
  while (here.asked + refused < knocking.length) await settle();
  const { asked } = here;
  here.say();
  return { asked, answers: await Promise.all(knocking) };
}

test('no key has more decisions pending than one may', async (t) => {
  const { asked, answers } = await knockWithoutEnd(await scene(t));
  assert.equal(asked, MOST_OF_ONE_KEY);
  assert.equal(answers.filter((answer) => answer === 'too_many_requests').length, 2 * MOST_OF_ONE_KEY);
});

test('twin: without that bound it has any number', async (t) => {
  const load = mutant(t, { 'hosting.js': [['this.#openings.enter(toText(key), inTime)', 'inTime()']] });
  const { asked } = await knockWithoutEnd(await scene(t, (await load('meeting.js')).Meeting));
  assert.equal(asked, 3 * MOST_OF_ONE_KEY);
});

async function changedMeanwhile(here) {
  const knocking = here.knock();
  knocking.catch(() => {});
  await here.until(1);
  await here.share.setAccess('read-only', { peers: [] });
  here.say();
  return knocking;
}

test('rules are changed at once: who is being decided on by the old ones does not get in', async (t) => {
  const here = await scene(t);
  await assert.rejects(changedMeanwhile(here), { error: 'share_not_found' });
  await assert.rejects(here.knock(), { error: 'forbidden' });
  await here.share.setAccess('read-only');
  assert.ok((await here.knock()).sdp);
  assert.equal(here.asked, 1); // the rules are all new, and nobody is asked any more
});

test('twin: without looking at the rules again it gets in', async (t) => {
  const load = mutant(t, { 'hosting.js': [[' && own.door === door', '']] });
  const { Meeting: Mutant } = await load('meeting.js');
  assert.ok((await changedMeanwhile(await scene(t, Mutant))).sdp);
});

test('rules that are none change nothing, and there are none for what is shared no more', async (t) => {
  const here = await scene(t);
  await assert.rejects(here.share.setAccess('everything'), { error: 'bad_request' });
  await assert.rejects(here.share.setAccess('read-only', { peers: 'Ada' }), { error: 'bad_request' });
  here.say();
  assert.ok((await here.knock()).sdp);
  await here.meeting.unshareDatabase(here.share);
  await assert.rejects(here.share.setAccess('read-only'), { error: 'share_not_found' });
});

test('an owner sees how much of an attachment each reader has taken, from where it went on', async (t) => {
  t.mock.method(console, 'error', () => {});
  const here = await scene(t);
  const database = pouch();
  await database.put({ _id: 'd', _attachments: { f: { content_type: 'x/y', data: Buffer.alloc(300_000) } } });
  const seen = [];
  const onSent = (progress) => {
    seen.push(progress);
    throw new Error('the page\'s own matter');
  };
  const share = await here.meeting.shareDatabase(database, { onSent });
  const peer = { ...here.peer, fingerprint: 'f', contact: null };
  const { handler } = await share.app(await Access.parse('read-only'), peer);
  const read = async (headers) => {
    seen.length = 0;
    const response = await handler({ method: 'GET', url: '/d/f', headers: new Headers(headers), body: null });
    return (await response.arrayBuffer()).byteLength;
  };
  assert.equal(await read({}), 300_000);
  assert.deepEqual(seen.at(-1), { peer, id: 'd', attachment: 'f', sent: 300_000, length: 300_000 });
  assert.equal(await read({ range: 'bytes=100000-199999' }), 100_000);
  assert.equal(seen.at(-1).sent, 200_000);
});
