'use strict';

// node run.js <nginx> <module> <directory> [backend ...]
//
// Runs the backends one after another, all or those that are named, and measures each: when it closes an idle
// connection, whether it tells so, and how many of the POSTs with pauses around that time fail through stock nginx and
// with the module. Packages are kept in the directory, and so is the table.
// BACKENDS_LEAVE=1 keeps the configurations and logs.
//
// The definition of a backend has what that of a server has, and
//   title, timeout    its name in the table, and the idle timeout in ms that it is told, if it has one
//   fastcgi, clients  if it speaks FastCGI; how many clients it can have
// Each answers POSTs with the header X-Connection, which is another for each connection.

const fs = require('node:fs');
const path = require('node:path');

const { makeDirectory } = require('../../harness/directory');
const { Unfetchable } = require('../../harness/fetch');
const { Server } = require('../../harness/server');
const { measure } = require('./measure');
const { report } = require('./report');
const { sweep } = require('./sweep');

const ALL = [
  'node', 'express', 'nestjs', 'apache', 'tomcat', 'gunicorn', 'uvicorn', 'puma', 'go', 'caddy', 'php-fpm',
];

async function main([nginx, moduleFile, store, ...names]) {
  if (!nginx || !moduleFile || !store) {
    throw new Error('usage: node run.js <nginx> <module> <directory> [backend ...]');
  }

  [nginx, moduleFile].forEach((file) => fs.accessSync(file));

  const unknown = names.filter((name) => !ALL.includes(name));

  if (unknown.length > 0) {
    throw new Error(`there is no backend ${unknown.join(', ')}; there are ${ALL.join(', ')}`);
  }

  const directory = makeDirectory('backends', process.env.BACKENDS_LEAVE);

  // a backend that root starts is another user, who has to find his way
  fs.chmodSync(directory, 0o755);

  const results = [];

  for (const name of names.length > 0 ? names : ALL) {
    results.push(await attempt(name, { nginx, moduleFile, store: path.resolve(store), directory }));
  }

  return report(results, path.join(store, 'table.md'));
}

async function attempt(name, { nginx, moduleFile, store, directory }) {
  const definition = require(`../${name}`);
  const { title } = definition;
  const backend = new Server(definition, path.join(store, name), path.join(directory, name));

  try {
    console.log(`${title}: fetch`);
    await backend.prepare();

    await backend.start();
    const result = { title, version: backend.version, timeout: definition.timeout };

    console.log(`${title} ${backend.version}: closing ages`);
    Object.assign(result, await measure(backend));
    console.log(`  ${result.ages.map((age) => Math.round(age)).join(' ')} ms; hint: ${result.hint}`);

    result.stock = await sweep(backend, result, { nginx });
    result.module = await sweep(backend, result, { nginx, moduleFile });

    return result;
  } catch (error) {
    const skipped = error instanceof Unfetchable;

    console.log(`${title}: ${skipped ? 'skipped' : 'failed'}: ${error.message}`);
    return { title, [skipped ? 'skipped' : 'failed']: error.message };
  } finally {
    await backend.stop();
  }
}

main(process.argv.slice(2)).then(
  (good) => process.exit(good ? 0 : 1),
  (error) => {
    console.error(`backends: ${error.message}`);
    process.exit(1);
  },
);
