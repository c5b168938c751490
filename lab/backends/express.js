'use strict';

const path = require('node:path');

const { npm } = require('../harness/fetch');

const TIMEOUT = 1000;

module.exports = {
  title: 'Express',
  timeout: TIMEOUT,
  fetch: (store) => npm(store, { express: '5.3.0' }),
  version: ({ packages }) => `${packages.express}, Node.js ${process.versions.node}`,

  command: ({ fetched, port }) => ({
    file: process.execPath,
    args: [path.join(__dirname, 'apps/express.js'), port, TIMEOUT],
    env: { NODE_PATH: fetched.NODE_PATH },
  }),
};
