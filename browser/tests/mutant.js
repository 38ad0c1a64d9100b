/**
 * The plugin with a defence taken away: a copy of its sources with some text replaced, for the twins of attacks.
 *
 * A replacement whose text is not there exactly once is an error, so that no twin goes on passing after its defence has
 * moved elsewhere.
 */

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const SOURCES = fileURLToPath(new URL('../src/', import.meta.url));

/**
 * @param {import('node:test').TestContext} t Removes the copy in the end.
 * @param {Record<string, [string, string][]>} changes By file under src/: what is replaced, and by what.
 * @returns {(file: string) => Promise<any>} Imports a module of the copy.
 */
export function mutant(t, changes) {
  const folder = mkdtempSync(join(tmpdir(), 'peerpouch-mutant-'));
  t.after(() => rmSync(folder, { recursive: true }));
  cpSync(SOURCES, folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
  for (const [file, replacements] of Object.entries(changes)) {
    let text = readFileSync(join(folder, file), 'utf8');
    for (const [old, replacement] of replacements) {
      if (text.split(old).length !== 2) throw new Error(`${file} does not have exactly once: ${old}`);
      text = text.replace(old, () => replacement);
    }
    writeFileSync(join(folder, file), text);
  }
  return (file) => import(pathToFileURL(join(folder, file)).href);
}
