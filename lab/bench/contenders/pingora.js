'use strict';

// Pingora is a library. The proxy that is made of it here has one thread, as nginx has one worker.

const fs = require('node:fs');
const path = require('node:path');

const { compile, debian } = require('../../harness/fetch');

const SOURCE = path.join(__dirname, 'pingora');

module.exports = {
  title: 'Pingora',

  settings: [
    { text: 'default: any time' },
    { text: 'idle_timeout 900ms', milliseconds: 900 },
  ],

  async fetch(store) {
    // one of its crates is built with it
    const { root, env } = await debian(path.join(store, 'cmake'), ['cmake']);

    await compile('cargo', [
      'build', '--release', '--locked', '--manifest-path', path.join(SOURCE, 'Cargo.toml'),
      '--target-dir', path.join(store, 'cargo'),
    ], { CMAKE: path.join(root, 'usr/bin/cmake'), ...env });

    return { binary: binary(store) };
  },

  takesLong: (store) => !fs.existsSync(binary(store)),

  version() {
    const lock = fs.readFileSync(path.join(SOURCE, 'Cargo.lock'), 'utf8');

    return /name = "pingora-proxy"\nversion = "(.*)"/.exec(lock)[1];
  },

  command({ fetched, port, directory, upstreams }) {
    const file = path.join(directory, 'upstreams');
    const lines = upstreams.map(({ name, address, setting }) => `${name} ${address} ${setting.milliseconds ?? '-'}\n`);

    fs.writeFileSync(file, lines.join(''));

    return { file: fetched.binary, args: [port, file] };
  },
};

function binary(store) {
  return path.join(store, 'cargo/release/pingora-contender');
}
