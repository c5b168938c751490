'use strict';

const path = require('node:path');

const { npm } = require('../harness/fetch');

const TIMEOUT = 1000;
const VERSION = '12.5.1';

module.exports = {
  title: 'NestJS',
  timeout: TIMEOUT,

  fetch: (store) => npm(store, {
    '@nestjs/common': VERSION,
    '@nestjs/core': VERSION,
    '@nestjs/platform-express': VERSION,
    'reflect-metadata': '0.2.2',
    'rxjs': '7.8.2',
  }),

  version: () => `${VERSION}, Node.js ${process.versions.node}`,

  command: ({ fetched, port }) => ({
    file: process.execPath,
    args: [path.join(__dirname, 'apps/nestjs.js'), port, TIMEOUT],
    env: { NODE_PATH: fetched.NODE_PATH },
  }),
};
