'use strict';

// Blocks nginx's worker, as a slow disk does: it writes a line of its access log to a FIFO that is full.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');

const { sleep, until } = require('./wait');

const ANSWER_WITHIN = 5000;
const GO_ON_WITHIN = 5000;
const BLOCK = Buffer.alloc(4096, '.');

class Stall {
  // The FIFO has to be open here before nginx opens it to write: that would wait for a reader.
  constructor(path) {
    execFileSync('mkfifo', [path]);
    this.fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
  }

  // Blocks the worker for so long; the port is of the server that logs to the FIFO.
  async once(port, milliseconds) {
    this.fill();
    await request(port);
    await sleep(milliseconds);
    await this.release();
  }

  // Byte by byte at the end: not even a short line must find room.
  fill() {
    for (const size of [BLOCK.length, 1]) {
      while (attempt(() => fs.writeSync(this.fd, BLOCK, 0, size)));
    }
  }

  // Makes room, and waits for the line that the worker was blocked with.
  async release() {
    const buffer = Buffer.alloc(16 * BLOCK.length);

    const line = () => {
      const size = attempt(() => fs.readSync(this.fd, buffer));
      return buffer.subarray(0, size).includes('\n');
    };

    await until(line, GO_ON_WITHIN, 'the stalled worker to go on');
  }

  // Without a reader, the worker's write fails and does not block.
  close() {
    fs.closeSync(this.fd);
  }
}

// The size that was read or written; 0 when the FIFO is empty or full.
function attempt(action) {
  try {
    return action();
  } catch (error) {
    if (error.code === 'EAGAIN') {
      return 0;
    }

    throw error;
  }
}

// The answer comes before the worker writes its log.
function request(port) {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, agent: false, timeout: ANSWER_WITHIN };

    const get = http.get(options, (response) => response.resume().on('end', resolve));

    get.on('timeout', () => get.destroy(new Error('the server to stall does not answer')));
    get.on('error', reject);
  });
}

module.exports = { Stall };
