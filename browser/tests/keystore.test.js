import 'fake-indexeddb/auto';

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { IDBFactory } from 'fake-indexeddb';

import { utf8 } from '../src/trust/bytes.js';
import { Contacts } from '../src/trust/contacts.js';
import { Identity, verify } from '../src/trust/identity.js';
import { change, read } from '../src/trust/keystore.js';

beforeEach(() => {
  globalThis.indexedDB = new IDBFactory();
});

test('a value is changed in one step, also by many at once', async () => {
  await Promise.all(Array.from({ length: 20 }, () => change('count', (there = 0) => there + 1)));
  assert.equal(await read('count'), 20);
  assert.equal(await read('other'), undefined);
});

test('what the update throws goes through and changes nothing', async () => {
  await change('x', () => 1);
  await assert.rejects(change('x', () => { throw new Error('mine'); }), /mine/);
  await assert.rejects(change('x', () => () => {}), /clone/i);
  assert.equal(await read('x'), 1);
});

test('the identity of a browser stays the same, and its private key signs without being readable', async () => {
  const [one, two] = await Promise.all([Identity.load(), Identity.load()]);
  const three = await Identity.load();
  assert.equal(one.text, two.text);
  assert.equal(one.text, three.text);
  assert.notEqual((await Identity.load({ name: 'work' })).text, one.text);
  assert.ok(await verify(one.key, 'x', utf8('y'), await three.sign('x', utf8('y'))));
  const { privateKey } = await read('identity:default');
  assert.equal(privateKey.extractable, false);
  await assert.rejects(crypto.subtle.exportKey('pkcs8', privateKey));
});

test('where nothing can be kept, the error says what to do', async () => {
  globalThis.indexedDB = undefined;
  await assert.rejects(Identity.load(), (error) => error.error === 'invalid_identity' && /ephemeral/.test(error.reason));
});

test('what is stored in the identity\'s place and is none is refused, not overwritten', async () => {
  await change('identity:default', () => ({ privateKey: 'x', key: 'y' }));
  await assert.rejects(Identity.load(), { error: 'invalid_identity' });
  assert.deepEqual(await read('identity:default'), { privateKey: 'x', key: 'y' });
});

const keys = await Promise.all(Array.from({ length: 4 }, () => Identity.ephemeral()));
const now = 1_700_000_000_000;

for (const [kind, make] of [['kept', () => Contacts.load()], ['in memory', () => new Contacts()]]) {
  test(`contacts ${kind}: a key has one name, a name one key`, async () => {
    const contacts = make();
    await contacts.add('Alice', keys[0].key, { now });
    await contacts.add('Bob', keys[1].text, { now });
    assert.equal(await contacts.nameOf(keys[0].key), 'Alice');
    assert.equal(await contacts.nameOf(keys[2].key), null);
    await assert.rejects(contacts.add('Bob', keys[0].key, { now }), { error: 'conflict' });
    await contacts.add('Bob', keys[0].key, { now, replace: true });
    assert.deepEqual((await contacts.list()).map((each) => [each.name, each.key, each.fingerprint]),
      [['Bob', keys[0].key, keys[0].fingerprint]]);
    for (const text of ['Bob', keys[0].text, keys[0].fingerprint, keys[0].fingerprint.toUpperCase().replaceAll('-', ' ')]) {
      assert.equal((await contacts.find(text)).name, 'Bob');
    }
    assert.equal(await contacts.find('Alice'), null);
    await contacts.remove('Bob');
    await assert.rejects(contacts.remove('Bob'), { error: 'not_found' });
    assert.deepEqual(await contacts.list(), []);
  });

  test(`contacts ${kind}: names that can't be shown are refused`, async () => {
    const contacts = make();
    for (const name of ['', ' x', 'x ', 'a\nb', 'a\u202eb', 'a\u200bb', 'x'.repeat(201), '\u00a0']) {
      await assert.rejects(contacts.add(name, keys[0].key, { now }), { error: 'bad_request' }, JSON.stringify(name));
    }
    await assert.rejects(contacts.add('x', 'no key', { now }), { error: 'bad_request' });
    await contacts.add('Zoë de la Cruz 😀', keys[0].key, { now });
  });

  test(`contacts ${kind}: a name that comes under another key than at first is noticed`, async () => {
    const contacts = make();
    const judge = (name, key, scope = 'hub') => contacts.judge(name, key, scope);
    const [a, b, c] = keys.map((each) => each.key);
    assert.equal(await judge('Notes', a), 'new');
    await contacts.remember('Notes', a, { scope: 'hub', now });
    assert.equal(await judge('Notes', a), 'seen');
    assert.equal(await judge('Notes', b), 'changed');
    assert.equal(await judge('Notes', b, 'other hub'), 'new');
    await contacts.remember('Notes', b, { scope: 'hub', now });
    assert.equal(await judge('Notes', b), 'changed');
    await contacts.remember('Notes', b, { scope: 'hub', now, confirmed: true });
    assert.equal(await judge('Notes', b), 'seen');
    assert.equal(await judge('Notes', a), 'changed');
    await contacts.add('Carol', c, { now });
    assert.equal(await judge('Notes', c), 'contact');
  });
}

test('contacts of one browser are the same in all of its tabs', async () => {
  const [one, two] = [Contacts.load(), Contacts.load()];
  await Promise.all(keys.map((each, n) => (n % 2 ? one : two).add(`name ${n}`, each.key, { now })));
  assert.deepEqual((await one.list()).map((each) => each.name), ['name 0', 'name 1', 'name 2', 'name 3']);
});
