/** A hub, a clock, and those who come there. */

import { HubClient } from '../src/hub/client.js';
import { Identity } from '../src/trust/identity.js';
import { FakeClock, settle } from './fake-clock.js';
import { MemoryHub } from './memory-hub.js';

/** @param {import('node:test').TestContext} t Closes every client in the end. */
export function world(t, { Client = HubClient } = {}) {
  for (const method of ['debug', 'warn', 'error']) t.mock.method(console, method, () => {});
  const clock = new FakeClock();
  const hub = new MemoryHub();
  const clients = [];
  t.after(async () => {
    hub.fail = null;
    for (const client of clients) await client.close();
  });
  const join = async (identity, { at = hub, by = clock, ...options } = {}) => {
    const client = await Client.join(at, { identity: identity ?? await Identity.ephemeral(), clock: by, random: () => 0.5, ...options });
    clients.push(client);
    return client;
  };
  return { clock, hub, join };
}

/** Lets everybody in. */
export const echo = async ({ body }) => ({ sdp: `answer to ${body.sdp}`, info: { from: 'the owner' } });

/** Share a database; gives the share's id. */
export async function publish(client, { uuid = 'uuid-1', name = 'Field notes', info, decide = echo } = {}) {
  return (await client.publish({ uuid, name, info, decide })).id;
}

/** Turn the clock until a promise has settled; gives what it gave. */
export async function turned(clock, promise, { step = 1000, most = 200_000 } = {}) {
  let done = false;
  const watched = Promise.resolve(promise).finally(() => { done = true; });
  watched.catch(() => {});
  for (let gone = 0; !done && gone <= most; gone += step) await clock.advance(step);
  if (!done) throw new Error('It did not settle.');
  await settle(1);
  return watched;
}
