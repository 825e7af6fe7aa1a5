#!/usr/bin/env node
// Writes the types of docs/openapi.json that the TypeScript client uses into the client, between two lines:
// tests/openapi/types.mjs [--check]. With --check, changes nothing and fails if they are stale.

import { readFileSync, writeFileSync } from 'node:fs';

const MODULES = '../../target/openapi/npm/node_modules';
const { default: generate, astToString } = await import(`${MODULES}/openapi-typescript/dist/index.mjs`);
const { default: ts } = await import(`${MODULES}/typescript/lib/typescript.js`);

const CLIENT = new URL('../../clients/typescript/token-source.ts', import.meta.url);
const DOCUMENT = new URL('../../docs/openapi.json', import.meta.url);
const BEGIN = '// Generated from docs/openapi.json by tests/openapi/types.mjs.\n';
const END = '// End of the generated part.\n';
const NAMES = ['Platform', 'SdkAction', 'SdkPayload', 'SdkPayloadMembers', 'Problem'];

/** One exported type for each name, in the client's style. */
async function types(document) {
  const { schemas } = document.components;
  const subset = Object.fromEntries(NAMES.map((name) => [name, schemas[name]]));
  const nodes = await generate({ ...document, paths: {}, components: { schemas: subset } });
  const components = nodes.find((node) => node.name?.text === 'components');
  const all = components.members.find((member) => member.name.text === 'schemas').type.members;
  const exported = all.map((member) => {
    const modifiers = [ts.factory.createModifier(ts.SyntaxKind.ExportKeyword)];
    const node = ts.factory.createTypeAliasDeclaration(modifiers, member.name.text, undefined, member.type);
    return ts.setSyntheticLeadingComments(node, ts.getSyntheticLeadingComments(member));
  });
  return exported
    .map((node) => astToString([node]))
    .join('\n')
    .replaceAll(/components\["schemas"\]\["(\w+)"\]/g, '$1')
    .replaceAll(/ *\/\*\* @enum {\w+} \*\/\n| *\* (@enum {\w+}|Format: [\w-]+)\n/g, '')
    .replaceAll('@description ', '')
    .replaceAll(/\/\*\*\n *\* (.*)\n *\*\//g, '/** $1 */')
    .replaceAll(/^( *[^ */].*)$/gm, (line) => line.replaceAll('"', "'"))
    .replaceAll(/^( +)/gm, (indent) => ' '.repeat(Math.ceil(indent.length / 2)));
}

const client = readFileSync(CLIENT, 'utf8');
const [head, rest] = client.split(BEGIN);
const [, tail] = rest?.split(END) ?? [];
if (tail === undefined) {
  throw new Error(`clients/typescript/token-source.ts lacks the lines of the generated part:\n${BEGIN}${END}`);
}
const wanted = head + BEGIN + (await types(JSON.parse(readFileSync(DOCUMENT, 'utf8')))) + END + tail;
if (wanted === client) {
  console.log('the types of clients/typescript/token-source.ts are those of docs/openapi.json');
} else if (process.argv.includes('--check')) {
  console.error('the types of clients/typescript/token-source.ts are stale: run tests/openapi/types.mjs');
  process.exitCode = 1;
} else {
  writeFileSync(CLIENT, wanted);
}
