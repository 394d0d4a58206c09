// Preloaded into file servers (diesMarking): one dies, as by kill -9, between making a file and storing with it what it is, as
// soon as the file that HOLDFAST_TEST_DIES_MARKING names is there. It takes that away: no other follows.
import { existsSync, unlinkSync } from 'node:fs';
import koffi from 'koffi';

const armed = process.env.HOLDFAST_TEST_DIES_MARKING ?? '';
const library = koffi as unknown as { load: (...args: unknown[]) => { func: (signature: string) => unknown } };
const { load } = library;

library.load = (...args) => {
  const loaded = load(...args);
  const func = (signature: string) => {
    const call = loaded.func(signature);
    return signature.includes(' setxattr(') ? dying(call) : call;
  };
  return { func };
};

type Call = (...args: unknown[]) => unknown;

function dying(call: unknown): unknown {
  const { async } = call as { async: Call };
  const mayDie = (next: Call): Call => {
    return (...args) => {
      if (existsSync(armed)) {
        unlinkSync(armed);
        process.kill(process.pid, 'SIGKILL');
      }
      return next(...args);
    };
  };
  return Object.assign(mayDie(call as Call), { async: mayDie(async) });
}
