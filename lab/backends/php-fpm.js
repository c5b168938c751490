'use strict';

// PHP-FPM has no timeout for idle connections: a worker serves one connection until nginx closes it. Meanwhile it counts
// as idle, so with pm = ondemand or dynamic no other is started in its place, and new connections wait for ever;
// pm.process_idle_timeout does not end it either. So the workers are static here, and more than there are connections.

const fs = require('node:fs');
const path = require('node:path');

const { debian, glob } = require('../harness/fetch');

const WORKERS = 64;

module.exports = {
  title: 'PHP-FPM (FastCGI)',
  fastcgi: true,
  clients: WORKERS / 2,
  script: () => path.join(__dirname, 'apps/answer.php'),
  fetch: (store) => debian(store, ['php-fpm']),
  version: ({ root, env }) => [fpm(root), ['-n', '-v'], env],

  command({ fetched: { root, env }, port, directory }) {
    const configuration = path.join(directory, 'php-fpm.conf');

    fs.writeFileSync(configuration, `
[global]
daemonize = no
error_log = ${directory}/error.log

[www]
user = nobody
group = nogroup
listen = 127.0.0.1:${port}
pm = static
pm.max_children = ${WORKERS}
`);

    return { file: fpm(root), args: ['-n', '-F', '-y', configuration], env };
  },
};

const fpm = (root) => glob(root, 'usr/sbin/php-fpm*')[0];
