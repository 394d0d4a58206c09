import { describe, expect, test } from '@jest/globals';
import type * as proto from '../../proto/generated/handles.ts';
import { Outcome } from '../../proto/generated/handles.ts';
import type { Decision } from '../handles.ts';
import { ServersBySidecar } from './servers-by-sidecar.ts';

const change = (path: string) => ({ volume: 'v', path, to: '', stream: '', kind: 1, filter: 1 });
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A sidecar that answers when it is told to. */
function fakeSidecar() {
  const batches: proto.Changes[] = [];
  const watches: proto.Watch[] = [];
  const answers: ((outcome: Outcome) => void)[] = [];
  const ask = (): Promise<Decision<undefined>> =>
    new Promise((resolve) => answers.push((outcome) => resolve({ outcome, value: undefined })));
  const servers = new ServersBySidecar({
    changes: (batch) => {
      batches.push(batch);
      return ask();
    },
    watch: (list) => {
      watches.push(list);
      return ask();
    },
  });
  let losses = 0;
  servers.receive({ changes: () => {}, watched: () => {}, lost: () => losses++ });
  const answer = async (outcome: Outcome = Outcome.GRANTED) => {
    answers.shift()?.(outcome);
    await turn();
  };
  return { servers, batches, watches, answer, losses: () => losses };
}

describe('the way to the other servers', () => {
  test('takes the changes of one turn together, and one batch at a time', async () => {
    const { servers, batches, answer } = fakeSidecar();
    servers.tell(change('a'));
    servers.tell(change('b'));
    await turn();
    servers.tell(change('c'));
    await turn();
    expect(batches.map(({ changes }) => changes.map(({ path }) => path))).toEqual([['a', 'b']]);
    await answer();
    expect(batches.at(-1)).toEqual({ changes: [change('c')], lost: false });
  });

  test('is bounded: what does not fit is told as lost', async () => {
    const { servers, batches, answer } = fakeSidecar();
    servers.tell(change('first'));
    await turn();
    for (let i = 0; i < 5000; i++) servers.tell(change(`x${i}`));
    await answer();
    expect(batches.at(-1)).toEqual({ changes: [], lost: true });
    await answer();
    servers.tell(change('later'));
    await turn();
    expect(batches.at(-1)).toEqual({ changes: [change('later')], lost: false });
  });

  test('tells a batch that the sidecar could not take as lost', async () => {
    const { servers, batches, answer } = fakeSidecar();
    servers.tell(change('a'));
    await turn();
    await answer(Outcome.STORE_UNAVAILABLE);
    expect(batches.at(-1)).toEqual({ changes: [], lost: true });
  });

  test('says what is watched again when the sidecar is back, and that something may be missing', async () => {
    const { servers, watches, answer, losses } = fakeSidecar();
    servers.attached();
    expect(watches).toHaveLength(0);
    const scopes = [{ volume: 'v', directory: 'd', recursive: false }];
    const known = servers.watch(scopes);
    await answer();
    await known;
    expect(losses()).toBe(0);
    servers.attached();
    expect(watches).toEqual([{ scopes }, { scopes }]);
    expect(losses()).toBe(1);
  });

  test('that nobody could be told of is a loss', async () => {
    const { servers, answer, losses } = fakeSidecar();
    const known = servers.watch([{ volume: 'v', directory: 'd', recursive: false }]);
    await answer(Outcome.STORE_UNAVAILABLE);
    await known;
    expect(losses()).toBe(1);
  });
});
