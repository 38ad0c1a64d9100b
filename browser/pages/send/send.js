/**
 * The sender's side. Each file is a database of its own in this browser, shared for reading with whoever has its link;
 * so it can be taken back alone, and goes on being offered when the page is opened again.
 */

import { action, announce, bytes, h, noticeBox, randomId, reasonOf } from '../dashboard/dom.js';
import { PouchDB, Remembered, linkBox, linkOf, meet, settings, visitors } from '../meeting.js';

/** The document that holds the file, as an attachment under its own name. */
export const DOC_ID = 'file';

/** @typedef {{ db: string, name: string, size: number, link: string, once: boolean }} Offer */

/** What this browser offers: the name, size and link of each file, by its database.
 * @type {import('../meeting.js').Remembered<Offer>} */
const remembered = new Remembered('peerpouch files');
const kept = () => remembered.all();

export function sendView() {
  const notice = noticeBox();
  const list = h('ul', { class: 'plainlist stack', 'aria-label': 'Offered files' });
  const once = h('input', { type: 'checkbox', id: 'once' });
  const pick = h('input', {
    type: 'file', id: 'pick', class: 'hidden-label', multiple: true, 'aria-label': 'Files to send',
  });
  const drop = h('label', { class: 'drop', for: 'pick' },
    h('strong', {}, 'Drop a file here'), h('span', {}, 'or choose one'));
  const offerAll = async (/** @type {Iterable<File>} */ files) => {
    notice.textContent = '';
    for (const file of files) {
      try {
        await offerFile(file, once.checked, list);
      } catch (error) {
        notice.textContent = reasonOf(error);
      }
    }
  };
  pick.addEventListener('change', async () => {
    await offerAll(pick.files ?? []);
    pick.value = '';
  });
  for (const kind of ['dragover', 'dragleave', 'drop']) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle('over', kind === 'dragover');
      if (kind === 'drop') void offerAll(/** @type {DragEvent} */ (event).dataTransfer?.files ?? []);
    });
  }
  void restore(list, notice);
  return h('div', { class: 'stack' }, h('h1', {}, 'Send a file'),
    h('p', { class: 'quiet' }, 'It goes straight from this browser to those who open its link, encrypted. No server ' +
      'keeps it. Leave this page open until they have it.'),
    h('div', { class: 'card stack' }, pick, drop,
      h('label', { class: 'row nowrap' }, once, h('span', {}, 'Only for the first who opens the link'))),
    notice, list, settings());
}

/** @param {File} file @param {boolean} once @param {HTMLElement} list */
async function offerFile(file, once, list) {
  announce(`Preparing ${file.name}`);
  await meet(); // what keeps this page from sharing shows before anything is stored
  const db = `file-${randomId()}`;
  const database = new PouchDB(db, { auto_compaction: true });
  try {
    await database.put({ _id: DOC_ID, name: file.name, size: file.size, modified: file.lastModified,
      _attachments: { [file.name]: { content_type: file.type || 'application/octet-stream', data: file } } });
    const offer = { db, name: file.name, size: file.size, link: '', once };
    const row = new Row(database, offer, list);
    const share = await row.share();
    offer.link = linkOf(await share.invite({ once }));
    remembered.set([offer, ...kept()]);
    row.show();
    announce(`${file.name} can be fetched now`);
  } catch (error) {
    await database.destroy().catch(() => {});
    throw error;
  }
}

/** Offer again what was offered when the page was left. @param {HTMLElement} list @param {HTMLElement} notice */
async function restore(list, notice) {
  for (const offer of kept().reverse()) {
    const row = new Row(new PouchDB(offer.db, { auto_compaction: true }), offer, list);
    row.show();
    await row.share().catch((error) => { notice.textContent = reasonOf(error); });
  }
}

/** One file that is offered. */
class Row {
  /** @param {any} database @param {Offer} offer @param {HTMLElement} list */
  constructor(database, offer, list) {
    this.database = database;
    this.offer = offer;
    this.list = list;
    this.facts = h('p', { class: 'small quiet' }, 'Nobody has opened the link yet.');
    this.onRemote = visitors((names) => {
      this.facts.textContent = `Opened by ${names}.`;
      announce(this.facts.textContent);
    });
    /** How far each receiver is, by its fingerprint. @type {Map<string, HTMLElement>} */
    this.receivers = new Map();
    this.progress = h('ul', { class: 'plainlist', 'aria-label': `Receivers of ${offer.name}` });
    this.notice = noticeBox();
    this.element = h('li', { class: 'card stack' });
  }

  /** Somebody took more of the file. @param {any} progress */
  sent({ peer, sent, length }) {
    const who = peer.contact ?? peer.fingerprint;
    let receiver = this.receivers.get(peer.fingerprint);
    if (!receiver) {
      receiver = h('li', { class: 'small' }, h('progress', { max: 1, 'aria-label': `Sent to ${who}` }), h('p', {}));
      this.receivers.set(peer.fingerprint, receiver);
      this.progress.append(receiver);
    }
    const [bar, told] = receiver.children;
    /** @type {HTMLProgressElement} */ (bar).value = length ? sent / length : 1;
    told.textContent = sent < length ? `${bytes(sent)} of ${bytes(length)} sent to ${who}` : `All of it sent to ${who}`;
  }

  /** Let those in who have the link, and nobody else. */
  async share() {
    const { hub } = await meet();
    const { onRemote } = this;
    const onSent = (/** @type {any} */ progress) => this.sent(progress);
    // The name is for everybody who reads the hub, so it is not the file's.
    return hub.shareDatabase(this.database, { name: 'A file', access: 'read-only', peers: [], onRemote, onSent });
  }

  show() {
    const { name, size, link, once } = this.offer;
    const stop = action(this.notice, () => this.remove());
    const remove = h('button', { class: 'danger', 'aria-label': `Stop offering ${name}`, onclick: stop }, 'Stop');
    const limit = once && h('span', { class: 'badge' }, 'for one');
    this.element.replaceChildren(
      h('div', { class: 'row spread' }, h('h2', { class: 'wrap' }, name),
        h('span', { class: 'row' }, limit, h('span', { class: 'quiet' }, bytes(size)), remove)),
      linkBox(link, `Link to ${name}`), this.facts, this.progress, this.notice,
      h('details', {}, h('summary', {}, 'Without a browser'),
        h('p', { class: 'small quiet' }, 'This command asks for the link:'),
        h('pre', {}, `peerpouch fetch - ${DOC_ID} ${quoted(name)} -o ${quoted(name)}`)));
    this.list.prepend(this.element);
  }

  async remove() {
    const { hub } = await meet();
    await hub.unshareDatabase(this.database).catch(() => {}); // it may not have been shared yet
    await this.database.destroy();
    remembered.set(kept().filter(({ db }) => db !== this.offer.db));
    this.element.remove();
    announce(`${this.offer.name} is not offered any more`);
  }
}

/** As a shell takes it. @param {string} text */
const quoted = (text) => (/^[\w.-]+$/.test(text) ? text : `'${text.replaceAll('\'', '\'\\\'\'')}'`);
