'use strict';

// Counts the instructions of an nginx that runs under callgrind, from one moment to the next.

const fs = require('node:fs');

const { until } = require('./wait');

const WRITE_WITHIN = 60_000;

// nginx calls this when SIGUSR1 tells it to open its logs anew. It is a global symbol, so a stripped nginx has it too.
const MARK = 'ngx_reopen_files';

class Callgrind {
  constructor(proxy) {
    this.proxy = proxy;
    this.file = proxy.file('callgrind');
    this.dumps = 0;
  }

  async start() {
    await this.proxy.start([
      'valgrind', '--tool=callgrind', `--callgrind-out-file=${this.file}`, `--dump-before=${MARK}`,
    ]);

    // from here on, what opening the logs takes is known
    await this.dump();
    this.overhead = await this.dump();
  }

  // The instructions since the last time.
  async instructions() {
    return await this.dump() - this.overhead;
  }

  async dump() {
    const file = `${this.file}.${++this.dumps}`;

    // while nginx handles a signal, it does not look whether another has come
    await until(() => isAsleep(this.proxy.process.pid), WRITE_WITHIN, 'nginx to wait for events');
    this.proxy.process.kill('SIGUSR1');

    const total = await Promise.race([until(() => readTotal(file), WRITE_WITHIN, file), this.proxy.ended]);
    fs.unlinkSync(file);

    return total;
  }
}

function isAsleep(pid) {
  return /\) S /.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'));
}

// The line with the total is the last one.
function readTotal(file) {
  try {
    return Number(/^totals: (\d+)\n/m.exec(fs.readFileSync(file, 'utf8'))?.[1]);
  } catch (error) {
    if (error.code === 'ENOENT') {
      return undefined;
    }

    throw error;
  }
}

module.exports = { Callgrind };
