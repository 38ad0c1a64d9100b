/**
 * PeerPouch: a PouchDB plugin with which pages, and Python processes, share databases with each other.
 *
 *     PouchDB.plugin(PeerPouch);
 *     const hub = new PouchDB('https://example.org/hub');
 *     const shares = await hub.getSharedDatabases();
 *     const remote = new PouchDB(shares[0].dbname);
 *     await hub.shareDatabase(local, { name: 'Notes', access: 'read-only' });
 */

import { addAdapter, answering } from './adapter.js';
import { PeerPouchError } from './errors.js';
import { parseName, withoutCredentials } from './hub/names.js';
import { Meeting, prepare } from './meeting.js';
import { Contacts } from './trust/contacts.js';
import { Identity } from './trust/identity.js';
import { Invite } from './trust/invites.js';

/**
 * @typedef {import('./meeting.js').Options} Options
 * @typedef {{ meeting: Promise<Meeting>, label: string, PouchDB: any, database: any, users: number }} Entry `users`: of a hub
 *   that was opened for a share's name, how many databases need it; Infinity for a hub of the page's own.
 */

/** @type {Map<any, Entry>} The hubs that this page has come to, by their databases. */
const entries = new Map();

/**
 * @param {any} database
 * @param {Options} [options]
 * @param {number} [users]
 * @returns {Entry}
 */
function enter(database, options, users = Infinity) {
  const meeting = Meeting.join(database, options);
  const entry = { meeting, label: withoutCredentials(database.name), PouchDB: database.constructor, database, users };
  entries.set(database, entry);
  meeting.catch(() => entries.delete(database)); // the next use tries again
  database.once?.('closed', () => leave(entry));
  return entry;
}

/** @param {Entry} entry */
async function leave(entry) {
  if (entries.get(entry.database) === entry) entries.delete(entry.database);
  await (await entry.meeting).close();
}

/**
 * @param {any} database
 * @param {Options} [options]
 */
const meetingOf = (database, options) => (entries.get(database) ?? enter(database, options)).meeting;

/**
 * A hub by which a share can be opened: one that the page has come to and that does not serve the share itself, or one
 * that is opened for it now.
 *
 * @param {any} PouchDB
 * @param {string} hub
 * @param {string} shareId
 */
async function entryFor(PouchDB, hub, shareId) {
  const label = withoutCredentials(hub);
  for (const entry of [...entries.values()].reverse()) {
    if (entry.label !== label) continue;
    const meeting = await entry.meeting.catch(() => null);
    if (meeting && !meeting.own.has(shareId)) return entry;
  }
  return enter(new PouchDB(hub), undefined, 0);
}

/**
 * Open a share by a hub that is needed as long as the share is.
 *
 * @param {any} PouchDB
 * @param {string} hub
 * @param {string} shareId
 * @param {any} options
 */
async function openAt(PouchDB, hub, shareId, options) {
  prepare();
  const entry = await entryFor(PouchDB, hub, shareId);
  entry.users += 1;
  const done = () => {
    entry.users -= 1;
    if (entry.users === 0) void leave(entry).then(() => entry.database.close());
  };
  try {
    const lease = await (await entry.meeting).lease(shareId, options);
    lease.onRelease = done;
    return lease;
  } catch (error) {
    done();
    throw error;
  }
}

const list = answering(/** @this {any} @param {any} options */ async function (options) {
  return (await meetingOf(this)).getSharedDatabases(options);
});

/** @type {any} */
let lastPouchDB = null;

/**
 * The plugin: `PouchDB.plugin(PeerPouch)`.
 *
 * @param {any} PouchDB
 */
export default function PeerPouch(PouchDB) {
  lastPouchDB = PouchDB;
  addAdapter(PouchDB, (dbname, { info, timeout, confirm }) => {
    const { shareId, hub } = parseName(dbname);
    return openAt(PouchDB, hub, shareId, { info, timeout, confirm });
  });
  Object.assign(PouchDB.prototype, {
    /** See `Meeting.getSharedDatabases`; also with a callback, alone or behind the options. The promise has `cancel()`, too. */
    getSharedDatabases: /** @this {any} @param {any[]} args */ function (...args) {
      const listed = list.apply(this, args);
      const cancel = () => void listed.then((shares) => shares.cancel(), () => {});
      return Object.assign(listed, { cancel });
    },
    /** See `Meeting.shareDatabase`. */
    shareDatabase: answering(/** @this {any} @param {any} database @param {any} options */ async function (database, options) {
      return (await meetingOf(this)).shareDatabase(database, options);
    }),
    /** See `Meeting.unshareDatabase`. */
    unshareDatabase: answering(/** @this {any} @param {any} database */ async function (database) {
      return (await meetingOf(this)).unshareDatabase(database);
    }),
  });
}

/**
 * Say how this page meets others at a hub, before it is used otherwise.
 *
 * @param {any} hub A PouchDB.
 * @param {Options} [options]
 * @returns {Promise<Meeting>} Its `close()` withdraws what was shared and closes all connections.
 */
PeerPouch.join = async (hub, options) => {
  if (entries.has(hub)) throw new PeerPouchError('bad_request', 'This page has come to that hub already.');
  return meetingOf(hub, options);
};

/**
 * Open the share of an invite.
 *
 * @param {string | Invite} invite
 * @param {{ info?: any, timeout?: number, hub?: any }} [options] `hub`: the PouchDB of the hub, where this page knows it by
 *   another address than the invite says.
 * @returns {Promise<any>} A PouchDB.
 */
PeerPouch.open = async (invite, { info, timeout, hub } = {}) => {
  const parsed = invite instanceof Invite ? invite : await Invite.parse(invite);
  if (hub) return (await meetingOf(hub)).openShare(parsed.shareId, { info, timeout, invite: parsed });
  if (!lastPouchDB) throw new PeerPouchError('bad_request', 'Say PouchDB.plugin(PeerPouch) first.');
  const lease = await openAt(lastPouchDB, parsed.hub, parsed.shareId, { info, timeout, invite: parsed });
  const label = encodeURIComponent(withoutCredentials(parsed.hub));
  return new lastPouchDB(`webrtc://${parsed.shareId}?hub=${label}`, { lease });
};

/** The hubs that this page has come to. @returns {Promise<Meeting[]>} */
PeerPouch.hubs = () => Promise.all([...entries.values()].map(({ meeting }) => meeting));

PeerPouch.Identity = Identity;
PeerPouch.Contacts = Contacts;
PeerPouch.Invite = Invite;
PeerPouch.Error = PeerPouchError;

export { Contacts, Identity, Invite, PeerPouchError };
