'use strict';

// An nginx with a backend, and with as many idle connections to it as wanted.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const { join } = require('node:path');

const { Client, get } = require('../../harness/client');
const { startNode, stop } = require('../../harness/processes');
const { Proxy } = require('../../harness/proxy');
const { until } = require('../../harness/wait');
const { Remote } = require('./messages');

// How many connections to the backend a client of /fill asks for: nginx allows a request no more than 50 others.
const EACH = 50;

const FILL_WITHIN = 20_000;
const EXPIRE_WITHIN = 30;
const CONNECT_AT_ONCE = 100;

// milliseconds; to list many files takes some
const LOOK_EVERY = 50;

// Room for what a process has open besides.
const OTHER_FILES = 110;

let scenes = 0;

class Scene {
  // Connections are let go when they were idle for `keep` seconds, by the module or by stock nginx.
  static async make({ nginx, moduleFile, directory }, { withModule, upstreams = 1, keep, most }) {
    const scene = new Scene();

    scene.keep = keep;
    scene.filled = 0;
    scene.backend = startNode(join(__dirname, 'backend.js'), []);
    scene.remote = new Remote(scene.backend);

    const backend = `127.0.0.1:${await scene.remote.call('listen')}`;
    const idle = withModule
      ? `keepalive_timeout 1h; upstream_idle_timeout ${keep + 1}s margin=1s;`
      : `keepalive_timeout ${keep}s;`;
    const cached = Math.ceil(most / upstreams / EACH) * EACH;

    scene.proxy = new Proxy(nginx, join(directory, `nginx-${String(++scenes).padStart(3, '0')}`), __dirname);

    await scene.proxy.configure({
      moduleFile: withModule && moduleFile,
      clients: 0,
      // nginx closes idle clients when a sixteenth or less is free
      connections: 2 * (most + upstreams) + 512,
      upstreams_text: lines(upstreams, (i) => `    upstream u${i} {
        server ${backend};
        keepalive ${cached};
        keepalive_requests 1000000000;
        ${idle}
    }`),
      locations: [
        lines(upstreams, (i) => `        location = /u${i} { proxy_pass http://u${i}; }`),
        withModule ? '        location = /json { upstream_idle_status; }' : '',
        withModule ? '        location = /prometheus { upstream_idle_status prometheus; }' : '',
      ].join('\n'),
      mirrors: lines(EACH - 1, () => '            mirror /mirrored;'),
    });

    return scene;
  }

  // How nginx was started is the caller's affair.
  get pid() {
    return this.proxy.process.pid;
  }

  // Makes idle connections of the first upstream, until there are so many; and waits until clients are gone.
  async fill(count) {
    // what was opened or closed before is behind nginx when it has answered this
    const first = await Client.connect(this.proxy.port);
    await first.request(get('/nothing'));

    this.empty = this.openFiles() - this.filled - 1;

    const [path, wanted] = count < EACH ? ['/u0', count] : ['/fill', count / EACH];
    const clients = [first];

    while (clients.length < wanted) {
      const some = Math.min(CONNECT_AT_ONCE, wanted - clients.length);

      clients.push(...await Promise.all(Array.from({ length: some }, () => Client.connect(this.proxy.port))));
    }

    await this.remote.call('hold', count);
    await Promise.all(clients.map((client) => client.request(get(path))));

    // nginx reads this request when all that belongs to the one before is done
    await Promise.all(clients.map((client) => client.request(get('/nothing'))));

    clients.forEach((client) => client.close());

    this.filled = count;
    await until(() => this.openFiles() === this.empty + count, FILL_WITHIN, `${count} idle connections`);
  }

  // Waits until there are none.
  async expired() {
    const gone = () => this.openFiles() === this.empty;

    await until(gone, (this.keep + EXPIRE_WITHIN) * 1000, 'idle connections to be closed', LOOK_EVERY);
    this.filled = 0;
  }

  openFiles() {
    return fs.readdirSync(`/proc/${this.pid}/fd`).length;
  }

  async stop() {
    await this.proxy.stop();

    this.backend.kill('SIGCONT');
    await stop(this.backend);
  }
}

const lines = (count, line) => Array.from({ length: count }, (_, i) => line(i)).join('\n');

// How many of so many idle connections a process can have open here.
function possible(wanted) {
  const files = wanted + wanted / EACH + OTHER_FILES;

  if (openFilesLimit() < files) {
    try {
      // for the processes that are started here, too
      execFileSync('prlimit', [`--pid=${process.pid}`, `--nofile=${files}:${files}`], { stdio: 'ignore' });
    } catch {
      // then as many as there may be
    }
  }

  const limit = openFilesLimit();

  return { limit, count: Math.min(wanted, Math.floor((limit - OTHER_FILES) / (EACH + 1)) * EACH) };
}

function openFilesLimit() {
  const limit = /^Max open files\s+(\w+)/m.exec(fs.readFileSync('/proc/self/limits', 'utf8'))[1];

  return limit === 'unlimited' ? Infinity : Number(limit);
}

module.exports = { possible, Scene };
