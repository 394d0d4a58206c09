import type { Configuration } from './checker.ts';

/** Small configurations in which all invariants hold, every state visited. */
export const CONFIGURATIONS: Record<string, Configuration> = {
  'fencing: one shard': { model: 'fencing', constants: { SHARDS: 1, OPENS: 1, FAULTS: 1 } },
  'fencing: two shards, two opens, two faults': { model: 'fencing', constants: { EPOCHS: 2, FAULTS: 2 } },
  'handoff: one fault': { model: 'handoff', constants: { FAULTS: 1 } },
  'handoff: two faults': { model: 'handoff', constants: { FAULTS: 2, VERSIONS: 3 } },
  'loss of the store': { model: 'loss', constants: { FAULTS: 2 } },
  'loss of the store: three faults': { model: 'loss', constants: { FAULTS: 3, EPOCHS: 5 } },
  promises: { model: 'promises', constants: {} },
};

const ONE_SHARD = { model: 'fencing', constants: { SHARDS: 1, OPENS: 1, FAULTS: 1 } };
const TWO_SHARDS = { model: 'fencing', constants: { EPOCHS: 2, FAULTS: 1 } };
const ONE_FAULT = { model: 'handoff', constants: { FAULTS: 1 } };
const TWO_FAULTS = { model: 'handoff', constants: { FAULTS: 2, VERSIONS: 3 } };
const LOSS = { model: 'loss', constants: { FAULTS: 2 } };
const PROMISES = { model: 'promises', constants: {} };

export interface Guard {
  /** Name of the counterexample, a file in docs/model/counterexamples/. */
  name: string;
  /** Without NO_GUARD_. */
  guard: string;
  configuration: Configuration;
  /** The assertion that fails without it. */
  violates: string;
}

