/**
 * The syntax of RE2's regular expressions, read into a tree. A set of characters is a RegExp of one class and nothing
 * else, which can't be slow; it knows Unicode's categories, scripts and case folding.
 */

/** Repetitions in one counted operator, and the product of nested ones: RE2's own bound. */
export const MAX_REPEAT = 1000;

/** Groups inside groups: RE2's bound. */
const MAX_DEPTH = 1000;

const LAST = 0x10ffff;

export class PatternError extends Error {}

/** @typedef {{ ranges: [number, number][], properties: string[] }} Items What may stand in a class. */
/** @typedef {(code: number) => boolean} Test */
/**
 * @typedef {{ type: 'char', test: Test } | { type: 'assert', name: string }
 *   | { type: 'cat' | 'alt', parts: Node[] } | { type: 'repeat', part: Node, least: number, most: number }} Node
 */
/** @typedef {{ i: boolean, m: boolean, s: boolean }} Flags */

const DIGIT = [[0x30, 0x39]];
const WORD = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
const UPPER = [[0x41, 0x5a]];
const LOWER = [[0x61, 0x7a]];
/** @type {Record<string, number[][]>} */
const PERL = {
  d: DIGIT,
  w: WORD,
  s: [
    [9, 10],
    [12, 13],
    [32, 32],
  ],
};
/** @type {Record<string, number[][]>} */
const POSIX = {
  alnum: [...DIGIT, ...UPPER, ...LOWER],
  alpha: [...UPPER, ...LOWER],
  ascii: [[0, 0x7f]],
  blank: [
    [9, 9],
    [32, 32],
  ],
  cntrl: [
    [0, 0x1f],
    [0x7f, 0x7f],
  ],
  digit: DIGIT,
  graph: [[0x21, 0x7e]],
  lower: LOWER,
  print: [[0x20, 0x7e]],
  punct: [
    [0x21, 0x2f],
    [0x3a, 0x40],
    [0x5b, 0x60],
    [0x7b, 0x7e],
  ],
  space: [
    [9, 13],
    [32, 32],
  ],
  upper: UPPER,
  word: WORD,
  xdigit: [...DIGIT, [0x41, 0x46], [0x61, 0x66]],
};
/** @type {Record<string, number>} */
const ESCAPES = { a: 7, f: 12, n: 10, r: 13, t: 9, v: 11 };

/** @param {number[][]} ranges @returns {[number, number][]} */
function complement(ranges) {
  /** @type {[number, number][]} */
  const rest = [];
  let from = 0;
  for (const [low, high] of [...ranges].sort((a, b) => a[0] - b[0])) {
    if (low > from) rest.push([from, low - 1]);
    from = Math.max(from, high + 1);
  }
  if (from <= LAST) rest.push([from, LAST]);
  return rest;
}

/** @param {Items} items @param {boolean} negated @param {boolean} fold @returns {Test} */
function tester({ ranges, properties }, negated, fold) {
  const text = ranges.map(([low, high]) => `\\u{${low.toString(16)}}-\\u{${high.toString(16)}}`).join('');
  const pattern = new RegExp(`[${negated ? '^' : ''}${text}${properties.join('')}]`, fold ? 'iu' : 'u');
  // Nearly all text is ASCII, for which the answers are kept.
  const known = new Uint8Array(128);
  return (code) => {
    if (code > 127) return pattern.test(String.fromCodePoint(code));
    if (known[code] === 0) known[code] = pattern.test(String.fromCharCode(code)) ? 2 : 1;
    return known[code] === 2;
  };
}

export class Parser {
  /** @param {string} source */
  constructor(source) {
    this.text = [...source];
    this.at = 0;
    this.depth = 0;
  }

  /** @returns {Node} */
  parse() {
    const node = this.alternatives({ i: false, m: false, s: false });
    if (this.at < this.text.length) throw new PatternError('unexpected )');
    return node;
  }

  /** @param {string} expected */
  eat(expected) {
    if (this.text.slice(this.at, this.at + expected.length).join('') !== expected) return false;
    this.at += expected.length;
    return true;
  }

  /** @param {Flags} flags @returns {Node} */
  alternatives(flags) {
    if (++this.depth > MAX_DEPTH) throw new PatternError('expression nests too deeply');
    const own = { ...flags };
    /** @type {Node[]} */
    const parts = [this.sequence(own)];
    while (this.eat('|')) parts.push(this.sequence(own));
    this.depth--;
    return parts.length === 1 ? parts[0] : { type: 'alt', parts };
  }

