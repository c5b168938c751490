'use strict';

// The proxies that run: each has `settings` to try, the `classes` of requests that it is given, so many `clients` for
// each setting in each class, and the `server` that runs it.

const path = require('node:path');

const { Server } = require('../../harness/server');
const { KINDS, Nginx } = require('../contenders/nginx');
const { CLASSES } = require('./classes');

const OTHERS = ['haproxy', 'apache', 'caddy', 'pingora'];

const OTHER_CLIENTS = 2;
// Promises are to be judged by a thousand reuses. Of a blocked worker there are fewer.
const CLIENTS = 3;
const MORE_WITH_MODULE = 1;
const MORE_WHEN_BLOCKED = 2;

const classes = (blocked) => CLASSES.filter((one) => Boolean(one.blocked) === blocked);

// nginx with and without the module, and all again to be blocked.
function ownPrograms({ directory, ...files }) {
  return [false, true].flatMap((blocked) => KINDS.map((kind) => {
    const name = `${kind.name}${blocked ? '-blocked' : ''}`;

    return {
      ...kind,
      blocked,
      classes: classes(blocked),
      clients: CLIENTS + (kind.withModule ? MORE_WITH_MODULE : 0) + (blocked ? MORE_WHEN_BLOCKED : 0),
      server: new Nginx(kind, { directory: path.join(directory, name), ...files }),
    };
  }));
}

// The others, and why some of them can't be had.
async function otherPrograms({ store, directory, quick }) {
  const programs = [];
  const skipped = {};

  for (const name of OTHERS) {
    const definition = require(`../contenders/${name}`);
    const { title, settings } = definition;
    const server = new Server(definition, path.join(store, name), path.join(directory, name));

    console.log(`${title}: fetch`);

    try {
      if (quick && definition.takesLong?.(server.store)) {
        throw new Error('it takes minutes to build, which a full run does');
      }

      await server.prepare();
      programs.push({ title, settings, classes: classes(false), clients: OTHER_CLIENTS, server });
    } catch (error) {
      skipped[title] = error.message.split('\n').slice(0, 2).join(': ');
      console.log(`${title}: skipped: ${error.message}`);
    }
  }

  return { programs, skipped };
}

module.exports = { otherPrograms, ownPrograms };
