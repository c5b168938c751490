'use strict';

// By how much timers are late here: what the machine does to this process, it does to its neighbours.

const EVERY = 10;
const TRIES = 3;

class Lag {
  constructor() {
    this.most = 0;
    this.due = performance.now() + EVERY;
    this.timer = setInterval(() => this.look(), EVERY);
  }

  look() {
    const now = performance.now();

    this.most = Math.max(this.most, now - this.due);
    this.due = now + EVERY;
  }

  stop() {
    clearInterval(this.timer);
  }
}

// What the action returns or throws, tried again when the machine stood still for too long: that has not shown what a
// backend does.
async function steadily(milliseconds, action) {
  for (let left = TRIES; ; left--) {
    const lag = new Lag();

    const [outcome] = await Promise.allSettled([action()]);

    lag.stop();

    if (lag.most <= milliseconds || left === 1) {
      if (outcome.status === 'rejected') {
        throw outcome.reason;
      }

      return outcome.value;
    }

    console.log(`  again: the machine stood still for ${Math.round(lag.most)} ms`);
  }
}

module.exports = { steadily };
