/** What a page needs to share a database: one module, so that a page that only opens what others share never loads it. */

export { Access } from './access/access.js';
export { createApp } from './couchapi/app.js';
export { Door } from './hub/door.js';
export { Invitations } from './trust/invitations.js';
