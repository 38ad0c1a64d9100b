import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { PatternError, compilePattern } from '../../src/access/patterns.js';
import { collate, compareIds, compileFields, compileSelector } from '../../src/access/selector.js';

const vectors = JSON.parse(readFileSync(new URL('../../../tests/vectors/selectors.json', import.meta.url), 'utf8'));

test('it matches what the Python side matches', () => {
  assert.ok(vectors.matching.length > 300);
  for (const { selector, docs, matches } of vectors.matching) {
    assert.deepEqual(docs.map(compileSelector(selector)), matches, JSON.stringify(selector));
  }
});

test('it refuses what the Python side refuses', () => {
  for (const selector of vectors.refused) {
    assert.throws(() => compileSelector(selector), { error: 'invalid_selector' }, JSON.stringify(selector));
  }
});

test('regular expressions are those of RE2', () => {
  for (const { source, texts, matches } of vectors.patterns) {
    assert.deepEqual(texts.map(compilePattern(source)), matches, `${source} on ${JSON.stringify(texts).slice(0, 200)}`);
  }
  for (const source of vectors.refused_patterns) assert.throws(() => compilePattern(source), PatternError, source);
});

test('projections keep the nesting and never change the document', () => {
  const { doc, cases } = vectors.projections;
  const before = structuredClone(doc);
  for (const { fields, result } of cases) assert.deepEqual(compileFields(fields)(doc), result, JSON.stringify(fields));
  assert.deepEqual(doc, before);
});

test('depth and size are bounded', () => {
  let deep = { a: 1 };
  for (let n = 0; n < 65; n++) deep = { $not: deep };
  assert.throws(() => compileSelector(deep), /nests deeper/);
  assert.throws(() => compileSelector({ ['a.'.repeat(500) + 'a']: 1 }), /parts/);
  assert.throws(() => compileSelector({ $or: Array.from({ length: 10_001 }, (_, a) => ({ a })) }), /conditions/);
  assert.throws(() => compilePattern('a'.repeat(4097)), /characters/);
  assert.throws(() => compilePattern('\ud800'), /surrogate/);
  assert.throws(() => compilePattern('(a{1000}b{1000}c{1000}d{1000}){5}'.repeat(2)), PatternError);
});

test('an expression that JavaScript would try for ever ends, and one that is too costly is an error', () => {
  // JavaScript's own engine doubles its time with each character of this; 30 are minutes.
  assert.equal(compileSelector({ a: { $regex: '^(a|a)*$' } })({ a: 'a'.repeat(50_000) + '!' }), false);
  const match = compileSelector({ a: { $regex: '([ab]{500}){2}c' } });
  assert.throws(() => match({ a: 'ab'.repeat(100_000) }), /too costly/);
});

test('ids compare by their code points, other texts by their UTF-16 units', () => {
  assert.ok(compareIds('\uffff', '😀') < 0);
  assert.ok(collate('\uffff', '😀') > 0);
  assert.deepEqual(['b', '😀', '\uffff', '', 'ab', '\ue000'].sort(compareIds), [
    '',
    'ab',
    'b',
    '\ue000',
    '\uffff',
    '😀',
  ]);
});
