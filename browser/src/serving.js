/** What only a page needs that shares a database: the modules of it are loaded when one does. */

export { Access } from './access/access.js';
export { Door } from './hub/door.js';
export { OwnShare } from './owning.js';
export { Invitations } from './trust/invitations.js';
