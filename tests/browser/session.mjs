// The plugin's side of a hub, under Node: called by lines of JSON, {"call": n, "method": …, "arguments": […]} on stdin,
// answers on stdout. It ends with its stdin.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

import { PeerPouchError } from "../../browser/src/errors.js";
import { HubClient } from "../../browser/src/hub/client.js";
import { Identity } from "../../browser/src/trust/identity.js";

const require = createRequire(new URL("../../browser/package.json", import.meta.url));
const PouchDB = require("pouchdb");

const clients = [];
const told = [];
const changes = [];
console.debug = () => {};

const shown = ({ id, name, info, fingerprint, session, deleted }) => ({ id, name, info, fingerprint, session, deleted });

const methods = {
  /** Join a hub; gives one's number, fingerprint and session. */
  async join(url) {
    const identity = await Identity.ephemeral();
    // The platform's own fetch, which a browser has too; the one that PouchDB brings along for Node is another.
    const client = await HubClient.join(new PouchDB(url, { fetch, skip_setup: true }), { identity });
    clients.push(client);
    return { who: clients.length - 1, fingerprint: identity.fingerprint, session: client.address.session };
  },
  /** Share something; whoever says "wolf" is refused, and everybody else told what it said. */
  async publish(who, uuid, name, info) {
    const decide = async ({ peer, body }) => {
      told.push({ fingerprint: peer.fingerprint, session: peer.session, body });
      if (body.info === "wolf") throw new PeerPouchError("forbidden", "no wolves");
      return { sdp: `answer to ${body.sdp}`, info: { from: "JavaScript", said: body.info } };
    };
    return (await clients[who].publish({ uuid, name, info, decide })).id;
  },
  async withdraw(who, id) {
    await clients[who].withdraw(id);
  },
  async shares(who) {
    return (await clients[who].shares()).map(shown);
  },
  async watch(who) {
    return (await clients[who].shares({ onChange: (share) => changes.push(shown(share)) })).map(shown);
  },
  async signal(who, id, body, timeout = 30000) {
    return clients[who].signal(id, body, { timeout });
  },
  /** What openers said so far, and what was heard of shares. */
  async heard() {
    return { told, changes, invalid: clients.map((client) => client.invalidDocuments) };
  },
  async close(who) {
    await clients[who].close();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { call, method, arguments: args } = JSON.parse(line);
  const answer = (rest) => process.stdout.write(`${JSON.stringify({ call, ...rest })}\n`);
  methods[method](...args).then(
    (result = null) => answer({ result }),
    (error) => answer({ result: { error: error.error ?? error.name, reason: error.reason ?? error.message } }),
  );
}
for (const client of clients) await client.close();
process.exit(0);
