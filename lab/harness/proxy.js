'use strict';

// nginx: its configuration, its start and end, and what it says of failures.

const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');

const { startProgram, stop } = require('./processes');
const { until } = require('./wait');

const START_WITHIN = 10_000;

// A request that went out on a connection which the backend closed.
const STALE_REUSE = /(?:reset by peer|Broken pipe|prematurely closed).*request: "POST (\S+) /;

class Proxy {
  // Its nginx.conf is a template in the folder `templates`: that of this folder can block its worker.
  constructor(binary, directory, templates = __dirname) {
    this.binary = path.resolve(binary);
    this.directory = directory;
    this.templates = templates;

    fs.mkdirSync(directory, { recursive: true });
  }

  // Each of the `upstreams` has a `name`, its `backend` as an address, and in `idle` the directive on idle connections.
  // Where they are not given there are as many as `clients`, all alike. `http` is a directive that holds for all.
  // Stock nginx has no `moduleFile`. The template may have further values.
  async configure({ moduleFile, backend, idle, clients, upstreams, http = '', ...values }) {
    [this.port, this.stallPort] = await freePorts(2);

    const main = fill(path.join(this.templates, 'nginx.conf'), {
      ...values,
      backend,
      idle,
      load_module: moduleFile ? `load_module ${path.resolve(moduleFile)};` : '',
      port: this.port,
      stall_port: this.stallPort,
    });

    const blocks = (upstreams ?? alike({ backend, idle, clients }))
      .map((upstream) => fill(path.join(__dirname, 'upstream.conf'), upstream));

    fs.writeFileSync(this.file('nginx.conf'), main);
    fs.writeFileSync(this.file('upstreams.conf'), [http, ...blocks].join('\n'));
  }

  // A wrapper is a command that runs nginx in its own process, such as valgrind with its options.
  async start(wrapper = []) {
    const own = [this.binary, '-p', `${this.directory}/`, '-c', 'nginx.conf', '-e', 'error.log'];
    const [file, ...args] = [...wrapper, ...own];

    this.process = startProgram(file, args);

    // an error for those who need nginx; nobody does when it is stopped
    this.ended = this.process.ended.then((how) => {
      throw new Error(`nginx has ended (${how})\n${this.process.output}`.trim());
    });
    this.ended.catch(() => {});

    await Promise.race([until(() => accepts(this.port), START_WITHIN, 'nginx to listen'), this.ended]);
  }

  async stop() {
    await stop(this.process);
  }

  // The paths of the POSTs that failed because the backend closed the connection.
  staleReuses() {
    const lines = fs.readFileSync(this.file('error.log'), 'utf8').split('\n');

    return new Set(lines.map((line) => STALE_REUSE.exec(line)?.[1]));
  }

  file(name) {
    return path.join(this.directory, name);
  }
}

const alike = ({ backend, idle, clients }) =>
  Array.from({ length: clients }, (_, i) => ({ name: `u${i}`, backend, idle }));

// The text of a template with its values.
function fill(template, values) {
  const text = fs.readFileSync(template, 'utf8');

  return text.replace(/@(\w+)@/g, (_, name) => values[name]);
}

// All are taken before one is given back, or the same port could come twice.
async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, listen));
  const ports = servers.map((server) => server.address().port);

  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));

  return ports;
}

function listen() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject);

    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });

    socket.on('error', () => resolve(false));
  });
}

module.exports = { accepts, fill, freePorts, Proxy };
