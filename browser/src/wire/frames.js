/**
 * The bytes of the channel protocol: frames, heads, settings. `docs/protocol/channel.md` is the specification.
 *
 * Everything here is a function of its arguments. What can not be decoded throws {@link Malformed}. Names and values of
 * headers are strings of one character for each byte, as Fetch has them.
 */

import { PeerPouchError } from '../errors.js';
import { LARGEST_CREDIT, LARGEST_MESSAGE, LARGEST_STREAM, PORTABLE_MESSAGE } from './limits.js';

export const HEADER_SIZE = 8;
/** The versions of the protocol that this implementation speaks, lowest and highest. */
export const VERSIONS = Object.freeze([1, 1]);

const MAGIC = 0x50504348; // PPCH
/** A reason is a sentence for a person, not a document. */
const LONGEST_REASON = 256;
/** The flag of REQUEST, RESPONSE and DATA; a receiver ignores bits that it does not know. */
export const END = 1;

/** What a frame is. A receiver skips types that it does not know. */
export const FrameType = Object.freeze({
  HELLO: 1,
  REQUEST: 2,
  RESPONSE: 3,
  DATA: 4,
  CREDIT: 5,
  RESET: 6,
  PING: 7,
  PONG: 8,
  GO_AWAY: 9,
});

/** Why a stream was reset or a connection closed. */
export const Code = Object.freeze({
  NONE: 0,
  CANCELLED: 1,
  REFUSED: 2,
  INTERNAL: 3,
  PROTOCOL: 4,
  FLOW: 5,
  TOO_LARGE: 6,
  EXCESS: 7,
  VERSION: 8,
});

/**
 * What a HELLO tells, by the setting's number: its name here, the least and the largest value, and the value that stands
 * where it is not told.
 *
 * @type {readonly (readonly [keyof Settings, number, number, number])[]}
 */
const SETTINGS = [
  ['maxMessage', PORTABLE_MESSAGE, LARGEST_STREAM, PORTABLE_MESSAGE],
  ['streamCredit', 1, LARGEST_CREDIT, 64 * 1024],
  ['connectionCredit', 1, LARGEST_CREDIT, 1024 * 1024],
  ['maxStreams', 0, LARGEST_STREAM, 16],
  ['maxHead', 1, LARGEST_STREAM, 8 * 1024],
  ['features', 0, LARGEST_STREAM, 0],
];

/**
 * @typedef {{
 *   maxMessage: number, streamCredit: number, connectionCredit: number, maxStreams: number, maxHead: number,
 *   features: number,
 * }} Settings
 * @typedef {readonly [string, string]} Header
 * @typedef {{ method: string, path: string, headers: readonly Header[] }} RequestHead
 *   `method` is upper case; `path` is the percent-encoded path with its query; names of headers are lower case.
 * @typedef {{ status: number, headers: readonly Header[] }} ResponseHead A status of 200 to 599.
 */

/** Bytes that do not follow the specification. `code` is what the other end is told. */
export class Malformed extends PeerPouchError {
  /**
   * @param {string} reason
   * @param {number} [code]
   */
  constructor(reason, code = Code.PROTOCOL) {
    super('protocol_error', reason);
    this.code = code;
  }
}

