'use strict';

// A backend: what its definition says, prepared and run.
//
// A definition has
//   title, timeout   its name in the table, and the idle timeout in ms that it is told, if it has one
//   fetch(store)     puts what it needs into the directory and returns what is to be known of it
//   command({ fetched, port, directory })
//                    writes its configuration into the directory, and returns the `file` to run with its `args`, and
//                    `env` and `cwd` if need be
//   version(fetched) its version, or the command that prints it: [file, args, env]
//   fastcgi, clients if it speaks FastCGI; how many clients it can have
//
// Each answers POSTs with the header X-Connection, which is another for each connection.

const fs = require('node:fs');

const { startProgram, stop } = require('../../harness/processes');
const { accepts, freePorts } = require('../../harness/proxy');
const { until, within } = require('../../harness/wait');

const START_WITHIN = 30_000;
const VERSION_WITHIN = 30_000;

class Backend {
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

  async start() {
    [this.port] = await freePorts(1);

    const { fetched, port, directory } = this;
    const command = this.definition.command({ fetched, port, directory });

    this.process = startProgram(command.file, command.args, {
      cwd: command.cwd ?? directory,
      env: { ...process.env, ...command.env },
    });

    // an error for those who need the backend; nobody does when it is stopped
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

module.exports = { Backend };
