'use strict';

const path = require('node:path');

const TIMEOUT = 1000;

module.exports = {
  title: 'Node.js http',
  timeout: TIMEOUT,
  fetch: () => ({}),
  version: () => process.versions.node,

  command: ({ port }) => ({
    file: process.execPath,
    args: [path.join(__dirname, 'apps/node.js'), port, TIMEOUT],
  }),
};
