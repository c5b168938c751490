'use strict';

const path = require('node:path');

const { build, debian, glob } = require('../harness/fetch');

const TIMEOUT = 1000;

module.exports = {
  title: 'Go net/http',
  timeout: TIMEOUT,

  async fetch(store) {
    const { root } = await debian(store, ['golang-go']);
    const [goroot] = glob(root, 'usr/lib/go-*.*');
    const go = path.join(goroot, 'bin/go');
    const server = path.join(store, 'server');
    const env = { GOROOT: goroot, GOCACHE: path.join(store, 'cache'), GOTOOLCHAIN: 'local', CGO_ENABLED: '0' };

    await build(go, ['build', '-o', server, path.join(__dirname, 'apps/server.go')], env);

    return { go, env, server };
  },

  version: ({ go, env }) => [go, ['version'], env],

  command: ({ fetched, port }) => ({ file: fetched.server, args: [port, TIMEOUT] }),
};
