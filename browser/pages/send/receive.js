/**
 * The receiver's side: the link is the invite; the file comes as a stream, and goes on where it broke off, also when this
 * page was closed in between.
 */

import { action, announce, bytes, h, noticeBox } from '../dashboard/dom.js';
import { PeerPouch, backOff, meet } from '../meeting.js';
import { keptOf, withPieces } from './pieces.js';
import { DOC_ID } from './send.js';

/** Errors of somebody who is away for the moment: a tab that sleeps, a phone between two networks. */
const AWAY = new Set(['peer_unreachable', 'hub_unreachable', 'timeout']);
/** Tries to reach the sender, in some minutes. */
const TRIES = 10;

/** @param {string} text The invite. */
export function receiveView(text) {
  const notice = noticeBox();
  const facts = h('p', { class: 'quiet' });
  const bar = h('progress', { max: 1, hidden: true, 'aria-label': 'Received' });
  const state = h('p', { class: 'small quiet', role: 'status' });
  const work = action(notice, () => receive(text, { bar, state, facts }));
  const begin = h('button', { class: 'primary', onclick: work }, 'Receive the file');
  PeerPouch.Invite.parse(text).then(
    ({ fingerprint }) => facts.append('Somebody sends you a file, straight from their browser. Their key: ',
      h('code', {}, fingerprint)),
    (error) => {
      notice.textContent = error.reason;
      begin.disabled = true;
    },
  );
  void keptOf(text).then((received) => {
    if (!received || state.textContent) return;
    state.textContent = `${bytes(received)} of it are here from the last time.`;
    begin.textContent = 'Go on receiving the file';
  }, () => {});
  return h('div', { class: 'stack' }, h('h1', {}, 'A file for you'),
    h('div', { class: 'card stack' }, facts, notice, begin, bar, state),
    h('p', {}, h('a', { href: './' }, 'Send a file yourself')));
}

/** @param {string} text @param {{ bar: any, state: HTMLElement, facts: HTMLElement }} shown */
async function receive(text, { bar, state, facts }) {
  const invite = await PeerPouch.Invite.parse(text);
  state.textContent = 'Connecting…';
  try {
    const remote = await reach(invite, state);
    try {
      const doc = await remote.get(DOC_ID);
      // Whatever the sender's document says: a text and a number.
      const [name, size] = [String(doc.name), Math.max(0, Number(doc.size)) || 0];
      facts.textContent = `${name}, ${bytes(size)}`;
      bar.hidden = false;
      const told = await withPieces(text, async (pieces) => {
        const began = performance.now();
        const before = pieces?.received ?? 0;
        let shown = 0;
        const download = await remote.download(DOC_ID, name, {
          from: pieces?.from,
          onProgress: (/** @type {number} */ received) => {
            const now = performance.now();
            if (now - shown < 100 && received < size) return;
            shown = now;
            bar.value = size ? received / size : 1;
            const came = received - (download?.continued ? before : 0);
            state.textContent = `${bytes(received)} of ${bytes(size)}, ${bytes(came / ((now - began) / 1000))}/s`;
          },
        });
        // In either case the browser keeps what comes on disk, so that a large file takes no memory.
        const keeps = pieces && download.tag && download.size ? pieces : null;
        await keeps?.take(download);
        const blob = await (keeps ?? download).blob();
        save(blob, name);
        await keeps?.finish();
        const often = download.resumed ? ` It broke off and went on ${download.resumed} times.` : '';
        const earlier = download.continued ? ` ${bytes(before)} were here from the last time.` : '';
        return `Received ${bytes(blob.size)}.${often}${earlier}`;
      });
      bar.value = 1;
      state.textContent = told;
      announce(told);
    } finally {
      await remote.close();
    }
  } catch (error) {
    state.textContent = '';
    bar.hidden = true;
    throw error;
  }
}

/** Connect to the sender, who may be away for a while. @param {any} invite @param {HTMLElement} state */
async function reach(invite, state) {
  const { hub } = await meet(invite.hub);
  for (let tries = 1, delay = 0; ; tries++) {
    try {
      return await PeerPouch.open(invite, { hub, info: { page: 'send' } });
    } catch (error) {
      if (!AWAY.has(/** @type {any} */ (error).error) || tries >= TRIES) throw error;
      state.textContent = 'The sender does not answer. Trying again…';
      delay = backOff(delay);
      await new Promise((resolve) => { setTimeout(resolve, delay); });
    }
  }
}

/** @param {Blob} blob @param {string} name */
function save(blob, name) {
  // Of no type that a browser would show, and run, in this page's name.
  const href = URL.createObjectURL(blob.slice(0, blob.size, 'application/octet-stream'));
  h('a', { href, download: name }).click(); // the browser makes a name of a file of it, and no path
  setTimeout(() => URL.revokeObjectURL(href), 60_000); // by then the browser has begun to copy it
}
