'use strict';

// By how much timers are late here: what the machine does to this process, it does to its neighbours.

const EVERY = 10;

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

module.exports = { Lag };
