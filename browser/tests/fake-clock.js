/** A clock that stands still until a test turns it. */

/** Calls of WebCrypto under way: they run on threads, so a few turns of the event loop say nothing about them. */
let ciphering = 0;
for (const name of ['digest', 'sign', 'verify', 'encrypt', 'decrypt', 'deriveBits', 'generateKey', 'importKey', 'exportKey']) {
  const real = crypto.subtle[name];
  crypto.subtle[name] = async function (...args) {
    ciphering++;
    try {
      return await real.apply(this, args);
    } finally {
      ciphering--;
    }
  };
}

/** Let everything run that can: until no cryptography is under way for some turns of the event loop. */
export async function settle(turns = 6) {
  for (let quiet = 0; quiet < turns; quiet++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (ciphering) quiet = -1;
  }
}

/** Wait until a condition holds; fails after some seconds. */
export async function until(condition, ms = 20000) {
  const ends = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > ends) throw new Error(`It never held: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

export const START = 1_700_000_000_000;

export class FakeClock {
  #monotonic = 1_000_000;
  #offset;
  #timers = new Set();

  constructor(now = START) {
    this.#offset = now - this.#monotonic;
  }

  now() {
    return this.#monotonic + this.#offset;
  }

  monotonic() {
    return this.#monotonic;
  }

  timer(ms, fn) {
    const timer = { at: this.#monotonic + ms, fn };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** How many timers wait: a test that leaves some has found a leak. */
  get pending() {
    return this.#timers.size;
  }

  /** Move the wall clock alone. */
  drift(ms) {
    this.#offset += ms;
  }

  /** Let time pass; who waits is called when its time has come, and not later. */
  async advance(ms) {
    const target = this.#monotonic + ms;
    await settle();
    for (;;) {
      const due = [...this.#timers].filter((timer) => timer.at <= target).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due);
      this.#monotonic = Math.max(this.#monotonic, due.at);
      due.fn();
      await settle();
    }
    this.#monotonic = target;
    await settle();
  }
}
