'use strict';

// Packages from npm, PyPI and Debian, each into a directory. Nothing is installed on the machine, so no service is
// started either.

const fs = require('node:fs');
const path = require('node:path');

const { startProgram, stop } = require('./processes');
const { within } = require('./wait');

const FETCH_WITHIN = 600_000;

class Unfetchable extends Error {}

// Packages as { name: version }.
async function npm(store, packages) {
  const wanted = Object.entries(packages).map(([name, version]) => `${name}@${version}`);

  await once(store, wanted, () =>
    run('npm', ['install', '--prefix', store, '--no-save', '--no-audit', '--no-fund', '--ignore-scripts', ...wanted]));

  return { packages, NODE_PATH: path.join(store, 'node_modules') };
}

async function pypi(store, packages) {
  const wanted = Object.entries(packages).map(([name, version]) => `${name}==${version}`);
  const bin = path.join(store, 'bin');

  await once(store, wanted, async () => {
    await run('python3', ['-m', 'venv', store]);
    await run(path.join(bin, 'pip'), ['install', '--quiet', '--disable-pip-version-check', ...wanted]);
  });

  return { packages, bin };
}

// The packages, and what they need and the machine does not have.
async function debian(store, packages) {
  const root = path.join(store, 'root');

  await once(store, packages, async () => {
    const archives = path.join(store, 'archives');
    fs.mkdirSync(path.join(archives, 'partial'), { recursive: true });

    // without locks anybody may, and apt's own directories are only read
    await run('apt-get', [
      '-qq', '-y', 'install', '--download-only', '--reinstall', '--no-install-recommends',
      '-o', 'Debug::NoLocking=1', '-o', 'APT::Sandbox::User=', '-o', `Dir::Cache::archives=${archives}`, ...packages,
    ]);

    for (const file of fs.readdirSync(archives).filter((name) => name.endsWith('.deb'))) {
      await run('dpkg-deb', ['-x', path.join(archives, file), root]);
    }

    fs.rmSync(archives, { recursive: true });
  });

  return { root, env: { LD_LIBRARY_PATH: libraries(root).join(':') } };
}

// The directories of libraries, which have the machine's name in them: /usr/lib/x86_64-linux-gnu.
function libraries(root) {
  return glob(root, 'usr/lib/*-linux-gnu');
}

// The paths that fit a pattern in which a * stands for a part of a name.
function glob(root, pattern) {
  return pattern.split('/').reduce((found, part) => {
    const fits = new RegExp(`^${part.replace(/[.+]/g, '\\$&').replace(/\*/g, '.*')}$`);
    const below = (directory) => (isDirectory(directory) ? fs.readdirSync(directory) : []);

    return found.flatMap((directory) =>
      below(directory).filter((name) => fits.test(name)).sort().map((name) => path.join(directory, name)));
  }, [root]);
}

const isDirectory = (file) => fs.statSync(file, { throwIfNoEntry: false })?.isDirectory();

// Does the work unless it is done already. What was done in part goes first.
async function once(store, wanted, work) {
  const stamp = path.join(store, 'fetched');
  const text = `${wanted.join('\n')}\n`;

  if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === text) {
    return;
  }

  fs.rmSync(store, { recursive: true, force: true });
  fs.mkdirSync(store, { recursive: true });
  await work();
  fs.writeFileSync(stamp, text);
}

// As build(), where what is missing can't be fetched either.
async function run(file, args, env) {
  try {
    await build(file, args, env);
  } catch (error) {
    throw new Unfetchable(error.message);
  }
}

async function build(file, args, env) {
  const program = startProgram(file, args, { env: { ...process.env, ...env } });

  const how = await within(program.ended, FETCH_WITHIN, `${file} to end`).catch(async (error) => {
    await stop(program);
    throw error;
  });

  if (how !== 'status 0') {
    throw new Error(`${path.basename(file)}: ${how}\n${program.output}`.trim());
  }
}

module.exports = { build, compile: run, debian, glob, libraries, npm, pypi, Unfetchable };
