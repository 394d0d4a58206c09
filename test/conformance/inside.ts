// inside.ts VARIANT: servers of a variant, for surroundings that a script makes: names of tests on standard input, one a line; a result
// as JSON on standard output for each. The first line is "ready". See `within` in variants.ts.
import { createInterface } from 'node:readline';
import { UnderTest } from './under-test.ts';
import { type VariantName, variants } from './variants.ts';

const variant = variants[process.argv[2] as VariantName];
const server = await UnderTest.start(variant);
console.log('ready');
for await (const test of createInterface({ input: process.stdin })) console.log(JSON.stringify(await server.run(test)));
await server.stop();
