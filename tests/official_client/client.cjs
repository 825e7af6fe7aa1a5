// Calls Juspay's customer API with its own Node.js client, unchanged and with its defaults, and sends the
// parent process what each call returned or threw.
'use strict';

const { Juspay } = require('expresscheckout-nodejs');

const id = 'new.person@example.com';
const token = { 'options.get_client_auth_token': 'true' };

const account = { merchantId: 'sim_merchant', apiKey: 'sim_key', baseUrl: 'https://juspay.test' };
const { customer } = new Juspay(account);
const stranger = new Juspay({ ...account, apiKey: 'other_key' }).customer;

const calls = [
    ['unknown', () => customer.get(id)],
    ['created', () => customer.create({
        object_reference_id: id,
        mobile_number: '9876543210',
        mobile_country_code: '91',
        first_name: 'Zoë & Co',
        ...token,
    })],
    ['duplicate', () => customer.create({ object_reference_id: id, mobile_number: '9876543210' })],
    ['fetched', () => customer.get(id, token)],
    ['updated', () => customer.update(id, { first_name: 'Alia', email_address: id })],
    ['fetched without token', () => customer.get(id)],
    ['invalid', () => customer.create({ object_reference_id: 'short', mobile_number: '+919876543210' })],
    ['empty', () => customer.create({ object_reference_id: 'long enough', mobile_number: '' })],
    ['wrong key', () => stranger.get(id)],
];

async function main() {
    const results = {};
    for (const [name, call] of calls) {
        try {
            const { http, ...object } = await call();
            results[name] = { status: http.statusCode, object };
        } catch (error) {
            const { name: kind, status, error_code: code, error_info: info, message } = error;
            results[name] = { kind, status, code, info, message };
        }
    }
    process.send(results, () => process.exit(0));
}

main();
