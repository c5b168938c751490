'use strict';

// node nestjs.js <port> <timeout>

require('reflect-metadata');

const { Controller, HttpCode, Module, Post, Req, Res } = require('@nestjs/common');
const { NestFactory } = require('@nestjs/core');

const [port, timeout] = process.argv.slice(2).map(Number);

class App {
  answer(request, response) {
    response.set('X-Connection', request.socket.remotePort);
    return 'ok\n';
  }
}

// decorators without TypeScript
const answer = Object.getOwnPropertyDescriptor(App.prototype, 'answer');

Req()(App.prototype, 'answer', 0);
Res({ passthrough: true })(App.prototype, 'answer', 1);
Post('*path')(App.prototype, 'answer', answer);
HttpCode(200)(App.prototype, 'answer', answer);
Controller()(App);

class Root {}

Module({ controllers: [App] })(Root);

async function main() {
  const app = await NestFactory.create(Root, { logger: ['error', 'warn'] });

  await app.listen(port, '127.0.0.1');
  app.getHttpServer().keepAliveTimeout = timeout;
}

main();
