// Fails when there is something in the image that can be run beside the programs that the image is for: a shell, a tool, a package
// manager, a script of a module. What somebody who got into a container finds there is part of how far they get.
// image-programs.mjs IMAGE.tar (an OCI archive)
import { openImage } from './oci-archive.mjs';

/** Redis' server is a link to the program that checks its files; started by that name it serves. */
const PROGRAMS = [
  'app/bin/holdfast',
  'app/node_modules/node/bin/node',
  'usr/bin/redis-check-rdb',
  'usr/bin/redis-server',
];
/** What a process loads can be marked as a program, and is none. */
const LOADED = /\.so(\.\d+)*$|\.node$/;

const [archive] = process.argv.slice(2);
if (!archive) {
  console.error('usage: image-programs.mjs IMAGE.tar');
  process.exit(2);
}
const { files } = openImage(archive);
const isProgram = ([path, { mode }]) =>
  mode.startsWith('l')
    ? /(^|\/)s?bin\/[^/]*$/.test(path) // by what name ever: a link in a folder of programs
    : /^[-h]/.test(mode) && /[xs]/.test(mode) && !LOADED.test(path);
const found = [...files].filter(isProgram).map(([path]) => path);
const more = found.filter((path) => !PROGRAMS.includes(path));
const missing = PROGRAMS.filter((path) => !found.includes(path));
for (const path of more) console.error(`${archive}: ${path} can be run, and nothing needs it`);
for (const path of missing) console.error(`${archive}: ${path} is missing`);
process.exitCode = more.length + missing.length > 0 ? 1 : 0;
