/**
 * Mango selectors, checked and compiled to functions: the same answers as Python's core/selector.py, by the same rules.
 *
 * Values compare across types in CouchDB's order (null, false, true, numbers, strings by UTF-16 code units, arrays,
 * objects), and `_id` by its code points. A condition on a field that is not there is false, whatever the condition. A
 * negation moves inwards before anything is matched, but not inside `$elemMatch`, `$allMatch` and `$keyMapMatch`.
 * tests/vectors/selectors.json has cases that both languages answer alike.
 */

import { PeerPouchError } from '../errors.js';
import { isObject } from '../values.js';
import { PatternError, compilePattern } from './patterns.js';

/** How deep selectors may nest in selectors, how many conditions and regular expressions one may have: as in Python. */
const MAX_DEPTH = 64;
const MAX_CONDITIONS = 10_000;
const MAX_PATTERNS = 32;
const MAX_PATH = 500;

/** @typedef {(value: any) => boolean} Test */
/** @typedef {Record<string, any>} Json */

const OPPOSITES = /** @type {Record<string, string>} */ ({
  $lt: '$gte',
  $lte: '$gt',
  $gte: '$lt',
  $gt: '$lte',
  $eq: '$ne',
  $ne: '$eq',
  $in: '$nin',
  $nin: '$in',
});
const COMBINATIONS = new Set(['$and', '$or', '$nor']);
const UNSUPPORTED = new Set(['$text', '$where', '$geoWithin', '$geoIntersects', '$near', '$nearSphere']);
const TYPES = ['array', 'boolean', 'null', 'number', 'object', 'string'];

/** @param {string} reason @returns {never} */
function refuse(reason) {
  throw new PeerPouchError('invalid_selector', reason);
}

/** @param {any} value */
function kind(value) {
  return value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
}

/** @param {any} value */
function rank(value) {
  if (value === null) return 0;
  if (typeof value === 'boolean') return value ? 2 : 1;
  if (typeof value === 'number') return 3;
  if (typeof value === 'string') return 4;
  return Array.isArray(value) ? 5 : 6;
}

/**
 * The order of keys. Objects compare pair by pair in the order in which they were written, as JavaScript keeps it.
 *
 * @param {any} a @param {any} b @returns {number}
 */
