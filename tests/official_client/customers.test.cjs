// Juspay's own Node.js client creates, fetches and updates customers on the simulator, over TLS. Both what the
// client returned and what the simulator received are compared.
'use strict';

const assert = require('node:assert/strict');
const { fork, spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, before, test } = require('node:test');
const readline = require('node:readline');

const id = 'new.person@example.com';
let simulator, directory, untrusting, results, requests;

/** Starts the simulator, and returns its addresses from the lines that it prints. */
async function startSimulator(ca) {
    simulator = spawn(process.env.JUSPAY_BFF, [
        'simulator', '--strict', '--strict-fields', '--listen', '127.0.0.1:0', '--issuer-listen', '127.0.0.1:0',
        '--tls', ca, '--tls-listen', '127.0.0.1:0', '--tls-name', 'juspay.test',
    ], { stdio: ['ignore', 'pipe', 'inherit'] });
    const found = {};
    for await (const line of readline.createInterface({ input: simulator.stdout })) {
        found.base ??= line.match(/^Simulated Juspay +(http:.*)/)?.[1];
        found.tls ??= line.match(/over TLS +https:\/\/(.*)/)?.[1];
        if (line.includes('Press Ctrl-C')) {
            return found;
        }
    }
    throw new Error('the simulator ended');
}

/** What each call of client.cjs returned. Without `ca`, the client trusts only public authorities. */
function runClient(address, ca) {
    // The client reads package.json in its working directory, and writes its log there.
    fs.copyFileSync(path.join(__dirname, 'package.json'), path.join(directory, 'package.json'));
    const child = fork(path.join(__dirname, 'client.cjs'), [], {
        cwd: directory,
        env: { PATH: process.env.PATH, CONNECT_TO: address, ...(ca && { NODE_EXTRA_CA_CERTS: ca }) },
        execArgv: ['--require', path.join(__dirname, 'connect_to.cjs')],
        silent: true,
    });
    let output = '';
    child.stdout.on('data', (data) => { output += data; });
    child.stderr.on('data', (data) => { output += data; });
    return new Promise((resolve, reject) => {
        child.once('message', resolve);
        child.once('exit', (code) => reject(new Error(`the client ended with ${code}: ${output}`)));
    });
}

before(async () => {
    directory = fs.mkdtempSync(path.join(os.tmpdir(), 'official-client-'));
    const ca = path.join(directory, 'ca.pem');
    const found = await startSimulator(ca);
    untrusting = await runClient(found.tls);
    results = await runClient(found.tls, ca);
    ({ requests } = await (await fetch(`${found.base}/_simulator/requests`)).json());
});

after(() => {
    simulator?.kill();
    fs.rmSync(directory, { recursive: true, force: true });
});

test('without the certificate, the client sends nothing', () => {
    assert.equal(Object.keys(untrusting).length, requests.length);
    for (const { message } of Object.values(untrusting)) {
        assert.match(message, /unable to verify|unable to get local issuer|self-signed/);
    }
});

test('an unknown customer is not found', () => {
    const { kind, status, code, info } = results.unknown;
    assert.deepEqual([kind, status, code], ['InvalidRequestError', 'invalid_request_error', 'object_not_found']);
    assert.equal(info.code, 'RESOURCE_NOT_FOUND');
});

test('a customer is created with a token', () => {
    const { status, object } = results.created;
    assert.equal(status, 200);
    assert.equal(object.object_reference_id, id);
    assert.deepEqual([object.first_name, object.mobile_number, object.mobile_country_code], ['Zoë & Co', '9876543210', '91']);
    assert.match(object.juspay.client_auth_token, /^tkn_[0-9a-f]{32}$/);
});

test('a customer is created once', () => {
    const { kind, code, info } = results.duplicate;
    assert.deepEqual([kind, code, info.code], ['InvalidRequestError', 'unique', 'ALREADY_EXISTS']);
});

test('a customer is fetched with a new token', () => {
    const { status, object } = results.fetched;
    assert.deepEqual([status, object.id], [200, results.created.object.id]);
    assert.match(object.juspay.client_auth_token, /^tkn_[0-9a-f]{32}$/);
    assert.notEqual(object.juspay.client_auth_token, results.created.object.juspay.client_auth_token);
});

test('a customer is updated', () => {
    assert.equal(results.updated.object.first_name, 'Alia');
    const { object } = results['fetched without token'];
    assert.deepEqual([object.first_name, object.email_address, object.mobile_number], ['Alia', id, '9876543210']);
    assert.equal(object.juspay, undefined);
});

test('rejected fields are named', () => {
    const names = (result) => result.info.fields.map((field) => field.field_name);
    assert.deepEqual([results.invalid.code, names(results.invalid)], ['Invalid Request', ['object_reference_id']]);
    assert.deepEqual([results.empty.code, names(results.empty)], ['Invalid Request', ['mobile_number']]);
});

test('a wrong key is rejected', () => {
    const { kind, code } = results['wrong key'];
    assert.deepEqual([kind, code], ['AuthenticationError', 'access_denied']);
});

test('the simulator received the calls as this client sends them', () => {
    const encoded = (text) => Buffer.from(text).toString('base64');
    assert.deepEqual(requests.map((request) => `${request.method} ${request.path}?${request.query}`), [
        `GET /customers/${id}?`,
        'POST /customers?',
        'POST /customers?',
        `GET /customers/${id}?options.get_client_auth_token=true`,
        `POST /customers/${id}?`,
        `GET /customers/${id}?`,
        'POST /customers?',
        'POST /customers?',
        `GET /customers/${id}?`,
    ]);
    for (const [index, request] of requests.entries()) {
        const headers = new Map(request.headers.map(([name, value]) => [name.toLowerCase(), value]));
        const key = index === requests.length - 1 ? 'other_key' : 'sim_key';
        assert.equal(headers.get('authorization'), `Basic ${encoded(key)}`, 'without a colon');
        assert.equal(headers.get('version'), '2019-05-07');
        assert.equal(headers.get('x-merchantid'), 'sim_merchant');
        assert.match(headers.get('host'), /^juspay\.test/);
        if (request.method === 'POST') {
            assert.equal(headers.get('transfer-encoding'), 'chunked');
            assert.equal(headers.get('content-length'), undefined);
        }
    }
    assert.deepEqual(requests[1].form, [
        ['object_reference_id', id],
        ['mobile_number', '9876543210'],
        ['mobile_country_code', '91'],
        ['first_name', 'Zoë & Co'],
        ['options.get_client_auth_token', 'true'],
    ]);
    assert.deepEqual(requests[4].form, [['first_name', 'Alia'], ['email_address', id]]);
});
