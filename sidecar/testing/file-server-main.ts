import { TestFileServer } from './file-server.ts';

/**
 * A file server of tests in a process of its own, so that signals reach it alone.
 *
 *     node sidecar/testing/file-server-main.ts RUN_DIR SESSION_ID FILE...
 *
 * Attaches, stores the session, opens the files, and writes one line of JSON: {"outcomes": [...]}. When it is fenced it writes "fenced".
 */
const [runDir = '', session = '1', ...files] = process.argv.slice(2);
const server = new TestFileServer(runDir);
server.onCommand = (command) => {
  if (command.$case === 'fenced') console.log('fenced');
  return undefined;
};
await server.start();
const sessionId = BigInt(session);
const outcomes = [await server.session(sessionId)];
for (const file of files) outcomes.push((await server.open(file, { sessionId })).outcome);
console.log(JSON.stringify({ outcomes }));
