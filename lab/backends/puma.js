'use strict';

const fs = require('node:fs');
const path = require('node:path');

const { debian, glob } = require('../harness/fetch');

const TIMEOUT = 1000;

// A thread of Puma 5 waits for 0.2 s for the next request of a connection, before it serves another one.
const THREADS = 32;
const CLIENTS = 80;

module.exports = {
  title: 'Puma',
  timeout: TIMEOUT,
  clients: CLIENTS,

  async fetch(store) {
    const { root, env } = await debian(store, ['puma', 'ruby', 'ruby-nio4r', 'ruby-rack']);

    return { root, env: { ...env, RUBYLIB: libraries(root).join(':'), GEM_PATH: gems(root).join(':') } };
  },

  version: ({ root, env }) => [ruby(root), [puma(root), '--version'], env],

  command({ fetched: { root, env }, port, directory }) {
    const configuration = path.join(directory, 'puma.rb');

    fs.writeFileSync(configuration, `
bind 'tcp://127.0.0.1:${port}'
threads ${THREADS}, ${THREADS}
persistent_timeout ${TIMEOUT / 1000}
rackup '${path.join(__dirname, 'apps/puma.ru')}'
`);

    return { file: ruby(root), args: [puma(root), '--config', configuration], env };
  },
};

const ruby = (root) => glob(root, 'usr/bin/ruby[0-9.]*')[0];
const puma = (root) => path.join(root, 'usr/bin/puma');

// Ruby looks for all of them below /usr, where they are not.

const gems = (root) =>
  ['usr/share/rubygems-integration/*', 'usr/lib/*-linux-gnu/rubygems-integration/*'].flatMap((part) => glob(root, part));

function libraries(root) {
  return [
    'usr/lib/ruby/vendor_ruby',
    'usr/lib/*-linux-gnu/ruby/vendor_ruby/*',
    'usr/lib/ruby/[0-9.]*',
    'usr/lib/*-linux-gnu/ruby/[0-9.]*',
  ].flatMap((pattern) => glob(root, pattern));
}
