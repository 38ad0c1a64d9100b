/**
 * Regular expressions of strangers, in time linear in the text, whatever the expression.
 *
 * A selector may come from a peer, and a page has one thread: an expression that JavaScript's own engine tries for
 * minutes would freeze the tab. So it is run as a set of states that step through the text together, none of which is
 * ever tried twice at one place. The syntax is RE2's, which the Python side uses: no look-around, no back-references.
 *
 * A set of characters is still tested by a RegExp, of one class and nothing else, which can't be slow; it knows
 * Unicode's categories, scripts and case folding.
 */

import { MAX_REPEAT, Parser, PatternError } from './syntax.js';

/** @typedef {import('./syntax.js').Node} Node */
/** @typedef {import('./syntax.js').Test} Test */

export { PatternError };

/** Characters of one expression, as in Python. */
const MAX_LENGTH = 4096;

/** States of one expression, about a megabyte. */
const MAX_STATES = 20_000;

/**
 * Characters of text times states: about two seconds of the page's only thread. Ordinary expressions need 10^4 times
 * less.
 */
const MAX_STEPS = 1 << 27;

/**
 * States: `tests` has what a state waits for (or null), `asserts` the assertion it makes (or null), `next` where to
 * go on, and `other` the second way of a fork, or -1. The state 0 is the end.
 */
class Program {
  constructor() {
    /** @type {(Test | null)[]} */
    this.tests = [null];
    /** @type {(string | null)[]} */
    this.asserts = [null];
    this.next = [0];
    this.other = [-1];
  }

  /** @param {Test | null} test @param {string | null} assert @param {number} next @param {number} other */
  state(test, assert, next, other) {
    if (this.next.length >= MAX_STATES) throw new PatternError('pattern too large - compile failed');
    this.tests.push(test);
    this.asserts.push(assert);
    this.next.push(next);
    this.other.push(other);
    return this.next.length - 1;
  }

  /** The first state of a node that goes on to `to`. @param {Node} node @param {number} to @returns {number} */
  compile(node, to) {
    switch (node.type) {
      case 'char':
        return this.state(node.test, null, to, -1);
      case 'assert':
        return this.state(null, node.name, to, -1);
      case 'cat':
        return node.parts.reduceRight((next, part) => this.compile(part, next), to);
      case 'alt':
        return node.parts.map((part) => this.compile(part, to)).reduceRight((b, a) => this.state(null, null, a, b));
      case 'repeat':
        return this.repeat(node.part, node.least, node.most, to);
    }
  }

  /** @param {Node} part @param {number} least @param {number} most @param {number} to */
  repeat(part, least, most, to) {
    let at = to;
    if (most === Infinity) {
      const fork = this.state(null, null, to, to);
      this.next[fork] = this.compile(part, fork);
      at = fork;
    } else {
      for (let n = least; n < most; n++) at = this.state(null, null, this.compile(part, at), to);
    }
    for (let n = 0; n < least; n++) at = this.compile(part, at);
    return at;
  }
}

/** The product of nested counts, by RE2's rule. @param {Node} node @returns {number} */
function repetitions(node) {
  if (node.type === 'cat' || node.type === 'alt') return Math.max(1, ...node.parts.map(repetitions));
  if (node.type !== 'repeat') return 1;
  const own = node.most === Infinity ? Math.max(1, node.least) : Math.max(1, node.most);
  return own * repetitions(node.part);
}

/** @param {number} code */
const isWord = (code) =>
  code === 95 || (code > 47 && code < 58) || (code > 64 && code < 91) || (code > 96 && code < 123);

/** @param {string} name @param {number} before @param {number} after The characters around, -1 where there is none. */
function holds(name, before, after) {
  switch (name) {
    case 'start':
      return before === -1;
    case 'end':
      return after === -1;
    case 'line':
      return before === -1 || before === 10;
    case 'lineEnd':
      return after === -1 || after === 10;
    default:
      return (isWord(before) !== isWord(after)) === (name === 'boundary');
  }
}

/**
 * @param {string} source An expression in RE2's syntax.
 * @returns {(text: string) => boolean} Whether it matches anywhere in a text; throws PatternError for a text so long
 *   that
 *   it could take too long.
 * @throws {PatternError} For an expression that RE2 refuses, or that is too large.
 */
export function compilePattern(source) {
  if (source.length > MAX_LENGTH) throw new PatternError(`the expression has more than ${MAX_LENGTH} characters`);
  if (!source.isWellFormed()) throw new PatternError('the expression has a lone surrogate');
  const node = new Parser(source).parse();
  if (repetitions(node) > MAX_REPEAT) throw new PatternError('bad repetition operator: nested counts are too large');
  const program = new Program();
  return matcher(program, program.compile(node, 0));
}

/** @param {Program} program @param {number} first @returns {(text: string) => boolean} */
function matcher({ tests, asserts, next, other }, first) {
  let current = new Int32Array(next.length);
  let following = new Int32Array(next.length);
  const seen = new Int32Array(next.length); // the place at which a state was last entered
  const waiting = new Int32Array(2 * next.length + 2);
  /** @param {number} state @param {number} at @param {number} before @param {number} after @param {number} size */
  const enter = (state, at, before, after, size) => {
    let top = 0;
    waiting[top++] = state;
    while (top > 0) {
      const now = waiting[--top];
      if (seen[now] === at) continue;
      seen[now] = at;
      if (now === 0) return -1;
      const assert = asserts[now];
      if (tests[now] !== null) following[size++] = now;
      else if (assert === null || holds(assert, before, after)) {
        if (other[now] >= 0) waiting[top++] = other[now];
        waiting[top++] = next[now];
      }
    }
    return size;
  };
  return (text) => {
    if (text.length * next.length > MAX_STEPS) {
      throw new PatternError(`the expression is too costly for a text of ${text.length} characters`);
    }
    seen.fill(-1);
    let before = -1;
    for (let at = 0, count = 0; ;) {
      const code = at < text.length ? /** @type {number} */ (text.codePointAt(at)) : -1;
      let size = 0;
      for (let n = 0; n < count; n++) {
        if (/** @type {Test} */ (tests[current[n]])(before)) size = enter(next[current[n]], at, before, code, size);
        if (size < 0) return true;
      }
      size = enter(first, at, before, code, size);
      if (size < 0) return true;
      if (code === -1) return false;
      [current, following] = [following, current];
      count = size;
      before = code;
      at += code > 0xffff ? 2 : 1;
    }
  };
}
