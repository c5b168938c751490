'use strict';

// A server that was not made here: what its definition says, prepared and run.
//
// A definition has
//   fetch(store)     puts what it needs into the directory and returns what is to be known of it
//   command({ fetched, port, directory, ... })
//                    writes its configuration into the directory, and returns the `file` to run with its `args`, and
//                    `env` and `cwd` if need be
//   version(fetched) its version, or the command that prints it: [file, args, env]

const fs = require('node:fs');

const { startProgram, stop } = require('./processes');
const { accepts, freePorts } = require('./proxy');
const { until, within } = require('./wait');

const START_WITHIN = 30_000;
const VERSION_WITHIN = 30_000;

class Server {
  constructor(definition, store, directory) {
    this.definition = definition;
    this.store = store;
    this.directory = directory;
  }

  async prepare() {
    fs.mkdirSync(this.store, { recursive: true });
    fs.mkdirSync(this.directory);

    this.fetched = await this.definition.fetch(this.store);
    this.version = await this.findVersion();
  }

  async findVersion() {
    const version = this.definition.version(this.fetched);

    return Array.isArray(version) ? printedVersion(version) : version;
  }

  // The values are for the definition's command().
  async start(values) {
    [this.port] = await freePorts(1);

    const { fetched, port, directory } = this;
    const command = this.definition.command({ fetched, port, directory, ...values });

    this.process = startProgram(command.file, command.args, {
      cwd: command.cwd ?? directory,
      env: { ...process.env, ...command.env },
    });

    // an error for those who need the server; nobody does when it is stopped
    this.ended = this.process.ended.then((how) => {
      throw new Error(`it has ended (${how})\n${this.process.output}`.trim());
    });
    this.ended.catch(() => {});

    await Promise.race([until(() => accepts(port), START_WITHIN, 'it accepts connections'), this.ended]);
  }

  async stop() {
    if (this.process) {
      await stop(this.process);
    }
  }
}

async function printedVersion([file, args, env]) {
  const program = startProgram(file, args, { env: { ...process.env, ...env } });

  await within(program.ended, VERSION_WITHIN, `${file} to tell its version`);

  const [version] = /\d+\.\d+(\.\d+)*/.exec(program.output) ?? [];

  if (version === undefined) {
    throw new Error(`${file} does not tell its version:\n${program.output}`);
  }

  return version;
}

module.exports = { Server };
