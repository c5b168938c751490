'use strict';

// The backends, and the links to them.

const { once } = require('node:events');
const path = require('node:path');

const { startNode, stop } = require('../../harness/processes');
const { within } = require('../../harness/wait');
const { LATENCIES, TIMEOUT } = require('./classes');

const START_WITHIN = 10_000;
const ANSWER_WITHIN = 10_000;

class Backends {
  async start() {
    this.calm = await start('backend.js', [TIMEOUT]);
    this.busy = await start('backend.js', [TIMEOUT, 'busy']);
    this.relay = await start('relay.js', [this.calm.close, ...LATENCIES]);
  }

  // Where requests of a class go.
  address({ backend, latency }) {
    const { calm, busy, relay } = this;
    const ports = { close: calm.close, reset: calm.reset, busy: busy.close };

    return `127.0.0.1:${latency ? relay.ports[LATENCIES.indexOf(latency)] : ports[backend]}`;
  }

  // What they have to tell in the end: how often they had each client's POSTs, and how late they were.
  async ask() {
    const [calm, busy, relay] = await Promise.all([this.calm, this.busy, this.relay].map(({ child }) => ask(child)));

    return {
      clients: { ...calm.clients, ...busy.clients },
      lateness: {
        'event loop of the backend': calm.lag,
        'closing by the backend': calm.late,
        'closing by the busy backend': busy.late,
        'event loop of the relay': relay.lag,
      },
    };
  }

  async stop() {
    for (const { child } of [this.relay, this.calm, this.busy]) {
      await stop(child);
    }
  }
}

async function start(file, args) {
  const child = startNode(path.join(__dirname, file), args);
  const [ports] = await within(once(child, 'message'), START_WITHIN, `${file} to listen`);

  return { child, ...ports };
}

async function ask(child) {
  const answer = within(once(child, 'message'), ANSWER_WITHIN, 'it to tell what it has seen');

  child.send('?');

  return (await answer)[0];
}

module.exports = { Backends };