/** What must be found when a guard is removed. */
export const GUARDS: Guard[] = [
  {
    name: 'a-late-reclaim-of-a-fenced-server',
    guard: 'EPOCH',
    configuration: ONE_SHARD,
    violates: 'fenced_is_refused',
  },
  {
    name: 'a-stopped-server-wakes-up-and-writes',
    guard: 'DEADLINE',
    configuration: ONE_SHARD,
    violates: 'fenced_does_nothing',
  },
  { name: 'a-slow-clock', guard: 'MARGIN', configuration: ONE_SHARD, violates: 'fenced_does_nothing' },
  {
    name: 'a-renewal-answered-late',
    guard: 'DEADLINE_FROM_SENDING',
    configuration: ONE_SHARD,
    violates: 'fenced_does_nothing',
  },
  {
    name: 'a-renewal-that-came-before-the-fence',
    guard: 'COUNTER',
    configuration: ONE_SHARD,
    violates: 'fenced_does_nothing',
  },
  {
    name: 'a-stopped-process-taken-for-dead',
    guard: 'DEATH',
    configuration: ONE_SHARD,
    violates: 'fenced_does_nothing',
  },
  { name: 'a-last-write-after-the-reclaim', guard: 'SETTLE', configuration: ONE_SHARD, violates: 'writes_settled' },
  { name: 'a-shard-that-was-not-told', guard: 'ALL_SHARDS', configuration: TWO_SHARDS, violates: 'fenced_everywhere' },
  {
    name: 'a-transfer-repeated-by-a-fenced-server',
    guard: 'EPOCH',
    configuration: ONE_FAULT,
    violates: 'fenced_is_refused',
  },
  {
    name: 'a-transfer-that-compares-nothing',
    guard: 'TRANSFER_COMPARE',
    configuration: ONE_FAULT,
    violates: 'granted_is_stored',
  },
  {
    name: 'a-transfer-of-an-earlier-ownership',
    guard: 'TRANSFER_VERSION',
    configuration: ONE_FAULT,
    violates: 'one_owner',
  },
  {
    name: 'an-open-taken-from-its-live-owner',
    guard: 'RECLAIM_OWNER',
    configuration: ONE_FAULT,
    violates: 'one_owner',
  },
  { name: 'a-write-during-the-transfer', guard: 'QUIESCE', configuration: ONE_FAULT, violates: 'one_owner' },
  {
    name: 'a-transfer-to-a-fenced-target',
    guard: 'OUTCOME_READ_BACK',
    configuration: TWO_FAULTS,
    violates: 'one_owner',
  },
  {
    name: 'a-lock-asked-for-twice',
    guard: 'OPERATION_NUMBER',
    configuration: ONE_FAULT,
    violates: 'lock_refused_is_not_stored',
  },
  {
    name: 'an-open-answered-before-it-is-stored',
    guard: 'STORED_BEFORE_ANSWERED',
    configuration: ONE_FAULT,
    violates: 'never_lost',
  },
  {
    name: 'a-newcomer-beside-a-waiting-open',
    guard: 'WAITING_CONFLICTS',
    configuration: ONE_FAULT,
    violates: 'conflicting_opens_exclude_each_other',
  },
  {
    name: 'an-open-that-expires-after-its-reclaim',
    guard: 'EXPIRY_STATE',
    configuration: ONE_FAULT,
    violates: 'granted_is_stored',
  },
  { name: 'a-script-of-a-sidecar-that-died', guard: 'BARRIER', configuration: ONE_FAULT, violates: 'one_owner' },
  {
    name: 'an-open-that-left-and-came-back',
    guard: 'SETTLED_VERSION',
    configuration: ONE_FAULT,
    violates: 'granted_is_stored',
  },
  { name: 'another-redis-process', guard: 'RUN_ID', configuration: LOSS, violates: 'an_epoch_is_given_once' },
  { name: 'no-grace-period', guard: 'GRACE', configuration: LOSS, violates: 'an_epoch_is_given_once' },
  {
    name: 'an-epoch-from-a-store-that-waits',
    guard: 'REGISTERED_WHEN_OPEN',
    configuration: LOSS,
    violates: 'an_epoch_is_given_once',
  },
  {
    name: 'what-comes-after-the-shard-was-opened',
    guard: 'WHILE_CLOSED',
    configuration: LOSS,
    violates: 'nothing_is_put_back_into_an_open_shard',
  },
  {
    name: 'a-copy-from-before-a-server-registered',
    guard: 'OLDER_EPOCH',
    configuration: LOSS,
    violates: 'who_serves_was_not_fenced',
  },
  {
    name: 'released-opens-that-nobody-keeps',
    guard: 'RELEASED_CUSTODY',
    configuration: LOSS,
    violates: 'never_lost',
  },
  { name: 'a-server-past-its-deadline-goes-on', guard: 'PAST_DEADLINE', configuration: LOSS, violates: 'one_owner' },
  { name: 'a-custodian-that-keeps-nothing', guard: 'CUSTODY', configuration: LOSS, violates: 'never_lost' },
  { name: 'an-older-ownership-put-back', guard: 'VERSION_WINS', configuration: LOSS, violates: 'one_owner' },
  { name: 'an-epoch-given-twice', guard: 'EPOCHS_ABOVE', configuration: LOSS, violates: 'an_epoch_is_given_once' },
  { name: 'an-extension-without-promises', guard: 'PROMISE', configuration: PROMISES, violates: 'fenced_does_nothing' },
  {
    name: 'a-promise-that-one-peer-did-not-give',
    guard: 'EVERY_PEER',
    configuration: PROMISES,
    violates: 'fenced_does_nothing',
  },
  { name: 'a-promise-broken', guard: 'PROMISE_KEPT', configuration: PROMISES, violates: 'fenced_does_nothing' },
  {
    name: 'a-newcomer-that-knows-no-promise',
    guard: 'NEWCOMERS_WAIT',
    configuration: PROMISES,
    violates: 'fenced_does_nothing',
  },
  {
    name: 'a-sidecar-that-forgot-its-promise',
    guard: 'A_LEASE_AT_MOST',
    configuration: PROMISES,
    violates: 'fenced_does_nothing',
  },
  {
    name: 'a-renewal-whose-answer-was-lost',
    guard: 'HEARD',
    configuration: PROMISES,
    violates: 'fenced_does_nothing',
  },
  { name: 'promises-without-end', guard: 'MAX_EXTENSION', configuration: PROMISES, violates: 'fenced_does_nothing' },
];
