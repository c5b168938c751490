'use strict';

// Apache httpd with mod_proxy. Each ProxyPass has a pool of connections of its own; ttl has whole seconds only.

const fs = require('node:fs');
const path = require('node:path');

const server = require('../../backends/apache');

module.exports = {
  title: 'Apache httpd',
  fetch: server.fetch,
  version: server.version,

  settings: [
    { text: 'default: any time', directive: '' },
    { text: 'ttl=1', directive: 'ttl=1' },
  ],

  command({ fetched: { root, env }, port, directory, upstreams }) {
    const configuration = path.join(directory, 'httpd.conf');
    const modules = ['proxy', 'proxy_http'];

    const passes = upstreams.map(({ name, address, setting }) =>
      `ProxyPass /${name}/ http://${address}/${name}/ ${setting.directive}\n`);

    // one process, since each has pools of its own, and clients that may wait for as long as they like
    fs.writeFileSync(configuration, `${server.head({ root, port, directory, modules })}
ServerLimit 1
StartServers 1
ThreadsPerChild 64
MaxRequestWorkers 64
KeepAliveTimeout 75
MaxKeepAliveRequests 0
LogLevel crit

${passes.join('')}`);

    return { file: path.join(root, 'usr/sbin/apache2'), args: ['-f', configuration, '-D', 'FOREGROUND'], env };
  },
};
