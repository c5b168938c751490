'use strict';

const path = require('node:path');

const { pypi } = require('../harness/fetch');

const TIMEOUT = 1000;

module.exports = {
  title: 'gunicorn (gthread)',
  timeout: TIMEOUT,
  fetch: (store) => pypi(store, { gunicorn: '27.0.1' }),
  version: ({ packages }) => packages.gunicorn,

  command: ({ fetched, port, directory }) => ({
    file: path.join(fetched.bin, 'gunicorn'),
    args: [
      '--bind', `127.0.0.1:${port}`,
      '--worker-class', 'gthread', '--threads', '4',
      '--keep-alive', TIMEOUT / 1000,
      '--worker-tmp-dir', directory,
      '--chdir', path.join(__dirname, 'apps'),
      'wsgi:answer',
    ],
    env: { PYTHONDONTWRITEBYTECODE: '1' },
  }),
};
