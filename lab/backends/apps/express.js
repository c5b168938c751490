'use strict';

// node express.js <port> <timeout>

const express = require('express');

const [port, timeout] = process.argv.slice(2).map(Number);

const app = express();

app.use(express.text());
app.use((request, response) => response.set('X-Connection', request.socket.remotePort).send('ok\n'));

app.listen(port, '127.0.0.1').keepAliveTimeout = timeout;
