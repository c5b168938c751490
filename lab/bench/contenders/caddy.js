'use strict';

// Caddy's reverse_proxy, which is made of Go's net/http.

const fs = require('node:fs');
const path = require('node:path');

const server = require('../../backends/caddy');

module.exports = {
  title: 'Caddy',
  fetch: server.fetch,
  version: server.version,

  settings: [
    { text: 'default: keepalive 2m', directive: '' },
    { text: 'keepalive 900ms', directive: 'keepalive 900ms' },
  ],

  command({ fetched: { root }, port, directory, upstreams }) {
    const configuration = path.join(directory, 'Caddyfile');

    fs.writeFileSync(configuration, `{
	admin off
	log {
		level ERROR
	}
}

http://:${port} {
	bind 127.0.0.1
${upstreams.map(route).join('')}}
`);

    return server.run({ root, directory, configuration });
  },
};

function route({ name, address, setting }) {
  return `
	handle /${name}/* {
		reverse_proxy ${address} {
			transport http {
				${setting.directive}
			}
		}
	}
`;
}
