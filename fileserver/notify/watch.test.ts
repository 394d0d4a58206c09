import { describe, expect, test } from '@jest/globals';
import { NotifyAction } from '../../smb/fscc/constants.ts';
import { decodeNotifyList, type NotifyEntry } from '../../smb/fscc/notify.ts';
import { Status } from '../../smb/status.ts';
import { KeptBudget, type Notified, Watch } from './watch.ts';

const added = (fileName: string): NotifyEntry => ({ action: NotifyAction.added, fileName });
const modified = (fileName: string): NotifyEntry => ({ action: NotifyAction.modified, fileName });

function watchOf(capacity = 1000, budget = new KeptBudget()): Watch {
  return new Watch({ volume: 'v', directory: 'd', recursive: false, filter: 0xfff, capacity }, budget);
}

function waitingAt(watch: Watch, outputBufferLength = 1000) {
  const answers: Notified[] = [];
  const waiting = { outputBufferLength, answer: (notified: Notified) => answers.push(notified) };
  watch.wait(waiting);
  return { waiting, answers };
}

const entriesOf = (notified: Notified | undefined): NotifyEntry[] =>
  decodeNotifyList(notified?.output ?? Buffer.alloc(0));

describe('what an open watches', () => {
  test('a request that waits is answered with the next change, the longest waiting first', () => {
    const watch = watchOf();
    const first = waitingAt(watch);
    const second = waitingAt(watch);
    watch.take([added('a')]);
    expect(first.answers.map(entriesOf)).toEqual([[added('a')]]);
    expect(second.answers).toEqual([]);
    watch.take([added('b')]);
    expect(second.answers.map(entriesOf)).toEqual([[added('b')]]);
  });

  test('changes between two requests are kept for the next, in their order', () => {
    const watch = watchOf();
    watch.take([added('a')]);
    watch.take([added('b'), added('c')]);
    expect(entriesOf(watch.collect(1000))).toEqual([added('a'), added('b'), added('c')]);
    expect(watch.collect(1000)).toBeUndefined();
  });

  test('a file that is changed again and again is one entry', () => {
    const watch = watchOf();
    for (let i = 0; i < 1000; i++) watch.take([modified('a')]);
    watch.take([added('b')]);
    watch.take([modified('a')]);
    expect(entriesOf(watch.collect(1000))).toEqual([modified('a'), added('b'), modified('a')]);
  });

  test('more than the first request had room for tells the client to look for itself, once', () => {
    const watch = watchOf(100);
    for (let i = 0; i < 100; i++) watch.take([added(`file${i}`)]);
    expect(watch.collect(100_000)?.status).toBe(Status.NOTIFY_ENUM_DIR);
    watch.take([added('later')]);
    expect(entriesOf(watch.collect(1000))).toEqual([added('later')]);
  });

  test('so does more than the request at hand has room for', () => {
    const watch = watchOf();
    watch.take([added('a')]);
    expect(watch.collect(0)?.status).toBe(Status.NOTIFY_ENUM_DIR);
    expect(watch.collect(1000)).toBeUndefined();
  });

  test('so does what was lost, also for one that waits', () => {
    const watch = watchOf();
    watch.take([added('a')]);
    watch.lose();
    expect(watch.collect(1000)?.status).toBe(Status.NOTIFY_ENUM_DIR);
    const { answers } = waitingAt(watch);
    watch.lose();
    expect(answers.map(({ status }) => status)).toEqual([Status.NOTIFY_ENUM_DIR]);
  });

  test('so does more than there is memory for, until some is free again', () => {
    const budget = new KeptBudget(250);
    const [one, two] = [watchOf(1000, budget), watchOf(1000, budget)];
    one.take([added('a')]);
    one.take([added('b')]);
    two.take([added('c')]);
    expect(two.collect(1000)?.status).toBe(Status.NOTIFY_ENUM_DIR);
    expect(entriesOf(one.collect(1000))).toHaveLength(2);
    two.take([added('d')]);
    expect(entriesOf(two.collect(1000))).toEqual([added('d')]);
  });

  test('one that gave up is not answered, and takes nothing away', () => {
    const watch = watchOf();
    const { waiting, answers } = waitingAt(watch);
    watch.leave(waiting);
    watch.take([added('a')]);
    expect(answers).toEqual([]);
    expect(entriesOf(watch.collect(1000))).toEqual([added('a')]);
  });

  test('its end answers all that wait and all that come', () => {
    const watch = watchOf();
    const { answers } = waitingAt(watch);
    watch.end(Status.DELETE_PENDING);
    watch.end(Status.NOTIFY_CLEANUP);
    watch.take([added('a')]);
    expect(answers.map(({ status }) => status)).toEqual([Status.DELETE_PENDING]);
    expect(watch.collect(1000)?.status).toBe(Status.DELETE_PENDING);
  });
});
