/** Send a file: drop one, get a link; whoever opens the link gets the file from this browser, and from nowhere else. */

import { invited } from '../meeting.js';
import { receiveView } from './receive.js';
import { sendView } from './send.js';

const main = /** @type {HTMLElement} */ (document.getElementById('main'));

/** Shows what the address says. */
function show() {
  const invite = invited();
  main.replaceChildren(invite ? receiveView(invite) : sendView());
}

addEventListener('hashchange', show);
show();
