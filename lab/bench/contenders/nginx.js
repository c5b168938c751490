'use strict';

// nginx as it is, with POSTs that are repeated, and with the module: each is a process of its own.

const { execFileSync } = require('node:child_process');
const path = require('node:path');

const { Proxy } = require('../../harness/proxy');
const { Stall } = require('../../harness/stall');

const STOCK = {
  name: 'stock',
  title: 'nginx',

  settings: [
    { text: 'keepalive_timeout 60s', idle: 'keepalive_timeout 60s' },
    { text: 'keepalive_timeout 1s', idle: 'keepalive_timeout 1s' },
    { text: 'keepalive_timeout 900ms', idle: 'keepalive_timeout 900ms' },
    { text: 'keepalive_timeout 750ms', idle: 'keepalive_timeout 750ms' },
    { text: 'keepalive_timeout 500ms', idle: 'keepalive_timeout 500ms' },
  ],
};

// It sends a POST again when the connection fails, which it does by default for methods that allow it.
const REPEATING = {
  name: 'repeating',
  title: 'nginx',
  http: 'proxy_next_upstream error timeout non_idempotent;',
  settings: [{ text: 'keepalive_timeout 60s, non_idempotent', idle: 'keepalive_timeout 60s' }],
};

// No reuse may fail in the classes of a promise; there are to be so many, or such a share of what an oracle has.
const WITH_MODULE = {
  name: 'module',
  title: 'nginx with the module',
  withModule: true,

  settings: [
    {
      text: '1s margin=50ms',
      idle: 'upstream_idle_timeout 1s margin=50ms',
      promise: { classes: ['quiet'], share: 0.93 },
    },
    {
      text: '1s margin=100ms',
      idle: 'upstream_idle_timeout 1s margin=100ms',
      promise: { classes: ['quiet', 'blocked', '20 ms'], reuses: 1000 },
    },
    { text: '1s margin=250ms', idle: 'upstream_idle_timeout 1s margin=250ms' },
    // the backend tells its timeout
    { text: 'auto margin=100ms', idle: 'upstream_idle_timeout auto margin=100ms; keepalive_timeout 60s' },
  ],
};

// What runs one of them, in the way that Server runs others.
class Nginx {
  constructor({ withModule, http }, { nginx, moduleFile, directory }) {
    this.proxy = new Proxy(nginx, directory);
    this.moduleFile = withModule && moduleFile;
    this.http = http;
  }

  async start({ upstreams }) {
    await this.proxy.configure({
      moduleFile: this.moduleFile,
      http: this.http,
      upstreams: upstreams.map(({ name, address, setting }) => ({ name, backend: address, idle: setting.idle })),
    });

    this.stall = new Stall(this.proxy.file('stall.fifo'));
    await this.proxy.start();

    this.port = this.proxy.port;
    this.ended = this.proxy.ended;
  }

  // Blocks the worker for so long.
  block(milliseconds) {
    return this.stall.once(this.proxy.stallPort, milliseconds);
  }

  async stop() {
    this.stall?.close();
    await this.proxy.stop();
  }

  staleReuses() {
    return this.proxy.staleReuses();
  }
}

function version(nginx) {
  // it tells on standard error
  return /nginx\/(\S+)/.exec(execFileSync('sh', ['-c', '"$1" -v 2>&1', 'sh', path.resolve(nginx)]))[1];
}

module.exports = { KINDS: [STOCK, REPEATING, WITH_MODULE], Nginx, version };
