/** What the pages that share something have in common: the hub, links with QR codes, and how this browser connects. */

import PeerPouch from './src/index.js';
import { h } from './dashboard/dom.js';
import { encode } from './vendor/uqr-0.1.3.js';

export { PeerPouch };
export const { PouchDB } = /** @type {any} */ (globalThis);
PouchDB.plugin(PeerPouch);

/** Where the server's API begins; the pages are two levels below. */
const ROOT = new URL('../../', location.href).href;

/** Remembered in this browser, and the same for every page. */
const HUB = 'peerpouch hub';
const STUN = 'peerpouch stun';

/** A page that came from this machine or network most likely stays in it, and asks nobody beyond. */
const HOME = /^(localhost|127\..*|10\..*|192\.168\..*|172\.(1[6-9]|2\d|3[01])\..*|\[::1\]|.*\.local)$/;
const AT_HOME = HOME.test(location.hostname);

/** The hub's address: a URL, or a database of this page's server. `?hub=` in the address says another. */
const address = () => new URLSearchParams(location.search).get('hub') ?? localStorage.getItem(HUB) ?? 'hub';
const stun = () => (localStorage.getItem(STUN) ?? (AT_HOME ? 'no' : 'yes')) === 'yes';

/** @param {string} where */
const urlOf = (where) => (/^https?:\/\//.test(where) ? where : ROOT + encodeURIComponent(where));

/** Hubs that this page has come to. @type {Map<string, Promise<{ hub: any, meeting: any }>>} */
const met = new Map();

/**
 * Come to a hub, once.
 *
 * @param {string} [where] By default the one that is set.
 * @returns {Promise<{ hub: any, meeting: any }>} The hub's PouchDB, and what closes all that was done there.
 */
export function meet(where = address()) {
  const url = urlOf(where);
  if (!met.has(url)) {
    const hub = new PouchDB(url, { skip_setup: true });
    const meeting = PeerPouch.join(hub, stun() ? {} : { iceServers: [] });
    met.set(url, meeting.then((joined) => ({ hub, meeting: joined })));
    met.get(url)?.catch(() => met.delete(url));
  }
  return /** @type {Promise<{ hub: any, meeting: any }>} */ (met.get(url));
}

/** The settings of {@link meet}; the page is loaded anew with what is chosen. */
export function settings() {
  const hub = h('input', { id: 'hub', value: address(), autocapitalize: 'none', spellcheck: false, required: true });
  const wide = h('input', { type: 'checkbox', id: 'stun', checked: stun() });
  const save = (/** @type {Event} */ event) => {
    event.preventDefault();
    localStorage.setItem(HUB, hub.value.trim());
    localStorage.setItem(STUN, wide.checked ? 'yes' : 'no');
    const url = new URL(location.href);
    url.searchParams.delete('hub');
    if (url.href === location.href) location.reload();
    else location.replace(url.href);
  };
  return h('details', { class: 'card' }, h('summary', {}, 'How devices find each other'),
    h('form', { class: 'stack settings', onsubmit: save },
      h('label', { for: 'hub' }, 'Hub: a database of this server, or a URL'), hub,
      h('p', { class: 'small quiet' },
        'It carries sealed notes of a few kilobytes by which two devices find each other, and nothing else.'),
      h('label', { class: 'row nowrap' }, wide, h('span', {}, 'Connect to devices in other networks, too')),
      h('p', { class: 'small quiet' }, 'This asks a public STUN server for your address on the internet. It learns ' +
        'that, and nothing of what you share.'),
      h('button', { type: 'submit' }, 'Use these')));
}

/** The link that opens this page with an invite; what stands behind # is never sent to a server. @param {any} invite */
export const linkOf = (invite) => `${location.href.replace(/[?#].*$/, '')}#${invite}`;

/** The invite in this page's address, or null. */
export const invited = () => (location.hash.startsWith('#peerpouch:') ? location.hash.slice(1) : null);

const SVG = 'http://www.w3.org/2000/svg';

/** A QR code, dark on white in dark pages too, since not every camera reads the reverse. @param {string} text */
export function code(text) {
  const { data, size } = encode(text, { ecc: 'L', border: 2 });
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${size} ${size}`);
  svg.setAttribute('class', 'qr');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', 'QR code of the link');
  const path = document.createElementNS(SVG, 'path');
  const rows = data.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : '')));
  path.setAttribute('d', rows.join(''));
  svg.append(path);
  return svg;
}

/** A link with its QR code, to be copied or scanned. @param {string} link @param {string} label */
export function linkBox(link, label) {
  const field = h('input', {
    readOnly: true, value: link, class: 'grow mono', 'aria-label': label, onfocus: () => field.select(),
  });
  const copy = h('button', { onclick: async () => {
    field.select();
    await navigator.clipboard?.writeText(link).catch(() => document.execCommand('copy'));
    copy.textContent = 'Copied';
  } }, 'Copy');
  const pass = () => navigator.share({ url: link }).catch(() => {}); // whoever changes their mind is no error
  const share = 'share' in navigator && h('button', { onclick: pass }, 'Share…');
  return h('div', { class: 'linkbox' }, code(link), h('div', { class: 'stack' },
    h('div', { class: 'row' }, field, copy, share),
    h('p', { class: 'small quiet' }, 'Whoever has this link gets in: send it over a way that you trust.')));
}

/** The first wait is short, and none longer than ten seconds: devices come and go. @param {number} delay */
export const backOff = (delay) => Math.min(delay ? 2 * delay : 500, 10_000);

/** A list that this browser keeps. @template T */
export class Remembered {
  /** @param {string} place */
  constructor(place) {
    this.place = place;
  }

  /** @returns {T[]} */
  all() {
    return JSON.parse(localStorage.getItem(this.place) ?? '[]');
  }

  /** @param {T[]} entries */
  set(entries) {
    localStorage.setItem(this.place, JSON.stringify(entries));
  }
}

/** An `onRemote` that tells who all came, by the names that this browser has for them. @param {(names: string) => void} tell */
export function visitors(tell) {
  /** @type {Map<string, string>} */
  const names = new Map();
  return (/** @type {any} */ { peer }) => {
    names.set(peer.fingerprint, peer.contact ?? peer.fingerprint);
    tell([...names.values()].join(', '));
  };
}