  /** @param {Flags} flags Changed by what `(?i)` and its like say. @returns {Node} */
  sequence(flags) {
    /** @type {Node[]} */
    const parts = [];
    while (this.at < this.text.length && this.text[this.at] !== '|' && this.text[this.at] !== ')') {
      const node = this.atom(flags);
      if (node !== null) parts.push(this.repeated(node));
    }
    return parts.length === 1 ? parts[0] : { type: 'cat', parts };
  }

  /** @param {Node} node @returns {Node} */
  repeated(node) {
    const first = this.repetition();
    if (first === null) return node;
    this.eat('?');
    const at = this.at;
    if (this.repetition() !== null) {
      throw new PatternError(`bad repetition operator: ${this.text.slice(at - 1, this.at).join('')}`);
    }
    return { type: 'repeat', part: node, least: first[0], most: first[1] };
  }

  /** @returns {[number, number] | null} */
  repetition() {
    if (this.eat('*')) return [0, Infinity];
    if (this.eat('+')) return [1, Infinity];
    if (this.eat('?')) return [0, 1];
    const match = /^\{(\d{1,9})(,(\d{1,9})?)?\}/.exec(this.text.slice(this.at, this.at + 24).join(''));
    if (match === null) return null; // a brace that is no repetition stands for itself
    this.at += match[0].length;
    const least = Number(match[1]);
    const most = match[2] === undefined ? least : match[3] === undefined ? Infinity : Number(match[3]);
    if (least > MAX_REPEAT || most < least || (most > MAX_REPEAT && most !== Infinity)) {
      throw new PatternError(`invalid repetition size: ${match[0]}`);
    }
    return [least, most];
  }

  /** @param {Flags} flags @returns {Node | null} `null` for what only changes flags, or is empty. */
  atom(flags) {
    const char = this.text[this.at++];
    switch (char) {
      case '(':
        return this.group(flags);
      case '[':
        return this.set(flags);
      case '.':
        return { type: 'char', test: flags.s ? () => true : (code) => code !== 10 };
      case '^':
        return { type: 'assert', name: flags.m ? 'line' : 'start' };
      case '$':
        return { type: 'assert', name: flags.m ? 'lineEnd' : 'end' };
      case '*':
      case '+':
      case '?':
        throw new PatternError(`no argument for repetition operator: ${char}`);
      case '\\':
        return this.escape(flags);
      default:
        return literal(/** @type {number} */ (char.codePointAt(0)), flags);
    }
  }

