'use strict';

// What the benchmarks have in common: their arguments, where their results go, and how they end.

const { execFileSync, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const { makeDirectory } = require('../harness/directory');

// Runs a benchmark: `run` gets what it is run with, and returns an error message when a limit is broken.
function benchmark(name, run) {
  main(name, run, process.argv.slice(2)).then(
    (broken) => {
      if (broken) {
        console.error(`${name}: ${broken}`);
      }

      process.exit(broken ? 1 : 0);
    },
    (error) => {
      console.error(`${name}: ${error.message}`);
      process.exit(1);
    },
  );
}

async function main(name, run, [nginx, moduleFile, builds, mode]) {
  if (!nginx || !moduleFile || !builds || ![undefined, 'quick'].includes(mode)) {
    throw new Error(`usage: node ${name}.js <nginx> <module> <directory for downloads and builds> [quick]`);
  }

  [nginx, moduleFile].forEach((file) => fs.accessSync(file));
  fs.mkdirSync(builds, { recursive: true });

  const quick = mode === 'quick';
  const results = quick ? builds : path.join(__dirname, 'results');

  fs.mkdirSync(results, { recursive: true });

  return run({
    nginx,
    moduleFile,
    builds,
    quick,
    directory: makeDirectory(name, process.env.BENCH_LEAVE),
    file: (ending) => path.join(results, `${name}.${ending}`),
  });
}

// What the figures were measured on; each tool is a command that tells its version.
function machine(nginx, tools) {
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: os.cpus()[0].model.trim(),
    cores: os.cpus().length,
    kernel: os.release(),
    nginx: version(nginx, ['-v']),
    node: process.versions.node,
    ...Object.fromEntries(tools.map(([file, option]) => [file, version(file, [option])])),
  };
}

// wrk tells its version with a status of 1, and nginx where errors go.
function version(file, args) {
  const { stdout, stderr } = spawnSync(file, args, { encoding: 'utf8' });

  return /\d+(\.\d+)+/.exec(`${stdout}${stderr}`)?.[0];
}

// Whether a program is there.
function has(file) {
  try {
    execFileSync('sh', ['-c', 'command -v "$1"', 'sh', file], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function save(file, results) {
  fs.writeFileSync(file, `${JSON.stringify(results, undefined, 2)}\n`);
}

module.exports = { benchmark, has, machine, save };
