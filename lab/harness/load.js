'use strict';

// The clients: each sends POSTs one after another, and pauses between them.

const http = require('node:http');

const { sleep } = require('./wait');

const ANSWER_WITHIN = 10_000;
const BODY = 'not to be sent twice';

class Load {
  constructor({ port, clients, milliseconds, posts, pause }) {
    Object.assign(this, { port, clients, milliseconds, posts, pause });

    this.agent = new http.Agent({ keepAlive: true });
    this.requests = 0;
    this.reused = 0;
    // the paths of the POSTs that were answered 502
    this.bad = [];
    // whatever else went wrong
    this.errors = [];
  }

  async run() {
    this.end = Date.now() + this.milliseconds;

    await Promise.all(Array.from({ length: this.clients }, (_, i) => this.client(`u${i}`)));
    this.agent.destroy();
  }

  async client(upstream) {
    let connection;

    for (let i = 0; i < this.posts; i++) {
      const pause = this.pause();

      if (Date.now() + pause >= this.end) {
        return;
      }

      await sleep(pause);
      connection = await this.post(upstream, connection);
    }
  }

  // Takes and returns the connection to the backend: that of the POST before, and that of this one.
  async post(upstream, previous) {
    // every POST has a path of its own, by which it is found in nginx's error log
    const path = `/${++this.requests}`;

    try {
      const response = await send({ port: this.port, agent: this.agent, host: upstream, path });
      const connection = response.headers['x-connection'];

      this.count(path, response.statusCode, connection !== undefined && connection === previous);

      return connection;
    } catch (error) {
      this.errors.push(`POST ${path}: ${error.message}`);
    }
  }

  count(path, status, reused) {
    if (status === 502) {
      this.bad.push(path);
    } else if (status !== 200) {
      this.errors.push(`POST ${path}: status ${status}`);
    } else if (reused) {
      this.reused++;
    }
  }

  // A 502 counts only if nginx says that the backend closed the connection on which the request went out.
  results(staleReuses) {
    const strange = this.bad
      .filter((path) => !staleReuses.has(path))
      .map((path) => `POST ${path}: status 502, but not of a connection that the backend closed`);

    const errors = [...this.errors, ...strange];

    if (errors.length > 0) {
      throw new Error(`${errors.length} POSTs failed in a way that they should not; ${errors[0]}`);
    }

    const bad = this.bad.length;

    return { requests: this.requests, reused: this.reused + bad, bad };
  }
}

// Resolves to the response when all of it has come.
function send({ port, agent, host, path }) {
  const options = {
    host: '127.0.0.1',
    port,
    agent,
    method: 'POST',
    path,
    headers: { Host: host, 'Content-Length': BODY.length },
    timeout: ANSWER_WITHIN,
  };

  return new Promise((resolve, reject) => {
    const request = http.request(options, (response) => {
      response.resume();
      response.on('end', () => resolve(response));
      response.on('error', reject);
    });

    request.on('timeout', () => request.destroy(new Error(`no answer in ${ANSWER_WITHIN} ms`)));
    request.on('error', reject);
    request.end(BODY);
  });
}

module.exports = { Load, send };
