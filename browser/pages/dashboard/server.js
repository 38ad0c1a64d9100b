/** The server that this page came from: its session, its databases, its status. */

/** Where its API begins; this page is two levels below. */
export const ROOT = new URL('../../', location.href).href;

export class ServerError extends Error {
  /** @param {number} status @param {string} error @param {string} reason */
  constructor(status, error, reason) {
    super(reason);
    Object.assign(this, { status, error, reason });
  }
}

/** @param {string} path Below the root. @param {RequestInit & { json?: any }} [options] @returns {Promise<any>} */
export async function api(path, { json, ...options } = {}) {
  const headers = { accept: 'application/json', ...(json === undefined ? {} : { 'content-type': 'application/json' }) };
  const body = json === undefined ? options.body : JSON.stringify(json);
  const response = await fetch(ROOT + path, { ...options, headers, body, credentials: 'same-origin' });
  const value = await response.json().catch(() => ({}));
  if (!response.ok)
    throw new ServerError(
      response.status,
      value.error,
      value.reason ?? `The server answered with status ${response.status}.`,
    );
  return value;
}

/** @returns {Promise<{ name: string | null, roles: string[] }>} */
export const session = async () => (await api('_session')).userCtx;

/** @param {string} name @param {string} password */
export const signIn = (name, password) => api('_session', { method: 'POST', json: { name, password } });

export const signOut = () => api('_session', { method: 'DELETE' });

/** @returns {Promise<{ name: string, info: any }[]>} */
export async function databases() {
  const names = await api('_all_dbs');
  const found = [];
  for (let at = 0; at < names.length; at += 100) {
    const rows = await api('_dbs_info', { method: 'POST', json: { keys: names.slice(at, at + 100) } });
    for (const { key, info } of rows) if (info) found.push({ name: key, info });
  }
  return found;
}

/** @param {string} name */
export const createDatabase = (name) => api(encodeURIComponent(name), { method: 'PUT' });

/** @param {string} name */
export const deleteDatabase = (name) => api(encodeURIComponent(name), { method: 'DELETE' });

/** What only administrators are told; null for others. */
export async function status() {
  try {
    return await api('_peerpouch/status');
  } catch (error) {
    if (error instanceof ServerError) return null;
    throw error;
  }
}

/** @param {string} name @returns {any} A PouchDB. */
export const open = (name) => new PouchDB(ROOT + encodeURIComponent(name), { skip_setup: true });