  /** @param {Flags} flags @returns {Node | null} */
  group(flags) {
    if (!this.eat('?')) return this.closed(this.alternatives(flags));
    const head = this.text.slice(this.at, this.at + 200).join('');
    const name = /^P?<(\w+)>/.exec(head);
    if (name !== null) {
      this.at += name[0].length;
      return this.closed(this.alternatives(flags));
    }
    const change = /^([imsU]*)(?:-([imsU]+))?([:)])/.exec(head);
    if (change === null || change[0] === ')') {
      throw new PatternError(`invalid perl operator: (?${head.slice(0, 2)}`);
    }
    this.at += change[0].length;
    const own = change[3] === ':' ? { ...flags } : flags;
    for (const [letters, value] of /** @type {[string, boolean][]} */ ([
      [change[1], true],
      [change[2] ?? '', false],
    ])) {
      for (const letter of letters) if (letter !== 'U') own[/** @type {'i' | 'm' | 's'} */ (letter)] = value;
    }
    return change[3] === ':' ? this.closed(this.alternatives(own)) : null;
  }

  /** @param {Node} node */
  closed(node) {
    if (!this.eat(')')) throw new PatternError('missing )');
    return node;
  }

  /** @param {Flags} flags @returns {Node | null} */
  escape(flags) {
    const char = this.text[this.at];
    if (char === undefined) throw new PatternError('trailing \\ at end of expression');
    /** @type {Record<string, string>} */
    const asserts = { A: 'start', z: 'end', b: 'boundary', B: 'inside' };
    if (asserts[char] !== undefined) {
      this.at++;
      return { type: 'assert', name: asserts[char] };
    }
    if (char === 'Q') {
      this.at++;
      /** @type {Node[]} */
      const parts = [];
      while (this.at < this.text.length && !this.eat('\\E')) {
        parts.push(literal(/** @type {number} */ (this.text[this.at++].codePointAt(0)), flags));
      }
      if (parts.length === 0) return null;
      const last = /** @type {Node} */ (parts.pop());
      return { type: 'cat', parts: [...parts, this.repeated(last)] };
    }
    const items = this.perl();
    if (items !== null) return { type: 'char', test: tester(items, false, flags.i) };
    return literal(this.code(), flags);
  }

  /** A class such as `\d` or `\p{Greek}`, behind its backslash. @returns {Items | null} */
  perl() {
    const char = this.text[this.at];
    const ranges = PERL[char.toLowerCase()];
    if (ranges !== undefined) {
      this.at++;
      const own = /** @type {[number, number][]} */ (ranges);
      return { ranges: char in PERL ? own : complement(ranges), properties: [] };
    }
    if (char !== 'p' && char !== 'P') return null;
    const match = /^.(?:\{(\^?)(\w+)\}|([A-Z]))/.exec(this.text.slice(this.at, this.at + 60).join(''));
    if (match === null) throw new PatternError('invalid character class range');
    this.at += match[0].length;
    const name = match[2] ?? match[3];
    const letter = (char === 'P') !== (match[1] === '^') ? 'P' : 'p';
    for (const property of name.length > 2 && name !== 'Any' ? [`Script=${name}`] : [name]) {
      try {
        new RegExp(`\\p{${property}}`, 'u');
        return { ranges: [], properties: [`\\${letter}{${property}}`] };
      } catch {
        continue;
      }
    }
    throw new PatternError(`invalid character class range: ${name}`);
  }

  /** The character that an escape stands for, behind its backslash. */
  code() {
    const rest = this.text.slice(this.at, this.at + 12).join('');
    const match =
      /^(?:x([0-9A-Fa-f]{2})|x\{([0-9A-Fa-f]+)\}|([1-7][0-7]{1,2}|0[0-7]{0,2})|([afnrtv])|([^0-9A-Za-z_\u0080-\uffff]))/.exec(
        rest,
      );
    if (match === null) throw new PatternError(`invalid escape sequence: \\${rest.slice(0, 1)}`);
    this.at += [...match[0]].length;
    const hex = match[1] ?? match[2];
    const code =
      hex !== undefined
        ? parseInt(hex, 16)
        : match[3] !== undefined
          ? parseInt(match[3], 8)
          : match[4] !== undefined
            ? ESCAPES[match[4]]
            : match[0].charCodeAt(0);
    if (code > LAST) throw new PatternError(`invalid escape sequence: \\${match[0]}`);
    return code;
  }

  /** A class in brackets. @param {Flags} flags @returns {Node} */
  set(flags) {
    const negated = this.eat('^');
    /** @type {Items} */
    const items = { ranges: [], properties: [] };
    for (let first = true; first || this.text[this.at] !== ']'; first = false) {
      if (this.at >= this.text.length) throw new PatternError('missing ]');
      let known = this.posix();
      if (known === null && this.text[this.at] === '\\' && this.at + 1 < this.text.length) {
        this.at++;
        known = this.perl();
        if (known === null) this.at--;
      }
      if (known !== null) {
        items.ranges.push(...known.ranges);
        items.properties.push(...known.properties);
        continue;
      }
      const low = this.member();
      let high = low;
      if (this.text[this.at] === '-' && this.text[this.at + 1] !== ']' && this.at + 1 < this.text.length) {
        this.at++;
        high = this.member();
        if (high < low) throw new PatternError('invalid character class range');
      }
      items.ranges.push([low, high]);
    }
    this.at++;
    return { type: 'char', test: tester(items, negated, flags.i) };
  }

  /** @returns {Items | null} */
  posix() {
    const match = /^\[:(\^?)(\w+):\]/.exec(this.text.slice(this.at, this.at + 16).join(''));
    if (match === null) return null;
    const ranges = Object.hasOwn(POSIX, match[2]) ? POSIX[match[2]] : undefined;
    if (ranges === undefined) throw new PatternError(`invalid character class range: ${match[0]}`);
    this.at += match[0].length;
    return { ranges: match[1] ? complement(ranges) : /** @type {[number, number][]} */ (ranges), properties: [] };
  }

  /** One character of a class. */
  member() {
    const char = this.text[this.at++];
    if (char === undefined) throw new PatternError('missing ]');
    return char === '\\' && this.at < this.text.length ? this.code() : /** @type {number} */ (char.codePointAt(0));
  }
}

/** @param {number} code @param {Flags} flags @returns {Node} */
function literal(code, flags) {
  if (flags.i) return { type: 'char', test: tester({ ranges: [[code, code]], properties: [] }, false, true) };
  return { type: 'char', test: (other) => other === code };
}
