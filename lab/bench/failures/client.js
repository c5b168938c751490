'use strict';

// A client: it sends POSTs one after another, and pauses between them.

const http = require('node:http');

const { send } = require('../../harness/load');
const { sleep } = require('../../harness/wait');

// Some proxies pass on what the backend tells of its connections, as if it were of theirs: no reason not to keep one.
class Agent extends http.Agent {
  constructor() {
    super({ keepAlive: true, maxSockets: 1 });
  }

  keepSocketAlive(socket) {
    socket.unref();
    return true;
  }
}

class Client {
  constructor(name, cell, port) {
    Object.assign(this, { name, cell, port });

    // to share a connection to the proxy would be to share the proxy's session
    this.agent = new Agent();
    this.sent = 0;
  }

  async run(end) {
    for (;;) {
      const pause = this.cell.kind.pause();

      if (performance.now() + pause >= end) {
        break;
      }

      await sleep(pause);
      await this.post();
    }

    this.agent.destroy();
  }

  async post() {
    const path = `/${this.name}/${++this.sent}`;
    const sentAt = performance.now();
    const chance = this.answeredAt !== undefined;

    try {
      const { statusCode, headers } = await send({ port: this.port, agent: this.agent, host: this.name, path });

      if (statusCode === 200) {
        this.answer(headers, chance);
      } else {
        this.fail({ path, at: Math.round(sentAt), how: `status ${statusCode}`, age: this.age(sentAt) }, chance);
      }
    } catch (error) {
      this.fail({ path, at: Math.round(sentAt), how: error.code ?? error.message, age: this.age(sentAt) }, chance);
    }
  }

  answer({ 'x-connection': connection, 'x-idle': age }, chance) {
    this.cell.answered({ chance, reused: connection === this.connection, age: Number(age) });
    this.connection = connection;
    this.answeredAt = performance.now();
  }

  fail(failure, chance) {
    this.cell.failed(failure, chance);
    this.connection = undefined;
    this.answeredAt = undefined;
  }

  // The idle age of a connection on which a request failed. A proxy that was blocked has sent it when it went on; the
  // backend's clock began when the answer before was still on its way, and went on while the request was.
  age(sentAt) {
    const { latency } = this.cell.kind;

    return latency ? sentAt - this.answeredAt + 2 * latency : performance.now() - this.answeredAt;
  }
}

module.exports = { Client };
