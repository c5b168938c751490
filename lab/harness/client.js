'use strict';

// A client on one connection that is kept: it sends a request when it has the answer to the one before.

const { once } = require('node:events');
const net = require('node:net');

const { within } = require('./wait');

const CONNECT_WITHIN = 5000;
const ANSWER_WITHIN = 30_000;

const HEAD_END = '\r\n\r\n';

class Client {
  static async connect(port) {
    const socket = net.connect(port, '127.0.0.1');

    await within(once(socket, 'connect'), CONNECT_WITHIN, `a connection to port ${port}`);

    return new Client(socket);
  }

  constructor(socket) {
    this.socket = socket;
    this.expectAnswer();

    socket.setNoDelay(true);
    socket.setTimeout(ANSWER_WITHIN);
    socket.on('timeout', () => socket.destroy(new Error(`no answer in ${ANSWER_WITHIN} ms`)));
    socket.on('error', (error) => this.fail(error));
    socket.on('close', () => this.fail(new Error('nginx has closed the connection')));
    socket.on('data', (data) => this.receive(data));
  }

  // The answer to a request as it goes over the wire: its status and its body.
  request(text) {
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
      this.socket.write(text);
    });
  }

  async repeat(text, count) {
    for (let i = 0; i < count; i++) {
      const { status } = await this.request(text);

      if (status !== 200) {
        throw new Error(`status ${status}, and not 200`);
      }
    }
  }

  close() {
    this.waiting = undefined;
    this.socket.destroy();
  }

  receive(data) {
    this.chunks.push(data);
    this.size += data.length;

    // a large answer comes in many pieces: they are put together twice, and not each time
    this.answer ??= readHead(this.chunks);

    if (!this.answer || this.size < this.answer.end) {
      return;
    }

    const { status, start, end } = this.answer;
    const body = Buffer.concat(this.chunks).subarray(start, end);

    this.expectAnswer();
    this.settle(({ resolve }) => resolve({ status, body }));
  }

  expectAnswer() {
    this.chunks = [];
    this.size = 0;
    this.answer = undefined;
  }

  fail(error) {
    this.settle(({ reject }) => reject(error));
  }

  settle(how) {
    const { waiting } = this;

    this.waiting = undefined;

    if (waiting) {
      how(waiting);
    }
  }
}

// The status of an answer, and where its body starts and ends; nothing before all of the head is there.
function readHead(chunks) {
  const received = Buffer.concat(chunks);
  const headEnd = received.indexOf(HEAD_END);

  if (headEnd === -1) {
    return undefined;
  }

  const head = received.toString('latin1', 0, headEnd);
  const start = headEnd + HEAD_END.length;
  const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);

  return { status: Number(head.split(' ', 2)[1]), start, end: start + length };
}

// The bytes of a GET.
function get(path, headers = ['Host: localhost']) {
  return [`GET ${path} HTTP/1.1`, ...headers, '', ''].join('\r\n');
}

module.exports = { Client, get };
