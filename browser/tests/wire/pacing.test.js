import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { limits } from '../../src/wire/limits.js';
import { Pacer } from '../../src/wire/pacing.js';

const runs = JSON.parse(readFileSync(new URL('../../../tests/vectors/pacing.json', import.meta.url), 'utf8'));

/** Seconds are milliseconds here, which rounds: a byte more or less is the same. */
function near(got, expected) {
  if (got === null || expected === null) return got === expected;
  return Math.abs(got - expected) <= 2 + 1e-6 * Math.abs(expected);
}

for (const { round_trip: roundTrip, steps } of runs) {
  test(`over the recorded line of ${roundTrip * 1000} ms a pacer says what Python's says`, () => {
    const pacer = new Pacer();
    pacer.roundTrip = roundTrip * 1000;
    steps.forEach(([call, ...values], step) => {
      const where = `step ${step}: ${call} ${values}`;
      if (call === 'sent') {
        pacer.sent(values[0]);
      } else if (call === 'room') {
        const [now, buffered, room, low] = values;
        assert.ok(near(pacer.room(now * 1000, buffered), room), where);
        assert.ok(near(pacer.low, low), where);
      } else if (call === 'asks') {
        assert.equal(pacer.asks(values[0] * 1000), values[1], where);
      } else {
        const [now, took, mark, rate] = values;
        pacer.answered(now * 1000, took * 1000);
        assert.ok(near(pacer.mark, mark), where);
        assert.ok(near(pacer.rate === null ? null : pacer.rate * 1000, rate), where);
      }
    });
  });
}

/** The longest queue, in milliseconds of a line that carries so many bytes in each, and what it carried of what it could. */
function driven(pacer, rate, roundTrip) {
  const answers = [];
  const lasts = 3000;
  let [queued, longest, carried] = [0, 0, 0];
  pacer.roundTrip = roundTrip;
  for (let now = 1; now <= lasts; now += 1) {
    for (let room = pacer.room(now, queued); room; room = pacer.room(now, queued)) {
      pacer.sent(room);
      if (now > lasts / 2) longest = Math.max(longest, queued);
      queued += room;
    }
    if (pacer.asks(now)) answers.push({ at: now + queued / rate + roundTrip, asked: now });
    carried += Math.min(queued, rate);
    queued = Math.max(0, queued - rate);
    while (answers.length && answers[0].at <= now + 1) pacer.answered(now + 1, now + 1 - answers.shift().asked);
  }
  return { delay: longest / rate, used: carried / rate / lasts };
}

test('the queue in front of the engine is short, and full enough, on slow paths and on fast ones', () => {
  for (const [rate, roundTrip] of [[125, 20], [1250, 50], [12_500, 50], [12_500, 1]]) {
    const { delay, used } = driven(new Pacer(), rate, roundTrip);
    assert.ok(delay <= 50 && used > 0.9, `${rate} ${roundTrip}: ${delay} ms, ${used}`);
  }
});

test('fewer pings go than the other side takes', () => {
  let asked = 0;
  class Counted extends Pacer {
    asks(now) {
      const asks = super.asks(now);
      if (asks) asked += 1;
      return asks;
    }
  }
  driven(new Counted(), 60_000, 1);
  assert.ok(asked >= 20 && asked <= 20 + 3 * 5 + 1 && asked < limits().pingBurst, String(asked));
});
