'use strict';

// HAProxy has no age at which an idle connection to a server goes: each pool-purge-delay it closes half of those that
// it has too many of. With retry-on it sends a request again, whatever its method, when the server closes the
// connection without an answer.

const fs = require('node:fs');
const path = require('node:path');

const { debian } = require('../../harness/fetch');

module.exports = {
  title: 'HAProxy',
  fetch: (store) => debian(store, ['haproxy']),
  version: ({ root, env }) => [haproxy(root), ['-v'], env],

  settings: [
    { text: 'http-reuse safe (default)', reuse: 'safe' },
    { text: 'http-reuse always', reuse: 'always' },
    { text: 'always, pool-purge-delay 900ms', reuse: 'always', server: 'pool-purge-delay 900ms' },
    { text: 'always, retry-on empty-response', reuse: 'always', retry: 'retry-on conn-failure empty-response' },
  ],

  command({ fetched: { root, env }, port, directory, upstreams }) {
    const configuration = path.join(directory, 'haproxy.cfg');

    // one thread, as nginx has one worker; clients may wait for as long as they like
    fs.writeFileSync(configuration, `
global
    nbthread 1

defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 10s
    timeout http-keep-alive 75s

frontend clients
    bind 127.0.0.1:${port}
    use_backend %[req.hdr(host)]
${upstreams.map(backend).join('')}`);

    return { file: haproxy(root), args: ['-db', '-f', configuration], env };
  },
};

function backend({ name, address, setting }) {
  return `
backend ${name}
    http-reuse ${setting.reuse}
    ${setting.retry ?? ''}
    server s ${address} ${setting.server ?? ''}
`;
}

function haproxy(root) {
  return path.join(root, 'usr/sbin/haproxy');
}
