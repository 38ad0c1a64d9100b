/** What only a page needs one of whose shares is limited by a selector: it is loaded then. */

import { LimitedDocuments } from './limited.js';
import { selectionOf } from './selection.js';
import { compileSelector } from './selector.js';

/**
 * @typedef {import('./documents.js').LocalDocuments} LocalDocuments
 * @typedef {(documents: LocalDocuments) => LimitedDocuments} Limit
 */

/**
 * What a selector leaves of a database.
 *
 * @param {Record<string, any>} select
 * @returns {Limit}
 * @throws {import('../errors.js').PeerPouchError} `invalid_selector`
 */
export function limitTo(select) {
  const own = structuredClone(select); // which nobody changes afterwards
  compileSelector(own);
  return (documents) => new LimitedDocuments(documents, selectionOf(documents, own));
}
