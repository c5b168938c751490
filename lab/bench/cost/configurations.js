'use strict';

// The configurations of nginx that are compared, and how one is started.

const path = require('node:path');

const { Proxy } = require('../../harness/proxy');
const { JSON_BODY } = require('./requests');

// nginx's own default
const DEFAULT = 'keepalive_timeout 60s';
const EVERYTHING = 'upstream_idle_timeout 5s margin=1s hint=on probe=0 non_idempotent=1s';

// Each is compared with the first.
const CONFIGURATIONS = [
  { name: 'stock' },
  { name: 'unused', withModule: true },
  { name: 'defaults', withModule: true, idle: 'upstream_idle_timeout 5s' },
  { name: 'everything', withModule: true, idle: EVERYTHING },
];

// The combined log and three variables more: those of the module stand beside three of nginx's own.
const LOGGING = [
  {
    name: 'stock, 3 variables logged',
    variables: '$upstream_addr $upstream_response_time $upstream_status',
  },
  {
    name: 'everything, 3 variables logged',
    withModule: true,
    idle: EVERYTHING,
    variables: '$upstream_reused $upstream_idle_time $upstream_reuse_outcome',
  },
];

const logFormat = (variables) => `
    log_format more '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
                    '"$http_referer" "$http_user_agent" ${variables}';
`;

class Setup {
  constructor({ nginx, moduleFile, directory }) {
    Object.assign(this, { nginx, moduleFile, directory });
    this.count = 0;
  }

  async startBackend(wrapper) {
    this.backend = new Proxy(this.nginx, path.join(this.directory, 'backend'), path.join(__dirname, 'backend'));

    await this.backend.configure({ clients: 0, json: JSON_BODY });
    await this.backend.start(wrapper);
  }

  // An nginx that is configured, and has yet to be started.
  async proxy({ withModule, idle = DEFAULT, variables }, request, padding = '') {
    const number = String(++this.count).padStart(3, '0');
    const proxy = new Proxy(this.nginx, path.join(this.directory, `nginx-${number}${padding}`), __dirname);

    await proxy.configure({
      moduleFile: withModule && this.moduleFile,
      // a variable that is named costs something in every request
      log_format: variables ? logFormat(variables) : '',
      log: variables ? 'access.log more' : request.log,
      backend: `127.0.0.1:${this.backend.port}`,
      idle,
      clients: 0,
    });

    return proxy;
  }
}

module.exports = { CONFIGURATIONS, LOGGING, Setup };
