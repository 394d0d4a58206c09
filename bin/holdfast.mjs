// Starts the part that was asked for. The parts of the server have entries of their own; every other command is the client's.
// bin/holdfast runs it with the Node that the project pins; in the image, where there is no shell, it is bin/holdfast itself.
const PARTS = {
  fileserver: 'fileserver',
  sidecar: 'sidecar',
  operator: 'operator',
  serve: 'serve',
  store: 'sidecar/member',
};

const [, , word = ''] = process.argv;
const part = Object.hasOwn(PARTS, word) ? PARTS[word] : undefined;
// A part finds its own arguments where it would if it had been started without the word before them.
if (part) process.argv.splice(2, 1);
await import(new URL(`../dist/${part ?? 'client/cli'}/main.js`, import.meta.url).href);
