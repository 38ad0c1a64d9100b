/**
 * What a page does with a connection that it has, and needs for none that it makes: another path for one whose path
 * broke, and compression. It is loaded when a connection is there, for when the network breaks nothing can be loaded.
 */

import { Packing } from './transport/packing.js';
import { Restarting } from './peers/restarting.js';

/**
 * @param {import('./peers/pool.js').Pool} pool
 * @param {import('./peers/connection.js').Connection} connection
 * @param {import('./transport/link.js').Link} link
 */
export function equip(pool, connection, link) {
  link.packing = new Packing(link);
  link.restarting = new Restarting(pool, connection, link);
}
