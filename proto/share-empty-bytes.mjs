// What ts-proto generates makes a new empty Buffer for every field of bytes that a message leaves out, which for an open are five objects of
// a hundred bytes each time one is read. An empty Buffer cannot be changed: one is enough for all.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

const folder = new URL('generated/', import.meta.url);
for (const name of readdirSync(folder)) {
  const file = new URL(name, folder);
  const text = readFileSync(file, 'utf8');
  if (!text.includes('Buffer.alloc(0)') || text.includes('const NO_BYTES')) continue;
  const shared = text.replaceAll('Buffer.alloc(0)', 'NO_BYTES');
  writeFileSync(file, shared.replace(/^export const protobufPackage/m, 'const NO_BYTES = Buffer.alloc(0);\n\n$&'));
}
