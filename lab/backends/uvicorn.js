'use strict';

const path = require('node:path');

const { pypi } = require('../harness/fetch');

const TIMEOUT = 1000;

module.exports = {
  title: 'uvicorn',
  timeout: TIMEOUT,
  fetch: (store) => pypi(store, { uvicorn: '0.54.0' }),
  version: ({ packages }) => packages.uvicorn,

  command: ({ fetched, port }) => ({
    file: path.join(fetched.bin, 'uvicorn'),
    args: [
      '--host', '127.0.0.1', '--port', port,
      '--timeout-keep-alive', TIMEOUT / 1000,
      '--no-access-log', '--log-level', 'warning',
      '--app-dir', path.join(__dirname, 'apps'),
      'asgi:answer',
    ],
    env: { PYTHONDONTWRITEBYTECODE: '1' },
  }),
};
