/**
 * The dashboard: what is shown where. The address behind `#` says it, so that it can be kept, sent, and gone back to.
 */

import { DatabasesView } from './databases.js';
import { Browser } from './browser.js';
import { action, h, noticeBox, reasonOf } from './dom.js';
import * as server from './server.js';
import { SharesView, openedShare } from './shares.js';

const main = /** @type {HTMLElement} */ (document.getElementById('main'));
/** @type {{ element: HTMLElement, close: () => void, go?: (parts: string[]) => boolean } | null} */
let view = null;
/** @type {{ name: string | null, roles: string[] }} */
let user = { name: null, roles: [] };

/** @param {string[]} parts */
async function viewOf(parts) {
  const [section, name] = parts;
  if (section === 'db' && name) return new Browser({ db: server.open(name), title: name, path: ['db', name] });
  if (section === 'share' && name) {
    const { db, share } = await openedShare(name);
    return new Browser({ db, title: share.name, subtitle: share.fingerprint, path: ['share', name], keep: true });
  }
  return section === 'shares' ? new SharesView() : new DatabasesView(user);
}

/** @param {string} hash A link may have been cut off anywhere. */
function partsOf(hash) {
  try {
    return hash.replace(/^#\/?/, '').split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    return [];
  }
}

/** Shows what the address says. */
async function show() {
  const parts = partsOf(location.hash);
  if (view?.go?.(parts)) return;
  view?.close();
  view = null;
  // Strangers may look at a public hub, and at what is shared with them.
  if (user.name === null && !user.roles.includes('_admin') && !['shares', 'share'].includes(parts[0])) {
    showSignIn();
    return;
  }
  for (const link of document.querySelectorAll('nav a')) {
    const here = ['shares', 'share'].includes(parts[0]) ? '#/shares' : '#/';
    if (link.getAttribute('href') === here) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  try {
    view = await viewOf(parts);
    main.replaceChildren(view.element);
  } catch (error) {
    const notice = noticeBox();
    notice.textContent = reasonOf(error);
    main.replaceChildren(h('div', { class: 'stack' }, notice, h('a', { href: '#/shares' }, 'Back')));
  }
}

/** Who uses this page, and how to change that. */
async function showSession() {
  const box = /** @type {HTMLElement} */ (document.getElementById('session'));
  user = await server.session();
  if (user.name !== null) {
    const out = async () => {
      await server.signOut();
      location.reload();
    };
    box.replaceChildren(
      h('span', { class: 'quiet small' }, user.name),
      h('button', { class: 'plain', onclick: out }, 'Sign out'),
    );
    return;
  }
  if (user.roles.includes('_admin')) {
    box.replaceChildren(
      h(
        'span',
        { class: 'badge warn', title: 'The server has no administrator: it serves this machine only.' },
        'open to this machine',
      ),
    );
    return;
  }
  box.replaceChildren(h('button', { onclick: showSignIn }, 'Sign in'));
}

function showSignIn() {
  const notice = noticeBox();
  const name = h('input', { id: 'name', name: 'name', autocomplete: 'username', required: true });
  const password = h('input', {
    id: 'password',
    name: 'password',
    type: 'password',
    autocomplete: 'current-password',
    required: true,
  });
  const form = h(
    'form',
    {
      class: 'card stack narrow',
      onsubmit: action(notice, async () => {
        await server.signIn(name.value, password.value);
        location.reload();
      }),
    },
    h('h1', {}, 'Sign in'),
    h('label', { for: 'name' }, 'Name'),
    name,
    h('label', { for: 'password' }, 'Password'),
    password,
    notice,
    h('button', { class: 'primary', type: 'submit' }, 'Sign in'),
  );
  view?.close();
  view = null;
  main.replaceChildren(form);
  name.focus();
}

addEventListener('hashchange', async () => {
  await show();
  main.focus({ preventScroll: true });
});

await showSession();
await show();
