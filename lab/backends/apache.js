'use strict';

const fs = require('node:fs');
const path = require('node:path');

const { debian } = require('../harness/fetch');

const TIMEOUT = 1000;

const MODULES = ['alias', 'headers'];

module.exports = {
  head,
  title: 'Apache httpd',
  timeout: TIMEOUT,
  fetch: (store) => debian(store, ['apache2-bin']),
  version: ({ root, env }) => [server(root), ['-v'], env],

  command({ fetched: { root, env }, port, directory }) {
    const configuration = path.join(directory, 'httpd.conf');
    const page = path.join(directory, 'page.txt');

    fs.writeFileSync(page, 'ok\n');
    fs.writeFileSync(configuration, `${head({ root, port, directory, modules: MODULES })}
KeepAlive On
KeepAliveTimeout ${TIMEOUT}ms

AliasMatch ^ ${page}
Header set X-Connection "expr=%{REMOTE_PORT}"

<Directory ${directory}>
    Require all granted
</Directory>
`);

    return { file: server(root), args: ['-f', configuration, '-D', 'FOREGROUND'], env };
  },
};

// What each configuration begins with.
function head({ root, port, directory, modules }) {
  const load = ['mpm_event', 'authz_core', ...modules].map((name) =>
    `LoadModule ${name}_module ${root}/usr/lib/apache2/modules/mod_${name}.so`);

  return `
${load.join('\n')}

ServerRoot ${directory}
ServerName localhost
Listen 127.0.0.1:${port}
PidFile httpd.pid
DefaultRuntimeDir ${directory}
ErrorLog error.log
User nobody
Group nogroup
`;
}

const server = (root) => path.join(root, 'usr/sbin/apache2');