export function collate(a, b) {
  const first = rank(a);
  const second = rank(b);
  if (first !== second) return first - second;
  if (first < 3) return 0;
  if (first < 5) return a < b ? -1 : a > b ? 1 : 0;
  if (first === 6) return collate(Object.entries(a).flat(), Object.entries(b).flat());
  for (let n = 0; n < a.length && n < b.length; n++) {
    const order = collate(a[n], b[n]);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

/** Texts by their code points, as document ids compare. @param {string} a @param {string} b */
export function compareIds(a, b) {
  for (let n = 0; n < a.length && n < b.length; n++) {
    const first = a.charCodeAt(n);
    const second = b.charCodeAt(n);
    if (first !== second) {
      // Halves of surrogate pairs are the only units whose order is not that of the code points.
      const isHalf = (/** @type {number} */ unit) => unit >= 0xd800 && unit < 0xe000;
      return isHalf(first) === isHalf(second) ? first - second : isHalf(first) ? 1 : -1;
    }
  }
  return a.length - b.length;
}

/**
 * @param {string} field
 * @returns {string[]} The names in a path; a backslash makes a dot, a backslash or a `$` part of one.
 */
export function parsePath(field) {
  const path = [''];
  for (let at = 0; at < field.length; at++) {
    if (field[at] === '\\' && '.\\$'.includes(field[at + 1] ?? ' ')) path[path.length - 1] += field[++at];
    else if (field[at] === '.') path.push('');
    else path[path.length - 1] += field[at];
  }
  if (path.includes('')) refuse(`The field name ${show(field)} has an empty part.`);
  if (path.length > MAX_PATH) refuse(`The field name ${show(field)} has more than ${MAX_PATH} parts.`);
  return path;
}

const MISSING = Symbol('an object on the way has no field of that name');
const BAD_PATH = Symbol('what is on the way is no object, or an array without that index');

/** @param {any} value @param {string[]} path @returns {any} */
function getField(value, path) {
  for (const name of path) {
    if (Array.isArray(value)) {
      const index = /^\d{1,13}$/.test(name) ? Number(name) : -1;
      if (index < 0 || index >= value.length) return BAD_PATH;
      value = value[index];
    } else if (!isObject(value)) return BAD_PATH;
    else if (!Object.hasOwn(value, name)) return MISSING;
    else value = value[name];
  }
  return value;
}

/** @param {unknown} value */
function show(value) {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= 80 ? text : `${text.slice(0, 79)}…`;
}

const any = { accepts: () => true, expected: '' };
const array = { accepts: Array.isArray, expected: 'an array' };
const string = { accepts: (/** @type {unknown} */ operand) => typeof operand === 'string', expected: 'a string' };
const object = { accepts: isObject, expected: 'an object' };

/** @type {Record<string, { accepts: (operand: any) => boolean, expected: string }>} */
const OPERANDS = {
  $lt: any,
  $lte: any,
  $eq: any,
  $ne: any,
  $gte: any,
  $gt: any,
  $exists: { accepts: (operand) => typeof operand === 'boolean', expected: 'true or false' },
  $type: { accepts: (operand) => TYPES.includes(operand), expected: `one of ${TYPES.join(', ')}` },
  $in: array,
  $nin: array,
  $all: array,
  $size: { accepts: (operand) => Number.isInteger(operand) && operand >= 0, expected: 'an integer, zero or more' },
  $mod: {
    accepts: (operand) =>
      Array.isArray(operand) && operand.length === 2 && operand.every(Number.isInteger) && operand[0] !== 0,
    expected: 'an array of a divisor, not zero, and a remainder, both integers',
  },
  $regex: string,
  $beginsWith: string,
  $elemMatch: object,
  $allMatch: object,
  $keyMapMatch: object,
};

/** @type {Record<string, (operand: any) => Test>} */
const TESTS = {
  $eq: (operand) => (value) => rank(value) === rank(operand) && collate(value, operand) === 0,
  $ne: (operand) => (value) => rank(value) !== rank(operand) || collate(value, operand) !== 0,
  $in: (operands) => within(operands),
  $nin: (operands) => {
    const inside = within(operands);
    return (value) => !inside(value);
  },
  $all: (operands) => {
    const tests = operands.map(TESTS.$eq);
    const whole = operands.length === 1 && Array.isArray(operands[0]) ? tests[0] : null;
    return (value) =>
      tests.length > 0 &&
      Array.isArray(value) &&
      (whole?.(value) || tests.every((/** @type {Test} */ test) => value.some(test)));
  },
  $type: (name) => (value) => kind(value) === name,
  $size: (size) => (value) => Array.isArray(value) && value.length === size,
  $mod:
    ([divisor, remainder]) =>
    (value) =>
      Number.isInteger(value) && value % divisor === remainder,
  $regex: (source) => {
    const matches = pattern(source);
    return (value) => {
      try {
        return typeof value === 'string' && matches(value);
      } catch (error) {
        if (error instanceof PatternError) return refuse(`$regex: ${error.message}`);
        throw error;
      }
    };
  },
  $beginsWith: (prefix) => (value) => typeof value === 'string' && value.startsWith(prefix),
};

/** @type {Record<string, (test: Test) => Test>} */
const SUBSELECTORS = {
  $elemMatch: (test) => (value) => Array.isArray(value) && value.some((item) => test(item)),
  $allMatch: (test) => (value) => Array.isArray(value) && value.length > 0 && value.every((item) => test(item)),
  $keyMapMatch: (test) => (value) => isObject(value) && Object.keys(value).some((name) => test(name)),
};

/** @type {Record<string, (order: number) => boolean>} */
const ORDERINGS = {
  $lt: (order) => order < 0,
  $lte: (order) => order <= 0,
  $gt: (order) => order > 0,
  $gte: (order) => order >= 0,
};

/** @param {any[]} operands @returns {Test} */
function within(operands) {
  const plain = new Set(operands.filter((operand) => !(typeof operand === 'object' && operand !== null)));
  const tests = operands.filter((operand) => typeof operand === 'object' && operand !== null).map(TESTS.$eq);
  /** @type {Test} */
  const one = (value) => plain.has(value) || tests.some((test) => test(value));
  return (value) => (Array.isArray(value) ? value.some(one) : one(value));
}

/** @param {string} source */
function pattern(source) {
  try {
    return compilePattern(source);
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    return refuse(`Bad argument for operator $regex: ${show(source)}: ${error.message}`);
  }
}

/** Counts what a selector may have a limited number of. `inside`: an operand of `$elemMatch` or its like. */
class Parser {
  /** @param {boolean} inside @param {{ conditions: number, patterns: number }} counted */
  constructor(inside, counted) {
    this.inside = inside;
    this.counted = counted;
  }

  /** @param {any} value @param {string[]} path @param {boolean} negated @param {number} depth @returns {Test} */
  selector(value, path, negated, depth) {
    if (depth > MAX_DEPTH) refuse(`The selector nests deeper than ${MAX_DEPTH} levels.`);
    if (!isObject(value)) return this.condition('$eq', value, path, negated, depth);
    const names = Object.keys(value);
    if (names.length === 0) return path.length ? this.condition('$eq', value, path, negated, depth) : () => !negated;
    const tests = names.map((name) =>
      name.startsWith('$')
        ? this.operator(name, value[name], path, negated, depth)
        : this.field(name, value[name], path, negated, depth),
    );
    return negated ? anyOf(tests) : allOf(tests);
  }

  /** @param {string} name @param {any} operand @param {string[]} path @param {boolean} negated @param {number} depth */
  field(name, operand, path, negated, depth) {
    if (name === '') refuse('One or more conditions is missing a field name.');
    return this.selector(operand, [...path, ...parsePath(name)], negated, depth + 1);
  }

  /**
   * @param {string} name
   * @param {any} operand
   * @param {string[]} path
   * @param {boolean} negated
   * @param {number} depth
   * @returns {Test}
   */
  operator(name, operand, path, negated, depth) {
    if (COMBINATIONS.has(name)) return this.combination(name, operand, path, negated, depth);
    if (name !== '$not') return this.condition(name, operand, path, negated, depth);
    if (!isObject(operand)) badOperand(name, operand, 'an object');
    if (!this.inside) return this.selector(operand, path, !negated, depth + 1);
    const inner = this.selector(operand, path, false, depth + 1);
    return (value) => !inner(value);
  }

  /**
   * @param {string} name
   * @param {any} operand
   * @param {string[]} path
   * @param {boolean} negated
   * @param {number} depth
   * @returns {Test}
   */
  combination(name, operand, path, negated, depth) {
    if (!Array.isArray(operand)) badOperand(name, operand, 'an array of selectors');
    if (operand.length === 0) return () => true;
    const nor = name === '$nor';
    const inward = nor && !this.inside ? !negated : nor ? false : negated;
    const tests = operand.map((/** @type {any} */ part) => this.selector(part, path, inward, depth + 1));
    if (nor && this.inside) {
      const some = anyOf(tests);
      return (value) => !some(value);
    }
    return (name === '$and') !== inward ? allOf(tests) : anyOf(tests);
  }

  /**
   * @param {string} name
   * @param {any} operand
   * @param {string[]} path
   * @param {boolean} negated
   * @param {number} depth
   * @returns {Test}
   */
  condition(name, operand, path, negated, depth) {
    if (UNSUPPORTED.has(name)) refuse(`Unsupported operator: ${name}`);
    if (!Object.hasOwn(OPERANDS, name)) refuse(`Invalid operator: ${name}`);
    if (!path.length && !this.inside) refuse(`One or more conditions is missing a field name (${name}).`);
    const { accepts, expected } = OPERANDS[name];
    if (!accepts(operand)) badOperand(name, operand, expected);
    if (++this.counted.conditions > MAX_CONDITIONS) refuse(`The selector has more than ${MAX_CONDITIONS} conditions.`);
    if (name === '$regex' && ++this.counted.patterns > MAX_PATTERNS) {
      refuse(`The selector has more than ${MAX_PATTERNS} regular expressions ($regex).`);
    }
    if (name === '$exists') return exists(path, negated ? !operand : operand);
    const opposite = negated ? OPPOSITES[name] : undefined;
    const test = this.test(opposite ?? name, operand, path, depth);
    return at(path, negated && opposite === undefined ? (value) => !test(value) : test);
  }

  /** @param {string} name @param {any} operand @param {string[]} path @param {number} depth @returns {Test} */
  test(name, operand, path, depth) {
    if (name in SUBSELECTORS) {
      return SUBSELECTORS[name](new Parser(true, this.counted).selector(operand, [], false, depth + 1));
    }
    if (!(name in ORDERINGS)) return TESTS[name](operand);
    const holds = ORDERINGS[name];
    const raw = path.length === 1 && path[0] === '_id' && typeof operand === 'string';
    return (value) => holds(raw && typeof value === 'string' ? compareIds(value, operand) : collate(value, operand));
  }
}

/** @param {Test[]} tests @returns {Test} */
const allOf = (tests) => (value) => tests.every((test) => test(value));
/** @param {Test[]} tests @returns {Test} */
const anyOf = (tests) => (value) => tests.some((test) => test(value));

/** The test of what is at the path; false when nothing is. @param {string[]} path @param {Test} test @returns {Test} */
function at(path, test) {
  if (!path.length) return test;
  return (value) => {
    const found = getField(value, path);
    return found !== MISSING && found !== BAD_PATH && test(found);
  };
}

/** @param {string[]} path @param {boolean} wanted @returns {Test} */
function exists(path, wanted) {
  if (!path.length) return () => wanted;
  return wanted ? at(path, () => true) : (value) => getField(value, path) === MISSING;
}

/** @param {string} name @param {any} operand @param {string} expected @returns {never} */
function badOperand(name, operand, expected) {
  return refuse(`Bad argument for operator ${name}: ${show(operand)}; it takes ${expected}.`);
}

/**
 * @param {unknown} selector A Mango selector.
 * @returns {(doc: Json) => boolean} Whether a document matches. It throws `invalid_selector` for a regular expression
 *   that is
 *   too costly for a text.
 * @throws {PeerPouchError} `invalid_selector`, naming the operator or field that is wrong.
 */
export function compileSelector(selector) {
  if (!isObject(selector)) return refuse(`Selector must be a JSON object, not: ${show(selector)}`);
  return new Parser(false, { conditions: 0, patterns: 0 }).selector(selector, [], false, 0);
}

/**
 * A function that keeps only some fields of a document, nested as they were.
 *
 * @param {string[] | null | undefined} fields `null` or an empty list: all.
 * @returns {(doc: Json) => Json}
 */
export function compileFields(fields) {
  if (!fields || fields.length === 0) return (doc) => doc;
  const paths = fields.map(parsePath);
  return (doc) => {
    /** @type {Json} */
    const result = {};
    // Objects made here. What a shorter path brought whole is the document's own, and has all that a longer one adds.
    const own = new Set([result]);
    for (const path of paths) {
      const value = getField(doc, path);
      if (value === MISSING || value === BAD_PATH) continue;
      let target = result;
      for (const name of path.slice(0, -1)) {
        if (own.has(target) && !Object.hasOwn(target, name)) own.add(set(target, name, {}));
        if (own.has(target)) target = target[name];
      }
      if (own.has(target)) set(target, path[path.length - 1], value);
    }
    return result;
  };
}

/**
 * Also for `__proto__`, which assigning would not make a field.
 *
 * @param {Json} target
 * @param {string} name
 * @param {any} value
 */
function set(target, name, value) {
  Object.defineProperty(target, name, { value, writable: true, enumerable: true, configurable: true });
  return value;
}