const METHOD = /^[A-Z]{1,32}$/;
const PATH = /^\/[\x21-\x7e]*$/;
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]{1,255}$/;
// What HTTP forbids in a field's value (RFC 9110, section 5.5): these would split headers further on.
const VALUE = /^[^\0\r\n\u0100-\uffff]*$/;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** @param {Uint8Array} bytes */
export function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** @param {readonly Uint8Array[]} parts */
export function concat(parts) {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/**
 * A frame's header.
 *
 * @param {number} kind
 * @param {number} flags
 * @param {number} length Of the payload.
 * @param {number} stream
 */
export function header(kind, flags, length, stream) {
  const bytes = new Uint8Array(HEADER_SIZE);
  const view = viewOf(bytes);
  view.setUint8(0, kind);
  view.setUint8(1, flags);
  view.setUint16(2, length);
  view.setUint32(4, stream);
  return bytes;
}

/**
 * One frame.
 *
 * @param {number} kind
 * @param {number} stream
 * @param {Uint8Array} [payload]
 * @param {number} [flags]
 */
export function frame(kind, stream, payload = new Uint8Array(), flags = 0) {
  return concat([header(kind, flags, payload.length, stream), payload]);
}

/**
 * The frames of a message, which holds whole ones, at least one.
 *
 * @param {Uint8Array} message
 */
export function* split(message) {
  const view = viewOf(message);
  let at = 0;
  do {
    if (message.length - at < HEADER_SIZE) {
      throw new Malformed('A message holds no whole frame, or ends within the header of one.');
    }
    const start = at + HEADER_SIZE;
    const end = start + view.getUint16(at + 2);
    if (end > message.length) throw new Malformed('A message ends within a frame.');
    yield {
      kind: view.getUint8(at),
      flags: view.getUint8(at + 1),
      stream: view.getUint32(at + 4),
      payload: message.subarray(start, end),
    };
    at = end;
  } while (at < message.length);
}

/**
 * The payload of a HELLO.
 *
 * @param {Omit<Settings, 'features'>} limits
 * @param {number} [features]
 */
export function encodeHello(limits, features = 0) {
  const bytes = new Uint8Array(8 + 6 * SETTINGS.length);
  const view = viewOf(bytes);
  view.setUint32(0, MAGIC);
  view.setUint8(4, VERSIONS[0]);
  view.setUint8(5, VERSIONS[1]);
  view.setUint16(6, SETTINGS.length);
  SETTINGS.forEach(([name], index) => {
    view.setUint16(8 + 6 * index, index + 1);
    view.setUint32(10 + 6 * index, name === 'features' ? features : limits[name]);
  });
  return bytes;
}

/**
 * The inverse of {@link encodeHello}: the versions that the other end speaks (inclusive), and its settings by number.
 * Bytes after the last setting belong to later versions.
 *
 * @param {Uint8Array} payload
 */
export function decodeHello(payload) {
  const view = viewOf(payload);
  if (payload.length < 8) throw new Malformed('HELLO is cut short.');
  if (view.getUint32(0) !== MAGIC) {
    throw new Malformed('HELLO does not start with PPCH: the other side speaks another protocol.');
  }
  const lowest = view.getUint8(4);
  const highest = view.getUint8(5);
  const count = view.getUint16(6);
  if (payload.length < 8 + 6 * count || lowest < 1 || lowest > highest) {
    throw new Malformed('HELLO is cut short or names no version.');
  }
  /** @type {Map<number, number>} */
  const settings = new Map();
  for (let index = 0; index < count; index += 1) {
    settings.set(view.getUint16(8 + 6 * index), view.getUint32(10 + 6 * index));
  }
  return { lowest, highest, settings };
}

/**
 * The highest version that both ends speak.
 *
 * @param {{ lowest: number, highest: number }} hello
 * @throws {Malformed} There is none.
 */
export function agreedVersion({ lowest, highest }) {
  const version = Math.min(VERSIONS[1], highest);
  if (version >= Math.max(VERSIONS[0], lowest)) return version;
  throw new Malformed(
    `The other side speaks versions ${lowest} to ${highest} of the channel protocol, ` +
      `this one ${VERSIONS[0]} to ${VERSIONS[1]}: update the older one.`,
    Code.VERSION,
  );
}

/**
 * All settings of a HELLO, defaults included.
 *
 * @param {Map<number, number>} told
 * @returns {Settings}
 */
export function settingsOf(told) {
  const all = /** @type {Settings} */ ({});
  SETTINGS.forEach(([name, least, largest, standard], index) => {
    const value = told.get(index + 1) ?? standard;
    if (value < least || value > largest) {
      throw new Malformed(`HELLO has ${value} for ${name}; ${least} to ${largest} are allowed.`);
    }
    all[name] = value;
  });
  return all;
}

/** Grows while a head is written; a head that fits no message is refused before it is sent. */
class Writer {
  constructor() {
    /** @type {number[]} */
    this.bytes = [];
  }

  /** @param {number} value */
  u16(value) {
    this.bytes.push(value >> 8, value & 0xff);
  }

  /** @param {string} text One character for each byte. */
  text(text) {
    for (let index = 0; index < text.length; index += 1) this.bytes.push(text.charCodeAt(index));
  }

  /** @param {readonly Header[]} headers */
  headers(headers) {
    this.u16(headers.length);
    for (const [name, value] of headers) {
      if (!NAME.test(name) || !VALUE.test(value) || value.length > 0xffff) {
        throw new Malformed(`The header ${name.slice(0, 64)} has a name or a value that can not be sent.`);
      }
      this.bytes.push(name.length);
      this.text(name);
      this.u16(value.length);
      this.text(value);
      // Ten of the largest heads: what is larger can not be sent, and is not worth the memory.
      if (this.bytes.length > 10 * LARGEST_MESSAGE) throw new Malformed('The head is too large.', Code.TOO_LARGE);
    }
    return Uint8Array.from(this.bytes);
  }
}

/**
 * The payload of a REQUEST.
 *
 * @param {RequestHead} head
 */
export function encodeRequest({ method, path, headers }) {
  if (!METHOD.test(method) || !PATH.test(path)) {
    throw new Malformed(`${method.slice(0, 32)} ${path.slice(0, 64)} is not a method and an encoded path.`);
  }
  if (path.length > 0xffff) throw new Malformed('The path is longer than 65,535 bytes.', Code.TOO_LARGE);
  const writer = new Writer();
  writer.bytes.push(method.length);
  writer.text(method);
  writer.u16(path.length);
  writer.text(path);
  return writer.headers(headers);
}

/**
 * The payload of a RESPONSE.
 *
 * @param {ResponseHead} head
 */
export function encodeResponse({ status, headers }) {
  if (!(status >= 200 && status <= 599)) throw new Malformed(`${status} is not the status of a response.`);
  const writer = new Writer();
  writer.u16(status);
  return writer.headers(headers);
}

/** Reads a head; whatever lies beyond its end is a breach. */
class Reader {
  /** @param {Uint8Array} payload */
  constructor(payload) {
    this.payload = payload;
    this.at = 0;
  }

  u8() {
    if (this.at >= this.payload.length) throw new Malformed('A head is cut short.');
    return this.payload[this.at++];
  }

  u16() {
    return this.u8() * 256 + this.u8();
  }

  /** @param {number} length */
  text(length) {
    const bytes = this.payload.subarray(this.at, this.at + length);
    if (bytes.length < length) throw new Malformed('A head is cut short.');
    this.at += length;
    let text = '';
    for (const byte of bytes) text += String.fromCharCode(byte);
    return text;
  }

  /**
   * @param {number} most
   * @returns {Header[]}
   */
  headers(most) {
    const count = this.u16();
    if (count > most) throw new Malformed(`A head has ${count} headers; ${most} are allowed.`, Code.TOO_LARGE);
    /** @type {Header[]} */
    const headers = [];
    for (let index = 0; index < count; index += 1) {
      const name = this.text(this.u8());
      const value = this.text(this.u16());
      if (!NAME.test(name) || !VALUE.test(value)) {
        throw new Malformed('A head has a header that is cut short or not allowed.');
      }
      headers.push([name, value]);
    }
    if (this.at !== this.payload.length) throw new Malformed('A head has bytes after its last header.');
    return headers;
  }
}

/**
 * @param {Uint8Array} payload
 * @param {number} maxHeaders
 * @returns {RequestHead}
 */
export function decodeRequest(payload, maxHeaders) {
  const reader = new Reader(payload);
  const method = reader.text(reader.u8());
  const path = reader.text(reader.u16());
  const headers = reader.headers(maxHeaders);
  if (!METHOD.test(method) || !PATH.test(path)) {
    throw new Malformed('The head of a request has a method or a path that is not allowed.');
  }
  return { method, path, headers };
}

/**
 * @param {Uint8Array} payload
 * @param {number} maxHeaders
 * @returns {ResponseHead}
 */
export function decodeResponse(payload, maxHeaders) {
  const reader = new Reader(payload);
  const status = reader.u16();
  const headers = reader.headers(maxHeaders);
  if (status < 200 || status > 599) throw new Malformed(`${status} is not the status of a response.`);
  return { status, headers };
}

/**
 * @param {number[]} numbers
 * @param {string} [reason]
 */
function numbersAnd(numbers, reason = '') {
  let text = encoder.encode(reason);
  if (text.length > LONGEST_REASON) {
    // Cut at a character's border: a reason must stay valid UTF-8.
    let end = LONGEST_REASON;
    while ((text[end] & 0xc0) === 0x80) end -= 1;
    text = text.subarray(0, end);
  }
  const bytes = new Uint8Array(4 * numbers.length + text.length);
  const view = viewOf(bytes);
  numbers.forEach((number, index) => view.setUint32(4 * index, number));
  bytes.set(text, 4 * numbers.length);
  return bytes;
}

/** @param {Uint8Array} payload */
function decodeReason(payload) {
  // It ends in logs and on terminals: nothing in it may move a cursor or forge a line.
  return decoder.decode(payload.subarray(0, LONGEST_REASON)).replace(/[\p{C}\p{Z}]/gu, ' ');
}

/** @param {number} amount Bytes of body that may be sent in addition. */
export function encodeCredit(amount) {
  return numbersAnd([amount]);
}

/** @param {Uint8Array} payload */
export function decodeCredit(payload) {
  if (payload.length !== 4) throw new Malformed('CREDIT does not have four bytes.');
  const amount = viewOf(payload).getUint32(0);
  if (amount < 1 || amount > LARGEST_CREDIT) {
    throw new Malformed(`CREDIT has ${amount}; 1 to ${LARGEST_CREDIT} are allowed.`, Code.FLOW);
  }
  return amount;
}

/**
 * @param {number} code
 * @param {string} [reason]
 */
export function encodeReset(code, reason) {
  return numbersAnd([code], reason);
}

/**
 * Code (perhaps one that this version does not know) and reason.
 *
 * @param {Uint8Array} payload
 */
export function decodeReset(payload) {
  if (payload.length < 4) throw new Malformed('RESET is cut short.');
  return { code: viewOf(payload).getUint32(0), reason: decodeReason(payload.subarray(4)) };
}

/**
 * @param {number} code
 * @param {number} lastStream The highest stream of the receiver that was accepted.
 * @param {string} [reason]
 */
export function encodeGoAway(code, lastStream, reason) {
  return numbersAnd([code, lastStream], reason);
}

/** @param {Uint8Array} payload */
export function decodeGoAway(payload) {
  if (payload.length < 8) throw new Malformed('GO_AWAY is cut short.');
  const view = viewOf(payload);
  return { code: view.getUint32(0), lastStream: view.getUint32(4), reason: decodeReason(payload.subarray(8)) };
}
