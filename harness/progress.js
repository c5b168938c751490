'use strict';

// A line that tells how far a run is: on a terminal it is kept up to date, elsewhere there is a new one now and then.

const terminal = process.stdout.isTTY;

const EVERY = terminal ? 200 : 3000;

class Progress {
  constructor(text) {
    this.text = text;
    this.timer = setInterval(() => this.show(), EVERY);
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
