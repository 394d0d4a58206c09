// What ts-proto generates makes a new empty Buffer for every field of bytes that a message leaves out, which for an open are five objects of
// a hundred bytes each time one is read. An empty Buffer cannot be changed: one is enough for all.
//
//     node proto/share-empty-bytes.mjs FOLDER
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder] = process.argv.slice(2);
for (const name of readdirSync(folder)) {
  const file = join(folder, name);
  const text = readFileSync(file, 'utf8');
  if (!text.includes('Buffer.alloc(0)') || text.includes('const NO_BYTES')) continue;
  const shared = text.replaceAll('Buffer.alloc(0)', 'NO_BYTES');
  writeFileSync(file, shared.replace(/^export const protobufPackage/m, 'const NO_BYTES = Buffer.alloc(0);\n\n$&'));
}
