/**
 * A shared list: each device has a copy of its own, edits it whenever it likes, offline too, and the copies are
 * replicated straight between the devices while they see each other. Whoever begins a list shares it; others join by
 * its link.
 */

import { action, announce, h, noticeBox, reasonOf } from '../dashboard/dom.js';
import {
  PeerPouch, PouchDB, Remembered, backOff, invited, linkBox, linkOf, meet, settings, visitors,
} from '../meeting.js';
import { ItemsView } from './items.js';

/** @typedef {{ db: string, name: string, invite?: string, link?: string }} List */

const main = /** @type {HTMLElement} */ (document.getElementById('main'));

/** The lists of this browser: the own one, which has no invite, and those that were joined.
 * @type {import('../meeting.js').Remembered<List>} */
const remembered = new Remembered('peerpouch lists');
const kept = () => remembered.all();

/** @param {List} list */
const keep = (list) => remembered.set([...kept().filter(({ db }) => db !== list.db), list]);

/** The list that the address says: one that is joined by its invite, one that is known, or the own one. */
async function listOfAddress() {
  const text = invited();
  if (text) {
    const { shareId, name } = await PeerPouch.Invite.parse(text);
    const db = `list-${shareId}`;
    const list = { db, name: name ?? 'A shared list', invite: text };
    keep(list);
    history.replaceState(null, '', `#${db}`); // the invite is kept, and need not be looked at over a shoulder
    return list;
  }
  const wanted = kept().find(({ db }) => `#${db}` === location.hash);
  return wanted ?? kept().find(({ invite }) => !invite) ?? { db: 'list-own', name: 'Our list' };
}

/** The list that is shown. */
class Page {
  /** @param {List} list */
  constructor(list) {
    this.list = list;
    this.local = new PouchDB(list.db, { auto_compaction: true });
    this.notice = noticeBox();
    this.badge = h('span', { class: 'badge', role: 'status' });
    this.others = h('p', { class: 'small quiet' });
    this.links = h('div', {});
    this.items = new ItemsView(this.local, this.notice);
    this.offline = h('input', { type: 'checkbox', id: 'offline', onchange: () => this.connect() });
    this.onRemote = visitors((names) => { this.others.textContent = `Joined by ${names}.`; });
  }

  get element() {
    const { list } = this;
    const invite = action(this.notice, () => this.invite());
    const share = !list.invite && h('button', { onclick: invite }, 'Invite another device');
    const lists = kept().length > 1 && h('nav', { 'aria-label': 'Lists', class: 'row' }, kept().map(({ db, name }) =>
      h('a', { href: `#${db}`, 'aria-current': db === list.db && 'page' }, name)));
    return h('div', { class: 'stack' }, lists,
      h('div', { class: 'row spread' }, h('h1', { class: 'wrap' }, list.name), this.badge),
      this.items.element, this.notice,
      h('div', { class: 'row spread' },
        h('label', { class: 'row nowrap' }, this.offline, h('span', {}, 'Work offline')), share),
      this.links, this.others, settings());
  }

  /** Share the list, or replicate it with its owner's; or stop, to work offline. */
  async connect() {
    this.sync?.cancel();
    this.sync = null;
    if (this.offline.checked) {
      await this.leave();
      this.show('warn', 'offline');
      return;
    }
    try {
      if (this.list.invite) await this.join(this.list.invite);
      else if (this.list.link) await this.share();
      else this.show('', 'on this device only');
    } catch (error) {
      this.show('bad', 'not connected');
      this.notice.textContent = reasonOf(error);
      const { error: name } = /** @type {any} */ (error);
      if (name === 'forbidden' || name === 'bad_request') return;
      this.timer = setTimeout(() => this.connect(), this.delay = backOff(this.delay ?? 0));
    }
  }

  /** @param {'good' | 'warn' | 'bad' | ''} kind @param {string} text */
  show(kind, text) {
    if (this.badge.textContent === text) return; // what is said once is not said again to readers of screens
    this.badge.className = `badge ${kind}`;
    this.badge.textContent = text;
  }

  // The owner's side.

  async share() {
    const { hub } = await meet();
    const { onRemote } = this;
    const share = await hub.shareDatabase(this.local, { name: this.list.name, peers: [], onRemote });
    this.shared = hub;
    this.notice.textContent = '';
    this.show('good', 'shared');
    return share;
  }

  /** Make a link, the same one for every further device. */
  async invite() {
    if (this.offline.checked) throw new Error('Go online first.');
    const share = await this.share();
    this.list.link ??= linkOf(await share.invite());
    keep(this.list);
    this.links.replaceChildren(linkBox(this.list.link, 'Link to this list'));
    announce('The link is ready');
  }

  /** Take the share back, as being offline would. */
  async leave() {
    clearTimeout(this.timer);
    const { shared } = this;
    this.shared = null;
    await shared?.unshareDatabase(this.local).catch(() => {}); // it runs out
  }

  // A guest's side.

  /** @param {string} text */
  async join(text) {
    this.show('warn', 'connecting…');
    const invite = await PeerPouch.Invite.parse(text);
    const { hub } = await meet(invite.hub);
    const remote = await PeerPouch.open(invite, { hub, info: { page: 'list' } });
    if (this.offline.checked) return void remote.close();
    this.notice.textContent = '';
    this.delay = 0;
    const sync = this.sync = PouchDB.sync(this.local, remote, { live: true, retry: true, back_off_function: backOff });
    // PouchDB tells of its retries late, and of a sync's not at all; the connection is there or not.
    const look = async () => {
      const stats = await remote.stats().catch(() => null);
      if (sync !== this.sync) return;
      if (stats) this.show('good', 'in sync');
      else this.show('warn', 'the other device is away');
    };
    void look();
    const timer = setInterval(look, 1000);
    sync.on('complete', () => {
      clearInterval(timer);
      remote.close();
    });
    sync.on('error', (/** @type {any} */ error) => {
      clearInterval(timer);
      this.sync = null;
      this.show('bad', 'not connected');
      this.notice.textContent = reasonOf(error);
      void remote.close();
      if (!this.offline.checked) this.timer = setTimeout(() => this.connect(), 5000);
    });
  }

  async close() {
    this.sync?.cancel();
    this.items.close();
    await this.leave();
  }
}

/** @type {Page | null} */
let page = null;

async function show() {
  await page?.close();
  try {
    page = new Page(await listOfAddress());
    main.replaceChildren(page.element);
    await page.items.begin();
    await page.connect();
  } catch (error) {
    const notice = noticeBox();
    notice.textContent = reasonOf(error);
    const back = h('a', { href: './' }, 'To my own list');
    main.replaceChildren(h('div', { class: 'stack' }, h('h1', {}, 'A shared list'), notice, back));
  }
}

addEventListener('hashchange', show);
void show();
