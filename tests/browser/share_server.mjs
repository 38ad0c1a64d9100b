// A PouchDB in memory behind the plugin's own HTTP API, on a socket instead of a data channel:
//   /owner/…   with all rights          /share/…   with the access given as JSON in the first argument
// It prints its port, and ends with its standard input.

import { createServer } from 'node:http';
import { Readable } from 'node:stream';

import { createApp } from '../../browser/src/couchapi/app.js';
import { pouch } from '../../browser/tests/pouch.js';

const db = pouch();
const peer = { key: new Uint8Array(32).fill(7) };
const apps = {
  owner: await createApp(db, { peer, name: 'owner' }),
  share: await createApp(db, { peer, name: 'share', access: JSON.parse(process.argv[2]) }),
};

const server = createServer(async (incoming, outgoing) => {
  const [, first, rest] = /^\/(owner|share)\/?(.*)$/.exec(incoming.url) ?? [];
  const abort = new AbortController();
  outgoing.on('close', () => abort.abort());
  const hasBody = incoming.method !== 'GET' && incoming.method !== 'HEAD';
  const response = first === undefined ? new Response('{"couchdb":"Welcome"}') : await apps[first].handler({
    method: incoming.method,
    url: `/${rest}`,
    headers: new Headers(incoming.headers),
    body: hasBody ? Readable.toWeb(incoming) : null,
    signal: abort.signal,
  });
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  if (response.body === null) outgoing.end();
  else Readable.fromWeb(response.body).on('error', () => outgoing.destroy()).pipe(outgoing);
});

server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit()).resume();
