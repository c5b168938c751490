'use strict';

const fs = require('node:fs');
const path = require('node:path');

const { debian } = require('../harness/fetch');

const TIMEOUT = 1000;

module.exports = {
  title: 'Caddy',
  timeout: TIMEOUT,
  fetch: (store) => debian(store, ['caddy']),
  version: ({ root }) => [caddy(root), ['version']],

  command({ fetched: { root }, port, directory }) {
    const configuration = path.join(directory, 'Caddyfile');

    fs.writeFileSync(configuration, `{
	admin off
	servers {
		timeouts {
			idle ${TIMEOUT}ms
		}
	}
}

http://:${port} {
	bind 127.0.0.1
	header X-Connection {http.request.remote.port}
	respond ok
}
`);

    return run({ root, directory, configuration });
  },

  run,
};

// It keeps its own files in the directory.
function run({ root, directory, configuration }) {
  return {
    file: caddy(root),
    args: ['run', '--adapter', 'caddyfile', '--config', configuration],
    env: { HOME: directory, XDG_CONFIG_HOME: directory, XDG_DATA_HOME: directory },
  };
}

function caddy(root) {
  return path.join(root, 'usr/bin/caddy');
}
