'use strict';

// A line that tells how far a run is: on a terminal it is kept up to date, elsewhere there is a new one now and then.

const terminal = process.stdout.isTTY;

const EVERY = terminal ? 200 : 3000;

class Progress {
  // A run that takes minutes may have fewer lines, `seconds` apart.
  constructor(text, seconds = 0) {
    this.text = text;
    this.timer = setInterval(() => this.show(), terminal ? EVERY : Math.max(EVERY, 1000 * seconds));
  }

  show() {
    process.stdout.write(terminal ? `\r${this.text()}` : `${this.text()}\n`);
  }

  stop() {
    clearInterval(this.timer);
    this.show();

    if (terminal) {
      process.stdout.write('\n');
    }
  }
}

module.exports = { Progress };
