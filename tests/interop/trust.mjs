// Reads tests/vectors/trust.json with WebCrypto as docs/protocol/trust.md says, sharing nothing with the Python code.
// Prints one line of JSON: the names of the checks that held.

import { readFileSync } from 'node:fs'
import { webcrypto } from 'node:crypto'
import assert from 'node:assert/strict'

const { subtle } = webcrypto
const utf8 = new TextEncoder()
const vectors = JSON.parse(readFileSync(process.argv[2], 'utf8'))

const fromHex = text => Uint8Array.from(text.match(/../g) ?? [], byte => parseInt(byte, 16))
const toHex = bytes => Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
const fromText = text => new Uint8Array(Buffer.from(text, 'base64url'))
const toText = bytes => Buffer.from(bytes).toString('base64url')
const join = (...parts) => new Uint8Array(Buffer.concat(parts.map(part => Buffer.from(part))))
const label = (use, purpose) => utf8.encode(`peerpouch-v1:${use}:${purpose}\0`)
const H = async (purpose, ...parts) =>
  new Uint8Array(await subtle.digest('SHA-256', join(label('hash', purpose), ...parts)))

function base32 (bytes, length) {
  let number = BigInt('0x' + toHex(bytes)) >> BigInt(8 * bytes.length - 5 * length)
  let text = ''
  for (let place = 0; place < length; place++) {
    text = '0123456789abcdefghjkmnpqrstvwxyz'[Number(number & 31n)] + text
    number >>= 5n
  }
  return text
}

function canonical (value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  return `{${Object.keys(value).sort().map(key => `${JSON.stringify(key)}:${canonical(value[key])}`).join(',')}}`
}

async function verify (key, purpose, payload, signature) {
  const imported = await subtle.importKey('raw', key, 'Ed25519', false, ['verify'])
  return subtle.verify('Ed25519', imported, signature, join(label('sign', purpose), payload))
}

// PKCS #8 around 32 raw bytes (RFC 8410).
const pkcs8 = (oid, raw) => join(fromHex(`302e020100300506032b65${oid}04220420`), raw)

async function open (privateKey, publicKey, box, purpose, associated) {
  const ephemeral = box.subarray(0, 32)
  const mine = await subtle.importKey('pkcs8', pkcs8('6e', privateKey), 'X25519', false, ['deriveBits'])
  const theirs = await subtle.importKey('raw', ephemeral, 'X25519', false, [])
  const shared = await subtle.deriveBits({ name: 'X25519', public: theirs }, mine, 256)
  const material = await subtle.importKey('raw', shared, 'HKDF', false, ['deriveBits'])
  const hkdf = { name: 'HKDF', hash: 'SHA-256', salt: join(ephemeral, publicKey), info: label('seal', purpose) }
  const derived = new Uint8Array(await subtle.deriveBits(hkdf, material, 8 * 44))
  const key = await subtle.importKey('raw', derived.subarray(0, 32), 'AES-GCM', false, ['decrypt'])
  const gcm = { name: 'AES-GCM', iv: derived.subarray(32), additionalData: associated }
  return new Uint8Array(await subtle.decrypt(gcm, key, box.subarray(32)))
}

async function publicOf (privateKey) {
  const key = await subtle.importKey('pkcs8', pkcs8('6e', privateKey), 'X25519', true, ['deriveBits'])
  return fromText((await subtle.exportKey('jwk', key)).x)
}

const checks = {
  base32 () {
    for (const { bytes, length, text } of vectors.base32) assert.equal(base32(fromHex(bytes), length), text)
  },
  canonical () {
    for (const { value, text } of vectors.canonical) assert.equal(canonical(value), text)
  },
  async identities () {
    for (const { public: key, text, fingerprint } of vectors.identities) {
      assert.equal(toText(fromHex(key)), text)
      assert.equal(base32(await H('fingerprint', fromHex(key)), 20).match(/..../g).join('-'), fingerprint)
    }
  },
  async signature () {
    const { purpose, payload, signature } = vectors.signature
    const key = fromHex(vectors.identities[0].public)
    assert.ok(await verify(key, purpose, fromHex(payload), fromHex(signature)))
    assert.ok(!(await verify(key, 'answer', fromHex(payload), fromHex(signature))))
  },
  async sessions () {
    for (const { private: secret, public: key, id } of vectors.sessions) {
      assert.equal(toHex(await publicOf(fromHex(secret))), key)
      assert.equal(base32(await H('session-id', fromHex(key)), 26), id)
    }
  },
  async sealed () {
    const { recipient, purpose, associated, content, box } = vectors.sealed
    const secret = fromHex(recipient)
    const opened = await open(secret, await publicOf(secret), fromHex(box), purpose, fromHex(associated))
    assert.equal(toHex(opened), content)
    await assert.rejects(open(secret, await publicOf(secret), fromHex(box), 'answer', fromHex(associated)))
  },
  async share () {
    const { document, database_uuid: uuid, signed } = vectors.share
    const key = fromText(document.key)
    const database = await H('database', key, utf8.encode(uuid))
    assert.equal(toText(database), document.database)
    assert.equal('share:' + base32(await H('share-id', key, database), 26), document._id)
    const fields = Object.entries(document).filter(([name]) => name !== 'signature' && !name.startsWith('_'))
    assert.equal(canonical(Object.fromEntries(fields)), signed)
    assert.ok(await verify(key, 'share', utf8.encode(signed), fromText(document.signature)))
  },
  async offer () {
    const { document, content, digest } = vectors.offer
    const secret = fromHex(vectors.share.session)
    const associated = utf8.encode(document._id)
    const opened = await open(secret, await publicOf(secret), fromText(document.offer), 'offer', associated)
    assert.equal(opened.length % 1024, 0)
    const payload = opened.subarray(64)
    assert.equal(new TextDecoder().decode(payload), content)
    assert.equal(toHex(await H('offer', opened)), digest)
    const offer = JSON.parse(content)
    assert.ok(await verify(fromText(offer.from.key), 'offer', payload, opened.subarray(0, 64)))
    assert.equal(document._id, `signal:${offer.to.session}:${offer.nonce}`)
  },
  async answers () {
    const secret = fromHex(vectors.offer.reply)
    const owner = fromText(vectors.share.document.key)
    for (const { document, content } of vectors.answers) {
      const associated = utf8.encode(document._id)
      const opened = await open(secret, await publicOf(secret), fromText(document.answer), 'answer', associated)
      assert.equal(new TextDecoder().decode(opened.subarray(64)), content)
      assert.ok(await verify(owner, 'answer', opened.subarray(64), opened.subarray(0, 64)))
      assert.equal(JSON.parse(content).offer, toText(fromHex(vectors.offer.digest)))
    }
  },
  async invite () {
    const { text, hub, share, fingerprint, token } = vectors.invite
    const bytes = fromText(text.slice('peerpouch:1:'.length))
    assert.equal(toHex((await H('invite', bytes.subarray(4))).subarray(0, 4)), toHex(bytes.subarray(0, 4)))
    const payload = JSON.parse(new TextDecoder().decode(bytes.subarray(4)))
    assert.deepEqual([payload.h, payload.s, payload.f, payload.t], [hub, share, fingerprint, toText(fromHex(token))])
  }
}

const held = []
for (const [name, check] of Object.entries(checks)) {
  await check()
  held.push(name)
}
console.log(JSON.stringify(held))
