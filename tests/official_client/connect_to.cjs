// Preloaded (node --require) into the process of Juspay's client, which can only reach port 443: connections
// to https://juspay.test go to the address in CONNECT_TO, like curl's --connect-to. The host name stays in the
// TLS handshake and in the check of the certificate. Any other destination is an error.
'use strict';

const { Agent } = require('node:https');

const [host, port] = process.env.CONNECT_TO.split(':');
const connect = Agent.prototype.createConnection;

Agent.prototype.createConnection = function (options, done) {
    if (options.host !== 'juspay.test' || Number(options.port) !== 443) {
        throw new Error(`unexpected destination ${options.host}:${options.port}`);
    }
    return connect.call(this, { ...options, host, port: Number(port) }, done);
};
